"""Slow and obvious versions of the kernels, written from docs/NETWORK.md: loops, dictionaries, dense tensors.

Nothing here uses the code that it checks.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Cell = tuple[int, int, int]


def morton(cell: Cell) -> int:
    """Compute the Morton code of a cell, x most significant (docs/NETWORK.md#pooling)."""
    x, y, z = cell
    return sum((z >> i & 1) << 3 * i | (y >> i & 1) << 3 * i + 1 | (x >> i & 1) << 3 * i + 2 for i in range(10))


def insertion_cells(points: Tensor, level: int) -> list[Cell]:
    """Return the cell of each point ``(P, 3)`` of the cube, clamped to the border (docs/NETWORK.md#pooling)."""
    return [tuple(cell) for cell in _insertion_cells(points, level).tolist()]


def _insertion_cells(points: Tensor, level: int) -> Tensor:
    side = 2**level
    return torch.floor((side * (points + 1) / 2).clamp(0, side - 1)).int()


def query_cell(point: Iterable[float], level: int) -> Cell:
    """Return the cell in which a point is looked up, in double precision; it may lie outside the grid."""
    return tuple(math.floor(2**level * (0.5 * s + 0.5)) for s in point)


def number(cells: Iterable[Cell]) -> dict[Cell, int]:
    """Number the distinct cells in Morton order."""
    return {cell: index for index, cell in enumerate(sorted(set(cells), key=morton))}


def pool(points: Tensor, features: Tensor, level: int) -> tuple[Tensor, Tensor]:
    """Average the features ``(P, C)`` of points ``(P, 3)`` in their cells.

    Returns:
        the occupied cells ``(V, 3)``, ordered by x, then y, then z, and the means ``(V, C)``, summed in float64.
    """
    cells, of_point, counts = torch.unique(
        _insertion_cells(points, level), dim=0, return_inverse=True, return_counts=True
    )
    sums = features.new_zeros(len(cells), features.shape[1], dtype=torch.float64)
    means = (sums.index_add(0, of_point, features.double()) / counts[:, None]).to(features.dtype)
    return cells, means


def octree_arrays(codes: Tensor, level: int) -> tuple[Tensor, Tensor]:
    """Build the octree whose leaves have the ascending Morton codes ``(V,)`` at ``level`` (docs/NETWORK.md#octree).

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


def lift(features: Tensor, occupancy: Tensor, logits: Tensor) -> Tensor:
    """Lift ``(N, C, H, W)`` features with occupancy and logits ``(N, H, W, K)`` to ``(N * H * W * K, C + 1)``."""
    product = occupancy[..., None] * features.permute(0, 2, 3, 1)[:, :, :, None]
    return torch.cat([product, logits[..., None]], -1).flatten(0, 3)


def sparse_conv(
    x: Tensor, inputs: dict[Cell, int], outputs: dict[Cell, int], weight: Tensor, bias: Tensor, jump: int
) -> Tensor:
    """Compute ``y[P] = bias + sum over k of x[2^jump * P + K_k] @ weight[k]`` (docs/NETWORK.md#sparse-convolution)."""
    rows = []
    for cell in outputs:
        y = bias
        for i in (-1, 0, 1):
            for j in (-1, 0, 1):
                for k in (-1, 0, 1):
                    source = inputs.get(tuple((c << jump) + o for c, o in zip(cell, (i, j, k), strict=True)))
                    if source is not None:
                        y = y + x[source] @ weight[9 * (i + 1) + 3 * (j + 1) + (k + 1)]
        rows.append(y)
    return torch.stack(rows) if rows else x.new_zeros(0, weight.shape[2])


def interval_weights(optical_depth: Tensor) -> Tensor:
    """Compute the weights of intervals of the last dimension (docs/NETWORK.md#volume-rendering-on-intervals)."""
    before = torch.cat([torch.zeros_like(optical_depth[..., :1]), optical_depth[..., :-1]], -1).cumsum(-1)
    return torch.exp(-before) * (1 - torch.exp(-optical_depth))


def alpha_weights(logits: Tensor, depths: Tensor) -> Tensor:
    """Compute weights ``(rays, n - 1)`` of samples ``(rays, n)``, density ``exp`` (docs/NETWORK.md#alpha-weights)."""
    density = torch.exp((logits[:, 1:] + logits[:, :-1]) / 2 - 1)
    alphas = 1 - torch.exp(-density * (depths[:, 1:] - depths[:, :-1]))
    transmittance = torch.ones_like(alphas[..., 0])
    weights = []
    for alpha in alphas.unbind(-1):
        weights.append((alpha + 1e-10) * transmittance)
        transmittance = transmittance * (1 - alpha + 1e-10)
    return torch.stack(weights, -1)


def score_candidates(features: Tensor, candidates: Tensor, parameters: dict[str, Tensor]) -> Tensor:
    """Score candidates by the literal 3-D convolutions (docs/NETWORK.md#fine-depth).

    Args:
        features: ``(N, C, H, W)`` before their layer norm.
        candidates: ``(N, H, W, K)`` meters.
        parameters: named parameters of a ``CandidateScorer``.

    Returns:
        scores ``(N, H, W, K)``.
    """
    channels = (features.shape[1],)
    p = parameters
    features = F.layer_norm(
        features.permute(0, 2, 3, 1), channels, p['feature_norm.weight'], p['feature_norm.bias'], eps=1e-5
    )
    code = F.linear(candidates[..., None], p['expand.weight'], p['expand.bias'])
    code = F.layer_norm(code, channels, p['expand_norm.weight'], p['expand_norm.bias'], eps=1e-5)
    x = (features[..., None, :] * code).permute(0, 4, 3, 1, 2)
    for layer in (1, 2, 3):
        x = F.conv3d(x, p[f'conv{layer}.weight'][..., None, None], p[f'conv{layer}.bias'], padding=(1, 0, 0))
        if layer < 3:
            x = F.leaky_relu(F.instance_norm(x, eps=1e-5), 0.2)
    return x[:, 0].permute(0, 2, 3, 1)


def look_up(
    points: Tensor, cells: dict[Cell, int], voxels: Tensor, level: int, first_reads_zero: bool
) -> tuple[Tensor, Tensor]:
    """Look up points of the cube: voxels ``(..., C)``, zeros where there are none, and whether there is one, ``(...)``.

    See docs/NETWORK.md#voxel-look-up.
    """
    indices = [cells.get(query_cell(point, level), -1) for point in points.reshape(-1, 3).tolist()]
    index = torch.tensor(indices, device=points.device).view(points.shape[:-1])
    readable = index > 0 if first_reads_zero else index >= 0
    padded = torch.cat([voxels, voxels.new_zeros(1, voxels.shape[1])])
    return padded[torch.where(readable, index, len(voxels))], index >= 0


def render(
    read: Callable[[Tensor], tuple[Tensor, Tensor]],
    edges: Tensor,
    origins: Tensor,
    directions: Tensor,
    far: float,
    fine_samples: int = 30,
    fine_step: float = 0.1,
    quirks: bool = True,
    weigh: Callable[[Tensor, Tensor], Tensor] = alpha_weights,
    background: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Render rays (docs/NETWORK.md#rendering).

    Args:
        read: returns colors ``(rays, n, C)`` and clamped density logits ``(rays, n)`` at world points ``(rays, n, 3)``.
        edges: ``(D + 1,)`` edges of the depth bins, meters.
        origins, directions: ``(rays, 3)``.
        far: far plane, meters.
        fine_samples, fine_step: number and distance of the fine samples.
        quirks: as published; otherwise the fine samples lie evenly around the middle of the heaviest interval.
        weigh: computes weights as :func:`alpha_weights` does.
        background: ``(C,)`` what is seen by what is left of a ray at its end; None: zero.

    Returns:
        composite ``(rays, C)``, depth ``(rays,)``, weights ``(rays, n - 1)`` and depths of all samples ``(rays, n)``.
    """

    def sample(depths: Tensor) -> tuple[Tensor, Tensor]:
        return read(origins[:, None] + depths[..., None] * directions[:, None])

    coarse = ((edges[1:] + edges[:-1]) / 2).repeat(len(origins), 1)
    coarse_colors, coarse_logits = sample(coarse)
    with torch.no_grad():
        heaviest = weigh(coarse_logits, coarse).argmax(1, keepdim=True)
    center = coarse.gather(1, heaviest)
    steps = torch.arange(fine_samples, dtype=edges.dtype, device=edges.device) - fine_samples // 2
    if not quirks:
        center = (center + coarse.gather(1, heaviest + 1)) / 2
        end = (fine_samples - 1) / 2
        steps = torch.linspace(-end, end, fine_samples, dtype=edges.dtype, device=edges.device)
    fine = (center + fine_step * steps).clamp(0, far)
    fine_colors, fine_logits = sample(fine)

    depths, order = torch.cat([coarse, fine], 1).sort(dim=1, stable=True)
    logits = torch.cat([coarse_logits, fine_logits], 1).gather(1, order)
    colors = torch.cat([coarse_colors, fine_colors], 1)
    colors = colors.gather(1, order[..., None].expand_as(colors))

    weights = weigh(logits, depths)
    middle_colors = (colors[:, 1:] + colors[:, :-1]) / 2
    middle_depths = (depths[:, 1:] + depths[:, :-1]) / 2
    color = (weights[..., None] * middle_colors).sum(1)
    if background is not None:
        color = color + (1 - weights.sum(1, keepdim=True)) * background
    composite = 2 * color - 1
    depth = (weights * middle_depths).sum(1) / (1e-10 + weights.sum(1))
    return composite, depth.clamp(1e-5, far), weights, depths


def bilinear(image: Any, u: float, v: float) -> Any:
    """Read an image ``(C, H, W)``, of torch or numpy, at a position; beyond the border its pixels go on."""
    height, width = image.shape[1:]
    u, v = min(max(u, 0.0), width - 1), min(max(v, 0.0), height - 1)
    left, top = min(int(u), max(width - 2, 0)), min(int(v), max(height - 2, 0))
    right, bottom = min(left + 1, width - 1), min(top + 1, height - 1)
    a, b = u - left, v - top
    upper = (1 - a) * image[:, top, left] + a * image[:, top, right]
    lower = (1 - a) * image[:, bottom, left] + a * image[:, bottom, right]
    return (1 - b) * upper + b * lower
