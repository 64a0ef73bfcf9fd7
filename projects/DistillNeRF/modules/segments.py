"""Sums of weighted table rows: pooling and compositing are both products of a sparse matrix with a table."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def weighted_segment_sum(table: Tensor, rows: Tensor, weights: Tensor, offsets: Tensor) -> Tensor:
    """``out[s] = sum of weights[e] * table[rows[e]]`` over the entries e of segment s.

    Nothing of size entries x channels is made, forward or backward.

    Args:
        table: ``(T, C)``.
        rows: ``(E,)`` integer rows of the table, ordered by segment.
        weights: ``(E,)`` in the dtype of ``table``.
        offsets: ``(S + 1,)`` integers: segment s holds the entries ``offsets[s]`` to ``offsets[s + 1] - 1``.

    Returns:
        ``(S, C)``; a segment without entries is zero.
    """
    if len(rows) == 0:
        # Connected to the graph, so that a backward pass through an empty scene works.
        return table.new_zeros(len(offsets) - 1, table.shape[1]) + 0 * (table.sum() + weights.sum())
    return F.embedding_bag(
        rows, table, offsets.to(rows.dtype), mode='sum', per_sample_weights=weights, include_last_offset=True
    )


def segment_offsets(counts: Tensor) -> Tensor:
    """``(S,)`` entries per segment -> ``(S + 1,)`` offsets."""
    return F.pad(torch.cumsum(counts, 0), (1, 0))
