"""Sums of weighted table rows: pooling and compositing are both products of a sparse matrix with a table."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def weighted_segment_sum(table: Tensor, rows: Tensor, weights: Tensor, offsets: Tensor) -> Tensor:
    """Compute ``out[s] = sum of weights[e] * table[rows[e]]`` over the entries e of segment s.

    No tensor of size entries x channels is made, forward or backward.

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
    rows, offsets = rows.int(), offsets.int()
    sums = _bags(table.detach(), rows, weights, offsets)
    return _TableGradient.apply(sums, table, rows, weights.detach(), offsets)


def _bags(table: Tensor, rows: Tensor, weights: Tensor, offsets: Tensor) -> Tensor:
    return F.embedding_bag(rows, table, offsets, mode='sum', per_sample_weights=weights, include_last_offset=True)


class _TableGradient(torch.autograd.Function):
    """Pass ``sums`` on, and give ``table`` the gradient: the product with the transposed matrix, again by segments.

    PyTorch's own gradient of ``embedding_bag`` adds row by row on one core.
    """

    @staticmethod
    def forward(ctx: Any, sums: Tensor, table: Tensor, rows: Tensor, weights: Tensor, offsets: Tensor) -> Tensor:
        ctx.save_for_backward(rows, weights, offsets)
        ctx.num_rows = len(table)
        return sums.view_as(sums)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        rows, weights, offsets = ctx.saved_tensors
        segments = torch.arange(len(grad), dtype=rows.dtype, device=rows.device)
        segments = segments.repeat_interleave(offsets.diff(), output_size=len(rows))
        rows, order = rows.sort(stable=True)
        by_row = sorted_offsets(rows, ctx.num_rows).to(rows.dtype)
        grad_table = _bags(grad.contiguous(), segments.index_select(0, order), weights.index_select(0, order), by_row)
        return grad, grad_table, None, None, None


def segment_offsets(counts: Tensor) -> Tensor:
    """Return the offsets ``(S + 1,)`` of segments with ``(S,)`` entries each."""
    return F.pad(torch.cumsum(counts, 0), (1, 0))


def sorted_offsets(values: Tensor, count: int) -> Tensor:
    """Return the offsets ``(count + 1,)`` of the segments of equal values in ascending integers below ``count``.

    Unlike ``torch.bincount`` it does not wait for the device.
    """
    return torch.searchsorted(values, torch.arange(count + 1, dtype=values.dtype, device=values.device))


def count_rows(rows: Tensor, count: int) -> Tensor:
    """Count how often each of ``count`` rows occurs in integers ``(E,)``, without waiting for the device: int32."""
    ones = torch.ones((), dtype=torch.int32, device=rows.device).expand(len(rows))
    return torch.zeros(count, dtype=torch.int32, device=rows.device).index_add_(0, rows, ones)
