"""Samples along rays in Triton, and all that renders them: one program per ray.

The reference is ``modules/renderer.py`` (:func:`place_samples`). Positions are contracted in the very order of
operations of ``geometry/contraction.py``, with exact divisions and without fused multiply-adds, so that samples hit the
same cells bit by bit. The weights of the samples are in ``ray_weights.py``, what they sum in ``compositing.py``.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from .compositing import composite
from .ray_weights import ACTIVATIONS, RAY_OPTIONS, alpha_weights, divide, known_activation, ray_weights

__all__ = ['ACTIVATIONS', 'Marching', 'composite', 'place_samples', 'ray_weights']


@triton.jit
def _contract(x, RANGE: tl.constexpr, RATIO: tl.constexpr):
    """Map a world coordinate to the cube; see ``geometry.contraction.contract``, which this follows bit by bit."""
    size = tl.abs(x)
    reach = divide(tl.full([], 1.0, x.dtype), size) * RANGE
    outside = divide((1.0 - reach * (1.0 - RATIO)) * x, size)
    inside = divide(x, tl.full([], RANGE, x.dtype)) * RATIO
    return tl.where(size < RANGE, inside, outside)


@triton.jit
def _spread_bits(x):
    """Put two zero bits between neighboring bits of 10-bit integers."""
    x = (x | (x << 16)) & 0x030000FF
    x = (x | (x << 8)) & 0x0300F00F
    x = (x | (x << 4)) & 0x030C30C3
    return (x | (x << 2)) & 0x09249249


@triton.jit
def _axis_cell(origin, direction, depth, RANGE: tl.constexpr, RATIO: tl.constexpr, LEVEL: tl.constexpr):
    """Compute the cell index along an axis; it lies beyond 0 .. 2^LEVEL - 1 outside the cube."""
    HALF: tl.constexpr = 2 ** (LEVEL - 1)
    s = _contract(origin + depth * direction, RANGE, RATIO)
    return tl.floor(s * HALF).to(tl.int32) + HALF


@triton.jit
def _rows_along(
    origin_ptr,
    direction_ptr,
    depth,
    mask,
    index_ptr,
    leaves_ptr,
    empty_row,
    RANGE: tl.constexpr,
    RANGE_Z: tl.constexpr,
    RATIO: tl.constexpr,
    COARSE_LEVEL: tl.constexpr,
    FINE_LEVEL: tl.constexpr,
):
    """Look up the rows of samples at depths along one ray; see ``VoxelGrid.rows_at``."""
    SHIFT: tl.constexpr = 3 * (FINE_LEVEL - COARSE_LEVEL)
    LAST: tl.constexpr = 2**FINE_LEVEL - 1
    x = _axis_cell(tl.load(origin_ptr), tl.load(direction_ptr), depth, RANGE, RATIO, FINE_LEVEL)
    y = _axis_cell(tl.load(origin_ptr + 1), tl.load(direction_ptr + 1), depth, RANGE, RATIO, FINE_LEVEL)
    z = _axis_cell(tl.load(origin_ptr + 2), tl.load(direction_ptr + 2), depth, RANGE_Z, RATIO, FINE_LEVEL)
    inside = mask & (((x | y | z) >> FINE_LEVEL) == 0)
    code = (_spread_bits(x & LAST) << 2) | (_spread_bits(y & LAST) << 1) | _spread_bits(z & LAST)
    block = tl.load(index_ptr + (code >> SHIFT), mask=inside, other=0)
    leaf = (block << SHIFT) + (code & ((1 << SHIFT) - 1))
    return tl.load(leaves_ptr + leaf, mask=inside, other=empty_row)


@triton.jit
def _march(
    origins_ptr,
    directions_ptr,
    coarse_ptr,
    coarse_stride,
    index_ptr,
    leaves_ptr,
    logits_ptr,
    depths_ptr,
    rows_ptr,
    empty_row,
    samples,
    FINE: tl.constexpr,
    FINE_STEP: tl.constexpr,
    FAR: tl.constexpr,
    QUIRKS: tl.constexpr,
    ACTIVATION: tl.constexpr,
    MEAN_DENSITY: tl.constexpr,
    RANGE: tl.constexpr,
    RANGE_Z: tl.constexpr,
    RATIO: tl.constexpr,
    COARSE_LEVEL: tl.constexpr,
    FINE_LEVEL: tl.constexpr,
    BLOCK: tl.constexpr,
    FINE_BLOCK: tl.constexpr,
):
    """Look up the coarse samples of one ray, place fine samples around the heaviest interval, and merge both."""
    ray = tl.program_id(0).to(tl.int64)
    origin_ptr = origins_ptr + ray * 3
    direction_ptr = directions_ptr + ray * 3
    i = tl.arange(0, BLOCK)
    valid = i < samples
    interval = i < samples - 1
    depth_ptr = coarse_ptr + ray * coarse_stride
    depth = tl.load(depth_ptr + i, mask=valid, other=0.0)
    gap = tl.load(depth_ptr + i + 1, mask=interval, other=0.0) - depth
    row = _rows_along(
        origin_ptr,
        direction_ptr,
        depth,
        valid,
        index_ptr,
        leaves_ptr,
        empty_row,
        RANGE,
        RANGE_Z,
        RATIO,
        COARSE_LEVEL,
        FINE_LEVEL,
    )
    logit = tl.load(logits_ptr + row, mask=valid, other=0.0).to(depth.dtype)
    weights, _, _, _, _ = alpha_weights(logit, gap, i, interval, ACTIVATION, MEAN_DENSITY, BLOCK)
    heaviest = tl.argmax(tl.where(interval, weights, -1.0), 0)

    j = tl.arange(0, FINE_BLOCK)
    center = tl.load(depth_ptr + heaviest)
    if QUIRKS:
        # The index of an interval is used as the index of a sample.
        steps = (j - FINE // 2).to(depth.dtype)
    else:
        center = (center + tl.load(depth_ptr + heaviest + 1)) * 0.5
        steps = j.to(depth.dtype) - (FINE - 1) / 2
    fine = tl.minimum(tl.maximum(center + steps * FINE_STEP, 0.0), FAR)
    fine_row = _rows_along(
        origin_ptr,
        direction_ptr,
        fine,
        j < FINE,
        index_ptr,
        leaves_ptr,
        empty_row,
        RANGE,
        RANGE_Z,
        RATIO,
        COARSE_LEVEL,
        FINE_LEVEL,
    )

    # Both are ascending: a sample's place is its own index and the number of the others before it, fine ones first
    # where depths are equal.
    place = i
    fine_place = j
    for k in range(FINE):
        one = tl.sum(tl.where(j == k, fine, 0.0), 0)
        behind = valid & (depth >= one)
        place += behind.to(tl.int32)
        fine_place += tl.where(j == k, samples - tl.sum(behind.to(tl.int32), 0), 0)
    out = ray * (samples + FINE)
    tl.store(depths_ptr + out + place, depth, mask=valid)
    tl.store(rows_ptr + out + place, row, mask=valid)
    tl.store(depths_ptr + out + fine_place, fine, mask=j < FINE)
    tl.store(rows_ptr + out + fine_place, fine_row, mask=j < FINE)


class Marching(NamedTuple):
    """How rays are marched; see ``ParameterizedSpace``, ``RaySampling`` and ``VoxelGrid`` for the settings."""

    inner_range: float
    inner_range_z: float
    contract_ratio: float
    far: float
    coarse_level: int
    fine_level: int
    fine_samples: int
    fine_step: float
    density_activation: str
    published_quirks: bool
    mean_density: bool = False


@torch.no_grad()
def place_samples(
    coarse: Tensor,
    origins: Tensor,
    directions: Tensor,
    index: Tensor,
    leaves: Tensor,
    logits: Tensor,
    marching: Marching,
) -> tuple[Tensor, Tensor]:
    """Look up coarse samples, place fine ones around the heaviest interval, and merge them.

    Where two intervals weigh the same but for rounding, another one may be the heaviest than in torch.

    Args:
        coarse: ``(rays, S)`` ascending depths of the coarse samples, meters, S at least 2; may be expanded.
        origins, directions: ``(rays, 3)`` in the dtype of ``coarse``, float32 or float64.
        index, leaves: int32 tables of ``VoxelGrid``.
        logits: ``(F + C + 1,)`` of ``VoxelTables``.

    Returns:
        depths ``(rays, S + fine_samples)``, ascending, and the rows that they hit, int32 of the same shape.
    """
    rays, samples = coarse.shape
    if coarse.stride(1) != 1:
        coarse = coarse.contiguous()
    total = samples + marching.fine_samples
    depths = coarse.new_empty(rays, total)
    rows = torch.empty(rays, total, dtype=torch.int32, device=coarse.device)
    if rays == 0:
        return depths, rows
    with torch.cuda.device_of(coarse):
        _march[(rays,)](
            *(origins.contiguous(), directions.contiguous(), coarse, coarse.stride(0)),
            *(index.contiguous(), leaves.contiguous(), logits.detach().contiguous(), depths, rows),
            *(len(logits) - 1, samples),
            FINE=marching.fine_samples,
            FINE_STEP=marching.fine_step,
            FAR=marching.far,
            QUIRKS=marching.published_quirks,
            ACTIVATION=known_activation(marching.density_activation),
            MEAN_DENSITY=marching.mean_density,
            RANGE=float(marching.inner_range),
            RANGE_Z=float(marching.inner_range_z),
            RATIO=marching.contract_ratio,
            COARSE_LEVEL=marching.coarse_level,
            FINE_LEVEL=marching.fine_level,
            BLOCK=triton.next_power_of_2(samples),
            FINE_BLOCK=triton.next_power_of_2(marching.fine_samples),
            **RAY_OPTIONS,
        )
    return depths, rows
