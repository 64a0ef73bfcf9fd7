"""Compositing along rays in Triton: one program per ray.

The reference is ``modules/segments.py`` (:func:`weighted_segment_sum`) over the hits of rays. Values have a fixed order
of summation. Gradients to the table are added with atomics, so that two runs differ in the last bits; the torch path is
there for who needs the same bits.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

# Samples that are composited at a time, and the numbers in registers that it takes.
SAMPLE_TILE = 32
TILE_NUMEL = 2048


@triton.jit
def _table_tile(cells_ptr, row, hit, channels, columns):
    """Return the offsets of samples x channels in the table, and the mask of those that are hit."""
    cell = row
    if cells_ptr is not None:
        cell = tl.load(cells_ptr + row, mask=hit, other=0).to(tl.int32)
    return cell.to(tl.int64)[:, None] * channels + columns[None, :], hit[:, None] & (columns < channels)[None, :]


@triton.jit
def _composite(
    table_ptr,
    cells_ptr,
    rows_ptr,
    weights_ptr,
    sums_ptr,
    hits_ptr,
    limit,
    samples,
    channels,
    SAMPLES: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """Sum the weighted table rows of one ray's samples that hit something; tiles that hit nothing are passed over."""
    ray = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, CHANNELS)
    total = tl.zeros([CHANNELS], sums_ptr.dtype.element_ty)
    hits = tl.zeros([SAMPLES], sums_ptr.dtype.element_ty)
    for first in range(0, samples, SAMPLES):
        i = first + tl.arange(0, SAMPLES)
        row = tl.load(rows_ptr + ray * samples + i, mask=i < samples, other=limit)
        hit = row < limit
        if tl.max(hit.to(tl.int32), 0) > 0:
            weight = tl.load(weights_ptr + ray * samples + i, mask=hit, other=0.0).to(total.dtype)
            offsets, mask = _table_tile(cells_ptr, row, hit, channels, columns)
            values = tl.load(table_ptr + offsets, mask=mask, other=0.0).to(total.dtype)
            total += tl.sum(values * weight[:, None], 0)
            hits += weight
    tl.store(sums_ptr + ray * channels + columns, total, mask=columns < channels)
    tl.store(hits_ptr + ray, tl.sum(hits, 0))


@triton.jit
def _composite_gradient(
    table_ptr,
    cells_ptr,
    rows_ptr,
    weights_ptr,
    grad_sums_ptr,
    grad_hits_ptr,
    grad_table_ptr,
    grad_weights_ptr,
    limit,
    samples,
    channels,
    SAMPLES: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """Add one ray's gradients to the table, and write those of its weights, zero where a sample hits nothing."""
    ray = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, CHANNELS)
    grad = tl.load(grad_sums_ptr + ray * channels + columns, mask=columns < channels, other=0.0)
    for first in range(0, samples, SAMPLES):
        i = first + tl.arange(0, SAMPLES)
        row = tl.load(rows_ptr + ray * samples + i, mask=i < samples, other=limit)
        hit = row < limit
        along = tl.zeros([SAMPLES], grad.dtype)
        if tl.max(hit.to(tl.int32), 0) > 0:
            weight = tl.load(weights_ptr + ray * samples + i, mask=hit, other=0.0).to(grad.dtype)
            offsets, mask = _table_tile(cells_ptr, row, hit, channels, columns)
            if grad_weights_ptr is not None:
                values = tl.load(table_ptr + offsets, mask=mask, other=0.0).to(grad.dtype)
                along = tl.sum(values * grad[None, :], 1)
                if grad_hits_ptr is not None:
                    along += tl.load(grad_hits_ptr + ray)
            if grad_table_ptr is not None:
                tl.atomic_add(grad_table_ptr + offsets, weight[:, None] * grad[None, :], mask=mask, sem='relaxed')
        if grad_weights_ptr is not None:
            along = tl.where(hit, along, 0.0)
            tl.store(grad_weights_ptr + ray * samples + i, along.to(weights_ptr.dtype.element_ty), mask=i < samples)


class _Composite(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, table: Tensor, weights: Tensor, rows: Tensor, limit: int, cells: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        rays, samples = rows.shape
        channels = table.shape[1]
        wide = torch.promote_types(torch.promote_types(table.dtype, weights.dtype), torch.float32)
        sums = torch.empty(rays, channels, dtype=wide, device=table.device)
        hits = torch.empty(rays, dtype=wide, device=table.device)
        block = triton.next_power_of_2(max(1, channels))
        tile = min(SAMPLE_TILE, max(1, TILE_NUMEL // block))
        ctx.options = {'SAMPLES': tile, 'CHANNELS': block, 'num_warps': 1 if block <= 64 else 4}
        ctx.save_for_backward(table, weights, rows, cells)
        ctx.limit = limit
        ctx.set_materialize_grads(False)
        if rays:
            with torch.cuda.device_of(table):
                _composite[(rays,)](
                    *(table, cells, rows, weights, sums, hits), *(limit, samples, channels), **ctx.options
                )
        return sums, hits

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, grad_sums: Tensor | None, grad_hits: Tensor | None
    ) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        table, weights, rows, cells = ctx.saved_tensors
        rays, samples = rows.shape
        wide = next((g.dtype for g in (grad_sums, grad_hits) if g is not None), weights.dtype)
        grad_sums = weights.new_zeros(rays, table.shape[1], dtype=wide) if grad_sums is None else grad_sums.contiguous()
        grad_table = torch.zeros_like(table, dtype=wide) if ctx.needs_input_grad[0] else None
        grad_weights = torch.empty_like(weights) if ctx.needs_input_grad[1] else None
        if rays:
            grad_hits = None if grad_hits is None else grad_hits.contiguous()
            with torch.cuda.device_of(table):
                _composite_gradient[(rays,)](
                    *(table, cells, rows, weights, grad_sums, grad_hits, grad_table, grad_weights),
                    *(ctx.limit, samples, table.shape[1]),
                    **ctx.options,
                )
        return None if grad_table is None else grad_table.to(table.dtype), grad_weights, None, None, None


def composite(
    table: Tensor, rows: Tensor, weights: Tensor, limit: int, cells: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Compute ``sum of weights[r, i] * table[rows[r, i]]`` over the samples of ray r whose row is below ``limit``.

    Args:
        table: ``(T, channels)``.
        rows: ``(rays, n)`` int32.
        weights: ``(rays, n)``.
        limit: the first row that is left out.
        cells: ``(limit,)`` int32 row of the table for each of the rows, if it is not the same.

    Returns:
        sums: ``(rays, channels)``, float32 or wider; zero where a ray hits nothing.
        hits: ``(rays,)`` sum of the weights that took part.
    """
    inputs = (table.contiguous(), weights.contiguous(), rows.contiguous())
    return _Composite.apply(*inputs, limit, None if cells is None else cells.contiguous())
