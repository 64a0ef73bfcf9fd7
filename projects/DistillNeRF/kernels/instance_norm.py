"""Instance norm and the activation behind it in Triton: two launches per direction, one on small maps.

The reference is ``modules/layers.py``. Statistics are computed in float32 (float64 for float64 maps) and merged by
Chan's formula from the means and the centered squares of tiles, so that nothing cancels. Sums have a fixed order:
two runs give the same bits.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

NORM_EPSILON = tl.constexpr(1e-5)

# Programs that keep a large GPU busy; the number depends on nothing but the shape, so results do not either.
PROGRAMS = 512
# Elements of a tile, and of all splits' statistics, that a program holds in its registers.
TILE_NUMEL = 4096
# Maps of at most so many positions are done by one launch, whose programs take a block of channels each.
WHOLE_POSITIONS = 2048


class _Plan(NamedTuple):
    """How a map is divided into programs.

    Attributes:
        whole: one launch does everything.
        splits: number of programs for the positions of a sample; 1 if ``whole``.
        chunk: positions per program.
        position_block, channel_block: the tile, powers of two; they do not depend on the number of positions, so that
            few kernels are compiled.
    """

    whole: bool
    splits: int
    chunk: int
    position_block: int
    channel_block: int

    def run(
        self, partial_kernel: Any, kernel: Any, inputs: tuple[Tensor, ...], out: Tensor, stats: Tensor, slope: float
    ) -> None:
        """Launch ``partial_kernel``, which sums what the splits see, unless ``whole``, and ``kernel``, which merges it.

        Args:
            inputs: maps ``(samples, positions, channels)`` that both read.
            out: the map that ``kernel`` writes.
            stats: ``(samples, 2, channels)`` in the precision of the sums: mean and scale.
        """
        samples, positions, channels = out.shape
        partial = stats if self.whole else stats.new_empty(samples, self.splits, 2, channels)
        grid = (self.splits, triton.cdiv(channels, self.channel_block), samples)
        arguments = (partial, stats, positions, channels, self.chunk, self.splits)
        options = {
            'SLOPE': slope,
            'ACC': tl.float64 if stats.dtype == torch.float64 else tl.float32,
            'POSITION_BLOCK': self.position_block,
            'CHANNEL_BLOCK': self.channel_block,
            'num_warps': 8 if self.whole else 4,
        }
        with torch.cuda.device_of(out):
            if not self.whole:
                partial_kernel[grid](*inputs, *arguments, **options)
            split_block = TILE_NUMEL // self.channel_block
            kernel[grid](*inputs, out, *arguments, WHOLE=self.whole, SPLIT_BLOCK=split_block, **options)


def _plan(samples: int, positions: int, channels: int) -> _Plan:
    """Divide maps ``(samples, positions, channels)`` into programs."""
    if positions <= WHOLE_POSITIONS:
        channel_block = min(16, triton.next_power_of_2(channels))
        return _Plan(True, 1, positions, 2 * TILE_NUMEL // channel_block, channel_block)
    channel_block = min(64, triton.next_power_of_2(channels))
    position_block = TILE_NUMEL // channel_block
    tiles = triton.cdiv(positions, position_block)
    busy = triton.cdiv(PROGRAMS, samples * triton.cdiv(channels, channel_block))
    chunk = triton.cdiv(tiles, min(busy, tiles, TILE_NUMEL // channel_block)) * position_block
    return _Plan(False, triton.cdiv(positions, chunk), chunk, position_block, channel_block)


@triton.jit
def _own_chunk(positions, channels, chunk, CHANNEL_BLOCK: tl.constexpr):
    """Return this program's sample, where that begins in the map, its channels, and its positions start to stop - 1."""
    sample = tl.program_id(2).to(tl.int64)
    columns = tl.program_id(1) * CHANNEL_BLOCK + tl.arange(0, CHANNEL_BLOCK)
    start = tl.program_id(0) * chunk
    return sample, sample * positions * channels, columns, start, tl.minimum(start + chunk, positions)


@triton.jit
def _load_tile(base, first, stop, channels, columns, ACC: tl.constexpr, POSITION_BLOCK: tl.constexpr):
    """Load a tile of positions x channels as ACC, zero outside; return its offsets and mask, too."""
    local = tl.arange(0, POSITION_BLOCK)
    offsets = (first + local).to(tl.int64)[:, None] * channels + columns[None, :]
    mask = (first + local < stop)[:, None] & (columns < channels)[None, :]
    return tl.load(base + offsets, mask=mask, other=0.0).to(ACC), offsets, mask


@triton.jit
def _moments(base, start, stop, channels, columns, ACC: tl.constexpr, POSITION_BLOCK: tl.constexpr):
    """Compute the mean and the sum of centered squares of every column over positions start to stop - 1."""
    mean = tl.zeros_like(columns).to(ACC)
    squares = tl.zeros_like(columns).to(ACC)
    for first in range(start, stop, POSITION_BLOCK):
        x, _, mask = _load_tile(base, first, stop, channels, columns, ACC, POSITION_BLOCK)
        count = tl.minimum(stop - first, POSITION_BLOCK).to(ACC)
        tile_mean = tl.sum(x, 0) / count
        # Where the mean is large, its rounding shows: what is left of the sum corrects it.
        tile_mean += tl.sum(tl.where(mask, x - tile_mean[None, :], 0.0), 0) / count
        centered = tl.where(mask, x - tile_mean[None, :], 0.0)
        before = (first - start).to(ACC)
        delta = tile_mean - mean
        share = count / (before + count)
        mean += delta * share
        squares += tl.sum(centered * centered, 0) + delta * delta * (before * share)
    return mean, squares


@triton.jit
def _load_partial(
    partial_ptr, sample, splits, which: tl.constexpr, channels, columns, ACC: tl.constexpr, SPLIT_BLOCK: tl.constexpr
):
    """Load one of the two statistics of all splits, ``(SPLIT_BLOCK, channels)``, zero outside."""
    split = tl.arange(0, SPLIT_BLOCK)
    offsets = ((sample * splits + split[:, None]) * 2 + which) * channels + columns[None, :]
    mask = (split < splits)[:, None] & (columns < channels)[None, :]
    return tl.load(partial_ptr + offsets, mask=mask, other=0.0).to(ACC)


@triton.jit
def _store_partial(partial_ptr, sample, splits, first, second, channels, columns):
    """Store the two statistics of a program's positions."""
    target = partial_ptr + (sample * splits + tl.program_id(0)) * 2 * channels + columns
    tl.store(target, first, mask=columns < channels)
    tl.store(target + channels, second, mask=columns < channels)


@triton.jit(do_not_specialize=['positions', 'chunk', 'splits'])
def _partial_moments(
    x_ptr,
    partial_ptr,
    stats_ptr,
    positions,
    channels,
    chunk,
    splits,
    SLOPE: tl.constexpr,
    ACC: tl.constexpr,
    POSITION_BLOCK: tl.constexpr,
    CHANNEL_BLOCK: tl.constexpr,
):
    """Compute the statistics of one chunk of positions; the arguments are those of ``_partial_gradient``."""
    sample, origin, columns, start, stop = _own_chunk(positions, channels, chunk, CHANNEL_BLOCK)
    mean, squares = _moments(x_ptr + origin, start, stop, channels, columns, ACC, POSITION_BLOCK)
    _store_partial(partial_ptr, sample, splits, mean, squares, channels, columns)


@triton.jit(do_not_specialize=['positions', 'chunk', 'splits'])
def _normalize(
    x_ptr,
    y_ptr,
    partial_ptr,
    stats_ptr,
    positions,
    channels,
    chunk,
    splits,
    SLOPE: tl.constexpr,
    ACC: tl.constexpr,
    WHOLE: tl.constexpr,
    SPLIT_BLOCK: tl.constexpr,
    POSITION_BLOCK: tl.constexpr,
    CHANNEL_BLOCK: tl.constexpr,
):
    """Merge the statistics of all chunks, or compute them where there is one, and normalize a chunk of positions."""
    sample, origin, columns, start, stop = _own_chunk(positions, channels, chunk, CHANNEL_BLOCK)
    if WHOLE:
        mean, squares = _moments(x_ptr + origin, start, stop, channels, columns, ACC, POSITION_BLOCK)
    else:
        split = tl.arange(0, SPLIT_BLOCK)[:, None]
        counts = tl.minimum(tl.maximum(positions - split * chunk, 0), chunk).to(ACC)
        means = _load_partial(partial_ptr, sample, splits, 0, channels, columns, ACC, SPLIT_BLOCK)
        within = _load_partial(partial_ptr, sample, splits, 1, channels, columns, ACC, SPLIT_BLOCK)
        first_mean = tl.sum(tl.where(split == 0, means, 0.0), 0)
        mean = first_mean + tl.sum((means - first_mean[None, :]) * counts, 0) / positions
        away = means - mean[None, :]
        squares = tl.sum(within + away * away * counts, 0)
    scale = tl.rsqrt(squares / positions + NORM_EPSILON)
    if tl.program_id(0) == 0:
        target = stats_ptr + sample * 2 * channels + columns
        tl.store(target, mean, mask=columns < channels)
        tl.store(target + channels, scale, mask=columns < channels)
    for first in range(start, stop, POSITION_BLOCK):
        x, offsets, mask = _load_tile(x_ptr + origin, first, stop, channels, columns, ACC, POSITION_BLOCK)
        y = (x - mean[None, :]) * scale[None, :]
        if SLOPE != 1.0:
            # What is not positive gets the sign of -0.0, which remains where it is rounded to zero; see _load_gradient.
            y = tl.where(y > 0, y, tl.abs(y) * -SLOPE)
        tl.store(y_ptr + origin + offsets, y.to(y_ptr.dtype.element_ty), mask=mask)


@triton.jit
def _load_gradient(
    grad_base,
    kept_base,
    first,
    stop,
    channels,
    columns,
    mean,
    scale,
    SLOPE: tl.constexpr,
    ACC: tl.constexpr,
    POSITION_BLOCK: tl.constexpr,
):
    """Load the gradient before the activation and the normalized values; what is kept is y, but x for a ReLU."""
    grad, offsets, mask = _load_tile(grad_base, first, stop, channels, columns, ACC, POSITION_BLOCK)
    y, _, _ = _load_tile(kept_base, first, stop, channels, columns, ACC, POSITION_BLOCK)
    if SLOPE == 0.0:
        y = tl.where(mask, (y - mean[None, :]) * scale[None, :], 0.0)
        grad = tl.where(y > 0, grad, 0.0)
    elif SLOPE != 1.0:
        # Half precision rounds a few of many values to zero: their sign bit is that of the value.
        bits = y.to(tl.int64 if y.dtype == tl.float64 else tl.int32, bitcast=True)
        positive = (y > 0) | ((y == 0) & (bits >= 0))
        grad = tl.where(positive, grad, grad * SLOPE)
        y = tl.where(positive, y, y * (1.0 / SLOPE))
    return grad, y, offsets, mask


@triton.jit
def _gradient_sums(
    grad_base,
    kept_base,
    start,
    stop,
    channels,
    columns,
    mean,
    scale,
    SLOPE: tl.constexpr,
    ACC: tl.constexpr,
    POSITION_BLOCK: tl.constexpr,
):
    """Sum the gradient, and the gradient times the normalized values, over positions start to stop - 1."""
    total = tl.zeros_like(columns).to(ACC)
    along = tl.zeros_like(columns).to(ACC)
    for first in range(start, stop, POSITION_BLOCK):
        grad, y, _, _ = _load_gradient(
            grad_base, kept_base, first, stop, channels, columns, mean, scale, SLOPE, ACC, POSITION_BLOCK
        )
        total += tl.sum(grad, 0)
        along += tl.sum(grad * y, 0)
    return total, along


@triton.jit
def _load_stats(stats_ptr, sample, channels, columns):
    """Load mean and scale of a block of channels."""
    source = stats_ptr + sample * 2 * channels + columns
    mean = tl.load(source, mask=columns < channels, other=0.0)
    return mean, tl.load(source + channels, mask=columns < channels, other=0.0)


@triton.jit(do_not_specialize=['positions', 'chunk', 'splits'])
def _partial_gradient(
    grad_ptr,
    kept_ptr,
    partial_ptr,
    stats_ptr,
    positions,
    channels,
    chunk,
    splits,
    SLOPE: tl.constexpr,
    ACC: tl.constexpr,
    POSITION_BLOCK: tl.constexpr,
    CHANNEL_BLOCK: tl.constexpr,
):
    """Compute the sums of one chunk of positions."""
    sample, origin, columns, start, stop = _own_chunk(positions, channels, chunk, CHANNEL_BLOCK)
    mean, scale = _load_stats(stats_ptr, sample, channels, columns)
    total, along = _gradient_sums(
        grad_ptr + origin, kept_ptr + origin, start, stop, channels, columns, mean, scale, SLOPE, ACC, POSITION_BLOCK
    )
    _store_partial(partial_ptr, sample, splits, total, along, channels, columns)


@triton.jit(do_not_specialize=['positions', 'chunk', 'splits'])
def _gradient(
    grad_ptr,
    kept_ptr,
    out_ptr,
    partial_ptr,
    stats_ptr,
    positions,
    channels,
    chunk,
    splits,
    SLOPE: tl.constexpr,
    ACC: tl.constexpr,
    WHOLE: tl.constexpr,
    SPLIT_BLOCK: tl.constexpr,
    POSITION_BLOCK: tl.constexpr,
    CHANNEL_BLOCK: tl.constexpr,
):
    """Merge the sums of all chunks, or compute them where there is one, and write the gradient of a chunk."""
    sample, origin, columns, start, stop = _own_chunk(positions, channels, chunk, CHANNEL_BLOCK)
    mean, scale = _load_stats(stats_ptr, sample, channels, columns)
    grad_base = grad_ptr + origin
    kept_base = kept_ptr + origin
    if WHOLE:
        total, along = _gradient_sums(
            grad_base, kept_base, start, stop, channels, columns, mean, scale, SLOPE, ACC, POSITION_BLOCK
        )
    else:
        total = tl.sum(_load_partial(partial_ptr, sample, splits, 0, channels, columns, ACC, SPLIT_BLOCK), 0)
        along = tl.sum(_load_partial(partial_ptr, sample, splits, 1, channels, columns, ACC, SPLIT_BLOCK), 0)
    total = total / positions
    along = along / positions
    for first in range(start, stop, POSITION_BLOCK):
        grad, y, offsets, mask = _load_gradient(
            grad_base, kept_base, first, stop, channels, columns, mean, scale, SLOPE, ACC, POSITION_BLOCK
        )
        out = (grad - y * along[None, :] - total[None, :]) * scale[None, :]
        tl.store(out_ptr + origin + offsets, out.to(out_ptr.dtype.element_ty), mask=mask)


class _InstanceNorm(torch.autograd.Function):
    """Normalize ``(N, positions, C)``; keeps the output for the gradient, but the input where a ReLU hides it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: float) -> Tensor:
        samples, _, channels = x.shape
        y = torch.empty_like(x)
        stats = x.new_empty(samples, 2, channels, dtype=torch.promote_types(x.dtype, torch.float32))
        ctx.plan, ctx.slope = _plan(*x.shape), slope
        ctx.save_for_backward(x if slope == 0 else y, stats)
        ctx.plan.run(_partial_moments, _normalize, (x,), y, stats, slope)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        kept, stats = ctx.saved_tensors
        out = torch.empty_like(kept)
        ctx.plan.run(_partial_gradient, _gradient, (grad.contiguous(), kept), out, stats, ctx.slope)
        return out, None


def instance_norm(x: Tensor, slope: float = 1.0) -> Tensor:
    """Normalize every channel of every sample of ``(N, C, H, W)`` over all positions, as ``layers.instance_norm``.

    Args:
        x: float16, bfloat16, float32 or float64; maps that are not channels-last are copied.
        slope: of the leaky ReLU that follows: 1 for none, 0 for a ReLU.

    Returns:
        ``(N, C, H, W)``, channels-last, in the dtype of ``x``. It can be differentiated once.
    """
    if x.numel() == 0:
        return x.clone()
    n, channels, height, width = x.shape
    y = _InstanceNorm.apply(x.permute(0, 2, 3, 1).reshape(n, height * width, channels).contiguous(), slope)
    return y.view(n, height, width, channels).permute(0, 3, 1, 2)
