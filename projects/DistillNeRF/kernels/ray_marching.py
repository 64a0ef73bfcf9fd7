"""Marching along rays and compositing in Triton: one program per ray.

The reference is ``modules/renderer.py`` (:func:`place_samples`), ``modules/volume_rendering.py`` (:func:`ray_weights`)
and ``modules/segments.py`` (:func:`composite`). Positions are contracted in the very order of operations of
``geometry/contraction.py``, with exact divisions and without fused multiply-adds, so that samples hit the same cells
bit by bit. Exponentials are accurate to the last bit or two on every device, as 1 - exp(-x) needs it for small x.

Values have a fixed order of summation. Gradients to tables are added with atomics, so that two runs differ in the
last bits; the torch path is there for who needs the same bits.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

ALPHA_EPSILON = tl.constexpr(1e-10)
MAX_OPTICAL_DEPTH = tl.constexpr(80.0)
NEAR = tl.constexpr(1e-5)

ACTIVATIONS = ('exp', 'softplus', 'sigmoid')
# A program is so few warps that its scans and reductions stay within a warp or two.
RAY_OPTIONS: dict[str, Any] = {'num_warps': 2, 'enable_fp_fusion': False}
# Samples that are composited at a time, and the numbers in registers that it takes.
SAMPLE_TILE = 32
TILE_NUMEL = 2048


@triton.jit
def _divide(a, b):
    """Divide as IEEE 754 says; Triton's ``/`` is an approximation in float32."""
    return a / b if b.dtype == tl.float64 else tl.math.div_rn(a, b)


@triton.jit
def _exp(x):
    """Compute exp of numbers to the last bit or two; ``tl.exp`` approximates in float32, and 1 - exp would show it."""
    if x.dtype == tl.float64:
        y = tl.exp(x)
    else:
        # Comparisons instead of minimum and maximum: NaN stays NaN. Polynomial of Cephes (expf).
        x = tl.where(x > 88.0, 88.0, tl.where(x < -87.0, -87.0, x))
        power = tl.floor(x * 1.44269504088896341 + 0.5)
        r = (x - power * 0.693359375) - power * -2.12194440e-4
        p = r * 1.9875691500e-4 + 1.3981999507e-3
        p = p * r + 8.3334519073e-3
        p = p * r + 4.1665795894e-2
        p = p * r + 1.6666665459e-1
        p = p * r + 5.0000001201e-1
        y = (p * (r * r) + r) + 1.0
        y = y * ((power.to(tl.int32) + 127) << 23).to(tl.float32, bitcast=True)
    return y


@triton.jit
def _log1p(u):
    """Compute log(1 + u) for u in [0, 1]."""
    if u.dtype == tl.float64:
        # What 1 + u loses by rounding is known: its logarithm is corrected by it.
        w = 1.0 + u
        y = tl.where(w == 1.0, u, tl.log(w) * (u / tl.where(w == 1.0, 1.0, w - 1.0)))
    else:
        s = _divide(u, 2.0 + u)
        q = s * s
        p = q * (1.0 / 15) + 1.0 / 13
        p = p * q + 1.0 / 11
        p = p * q + 1.0 / 9
        p = p * q + 1.0 / 7
        p = p * q + 1.0 / 5
        p = p * q + 1.0 / 3
        y = 2.0 * (s + s * (q * p))
    return y


@triton.jit
def _density(logit, ACTIVATION: tl.constexpr):
    """Compute the density per meter and its derivative."""
    x = logit - 1.0
    if ACTIVATION == 'exp':
        sigma = _exp(x)
        slope = sigma
    else:
        u = _exp(-tl.abs(x))
        share = _divide(tl.where(x < 0, u, 1.0), 1.0 + u)
        if ACTIVATION == 'softplus':
            sigma = tl.where(x > 0, x, 0.0) + _log1p(u)
            slope = share
        else:
            sigma = share
            slope = share * (1.0 - share)
    return sigma, slope


@triton.jit
def _contract(x, RANGE: tl.constexpr, RATIO: tl.constexpr):
    """Map a world coordinate to the cube; see ``geometry.contraction.contract``, which this follows bit by bit."""
    size = tl.abs(x)
    reach = _divide(tl.full([], 1.0, x.dtype), size) * RANGE
    outside = _divide((1.0 - reach * (1.0 - RATIO)) * x, size)
    inside = _divide(x, tl.full([], RANGE, x.dtype)) * RATIO
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
def _shift_right(x, i, first):
    """Return x[i - 1], and ``first`` at i = 0."""
    return tl.where(i == 0, first, tl.gather(x, tl.maximum(i - 1, 0), 0))


@triton.jit
def _alpha_weights(logit, gap, i, interval, ACTIVATION: tl.constexpr, BLOCK: tl.constexpr):
    """Compute the weights of the intervals between samples, zero where there is none.

    Returns:
        weights, what passes before each interval, what each lets pass, and the derivative of its opacity to the mean
        of its logits.
    """
    following = tl.gather(logit, tl.minimum(i + 1, BLOCK - 1), 0)
    sigma, slope = _density((logit + following) * 0.5, ACTIVATION)
    optical = tl.where(interval, sigma * gap, 0.0)
    clear = _exp(-tl.where(optical > MAX_OPTICAL_DEPTH, MAX_OPTICAL_DEPTH, optical))
    alpha = 1.0 - clear
    keep = 1.0 - alpha + ALPHA_EPSILON
    before = tl.cumprod(_shift_right(keep, i, 1.0), 0)
    weights = tl.where(interval, (alpha + ALPHA_EPSILON) * before, 0.0)
    derivative = tl.where(interval & (optical <= MAX_OPTICAL_DEPTH), clear * gap * slope, 0.0)
    return weights, before, keep, derivative


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
    weights, _, _, _ = _alpha_weights(logit, gap, i, interval, ACTIVATION, BLOCK)
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


@triton.jit
def _load_ray(logits_ptr, rows_ptr, depths_ptr, ray, samples, i, ACTIVATION: tl.constexpr, BLOCK: tl.constexpr):
    """Load the samples of a ray and compute the weights of their intervals, and the middles of these."""
    interval = i < samples - 1
    row = tl.load(rows_ptr + ray * samples + i, mask=i < samples, other=0)
    depth_ptr = depths_ptr + ray * samples
    depth = tl.load(depth_ptr + i, mask=i < samples, other=0.0)
    following = tl.load(depth_ptr + i + 1, mask=interval, other=0.0)
    logit = tl.load(logits_ptr + row, mask=i < samples, other=0.0).to(depth.dtype)
    weights, before, keep, derivative = _alpha_weights(logit, following - depth, i, interval, ACTIVATION, BLOCK)
    return row, weights, before, keep, derivative, (following + depth) * 0.5


@triton.jit
def _weights(
    logits_ptr,
    rows_ptr,
    depths_ptr,
    weights_ptr,
    halves_ptr,
    depth_ptr,
    opacity_ptr,
    samples,
    FAR: tl.constexpr,
    ACTIVATION: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Compute the weights of one ray's intervals and samples, its depth and opacity."""
    ray = tl.program_id(0).to(tl.int64)
    i = tl.arange(0, BLOCK)
    _, weights, _, _, _, middle = _load_ray(logits_ptr, rows_ptr, depths_ptr, ray, samples, i, ACTIVATION, BLOCK)
    tl.store(weights_ptr + ray * (samples - 1) + i, weights, mask=i < samples - 1)
    halves = (_shift_right(weights, i, 0.0) + weights) * 0.5
    tl.store(halves_ptr + ray * samples + i, halves, mask=i < samples)
    opacity = tl.sum(weights, 0)
    depth = _divide(tl.sum(weights * middle, 0), opacity + ALPHA_EPSILON)
    depth = tl.where(depth == depth, tl.minimum(tl.maximum(depth, NEAR), FAR), FAR)
    tl.store(depth_ptr + ray, depth)
    tl.store(opacity_ptr + ray, opacity)


@triton.jit
def _weights_gradient(
    logits_ptr,
    rows_ptr,
    depths_ptr,
    grad_weights_ptr,
    grad_halves_ptr,
    grad_depth_ptr,
    grad_opacity_ptr,
    grad_logits_ptr,
    empty_row,
    samples,
    FAR: tl.constexpr,
    ACTIVATION: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Add the gradients of one ray to the table of logits; those of empty space are left out."""
    ray = tl.program_id(0).to(tl.int64)
    i = tl.arange(0, BLOCK)
    interval = i < samples - 1
    row, weights, before, keep, derivative, middle = _load_ray(
        logits_ptr, rows_ptr, depths_ptr, ray, samples, i, ACTIVATION, BLOCK
    )
    grad = tl.zeros_like(weights)
    if grad_weights_ptr is not None:
        grad += tl.load(grad_weights_ptr + ray * (samples - 1) + i, mask=interval, other=0.0)
    if grad_halves_ptr is not None:
        source = grad_halves_ptr + ray * samples + i
        grad += tl.load(source, mask=interval, other=0.0) * 0.5
        grad += tl.load(source + 1, mask=interval, other=0.0) * 0.5
    if grad_opacity_ptr is not None:
        grad += tl.load(grad_opacity_ptr + ray)
    if grad_depth_ptr is not None:
        total = tl.sum(weights, 0) + ALPHA_EPSILON
        depth = _divide(tl.sum(weights * middle, 0), total)
        passes = (depth >= NEAR) & (depth <= FAR)
        share = tl.where(passes, _divide(tl.load(grad_depth_ptr + ray), total), 0.0)
        grad += share * (middle - depth)
    product = tl.where(interval, grad * weights, 0.0)
    behind = tl.cumsum(product, 0, reverse=True) - product
    grad_mean = tl.where(interval, (grad * before - _divide(behind, keep)) * derivative, 0.0)
    grad_logit = (_shift_right(grad_mean, i, 0.0) + grad_mean) * 0.5
    tl.atomic_add(grad_logits_ptr + row, grad_logit, mask=(i < samples) & (row < empty_row), sem='relaxed')


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
            cell = row
            if cells_ptr is not None:
                cell = tl.load(cells_ptr + row, mask=hit, other=0).to(tl.int32)
            offsets = cell.to(tl.int64)[:, None] * channels + columns[None, :]
            mask = hit[:, None] & (columns < channels)[None, :]
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
            cell = row
            if cells_ptr is not None:
                cell = tl.load(cells_ptr + row, mask=hit, other=0).to(tl.int32)
            offsets = cell.to(tl.int64)[:, None] * channels + columns[None, :]
            mask = hit[:, None] & (columns < channels)[None, :]
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
            ACTIVATION=_known(marching.density_activation),
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


def _known(activation: str) -> str:
    if activation not in ACTIVATIONS:
        raise ValueError(f'unknown density activation {activation!r}: use exp, softplus or sigmoid')
    return activation


class _RayWeights(torch.autograd.Function):
    """Keeps its inputs for the gradient, and computes the weights again."""

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, rows: Tensor, depths: Tensor, activation: str, far: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        rays, samples = rows.shape
        weights, halves = depths.new_empty(rays, samples - 1), torch.empty_like(depths)
        depth, opacity = depths.new_empty(rays), depths.new_empty(rays)
        ctx.save_for_backward(logits, rows, depths)
        ctx.options = {'FAR': far, 'ACTIVATION': activation, 'BLOCK': triton.next_power_of_2(samples), **RAY_OPTIONS}
        ctx.set_materialize_grads(False)
        if rays:
            with torch.cuda.device_of(depths):
                outputs = (weights, halves, depth, opacity)
                _weights[(rays,)](logits, rows, depths, *outputs, samples, **ctx.options)
        return weights, halves, depth, opacity

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor, None, None, None, None]:
        logits, rows, depths = ctx.saved_tensors
        rays, samples = rows.shape
        grad_logits = torch.zeros_like(logits, dtype=depths.dtype)
        if rays:
            grad_weights, grad_halves, grad_depth, grad_opacity = (g if g is None else g.contiguous() for g in grads)
            with torch.cuda.device_of(depths):
                _weights_gradient[(rays,)](
                    *(logits, rows, depths, grad_weights, grad_halves, grad_depth, grad_opacity, grad_logits),
                    *(len(logits) - 1, samples),
                    **ctx.options,
                )
        return grad_logits.to(logits.dtype), None, None, None, None


def ray_weights(
    logits: Tensor, rows: Tensor, depths: Tensor, activation: str, far: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Compute alpha weights along rays, expected depth and opacity, with gradients to the logits of occupied rows.

    Args:
        logits: ``(F + C + 1,)`` density logit of every row; the last one, of empty space, gets no gradient.
        rows: ``(rays, n)`` int32, n at least 2.
        depths: ``(rays, n)`` ascending distances along the rays, meters, float32 or float64.
        activation: the density activation, ``exp``, ``softplus`` or ``sigmoid``.
        far: greatest depth, meters.

    Returns:
        weights: ``(rays, n - 1)`` of the intervals between samples.
        halves: ``(rays, n)`` of the samples: half of each of a sample's two intervals.
        depth: ``(rays,)`` expected distance along the ray, meters.
        opacity: ``(rays,)`` sum of the weights.
    """
    inputs = (logits.contiguous(), rows.contiguous(), depths.contiguous())
    return _RayWeights.apply(*inputs, _known(activation), float(far))


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
