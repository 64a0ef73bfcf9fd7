"""The octree arrays that the original keeps, made from the cells of our grid (docs/NETWORK.md#octree)."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor


def octree_arrays(codes: Tensor, level: int) -> tuple[Tensor, Tensor]:
    """Bytes and pyramid of the octree whose leaves have the ascending Morton codes ``(V,)`` at ``level``.

    Returns:
        bytes ``(inner nodes,)``: one bit per occupied child, breadth first; pyramid ``(2, level + 2)``: nodes per level
        and a zero, index of each level's first node and the total.
    """
    nodes = [codes.long()]
    for _ in range(level):
        nodes.append(torch.unique(nodes[-1] >> 3))
    nodes.reverse()
    bytes_ = []
    for parents, children in itertools.pairwise(nodes):
        owners = torch.searchsorted(parents, children >> 3)
        bytes_.append(torch.zeros_like(parents).index_add(0, owners, 1 << (children & 7)))
    counts = torch.tensor([len(level_nodes) for level_nodes in nodes])
    zero = counts.new_zeros(1)
    pyramid = torch.stack([torch.cat([counts, zero]), torch.cat([zero, counts.cumsum(0)])])
    return torch.cat(bytes_), pyramid
