"""Weights along rays in Triton: one program per ray.

The reference is ``modules/volume_rendering.py``. Exponentials are accurate to the last bit or two on every device, as
1 - exp(-x) needs it for small x. Values have a fixed order of summation. Gradients to the table of logits are added
with atomics, so that two runs differ in the last bits; the torch path is there for who needs the same bits.
"""

from __future__ import annotations

from typing import Any

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


@triton.jit
def divide(a, b):
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
        s = divide(u, 2.0 + u)
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
        share = divide(tl.where(x < 0, u, 1.0), 1.0 + u)
        if ACTIVATION == 'softplus':
            sigma = tl.where(x > 0, x, 0.0) + _log1p(u)
            slope = share
        else:
            sigma = share
            slope = share * (1.0 - share)
    return sigma, slope


@triton.jit
def _shift_right(x, i, first):
    """Return x[i - 1], and ``first`` at i = 0."""
    return tl.where(i == 0, first, tl.gather(x, tl.maximum(i - 1, 0), 0))


@triton.jit
def _following(x, i, BLOCK: tl.constexpr):
    """Return x[i + 1], and x[i] at the last i."""
    return tl.gather(x, tl.minimum(i + 1, BLOCK - 1), 0)


@triton.jit
def alpha_weights(logit, gap, i, interval, ACTIVATION: tl.constexpr, MEAN_DENSITY: tl.constexpr, BLOCK: tl.constexpr):
    """Compute the weights of the intervals between samples, zero where there is none.

    Returns:
        weights, what passes before each interval, what each lets pass, the derivative of its opacity to the mean of
        its two ends, and the derivative of what is averaged to the logits of the samples.
    """
    if MEAN_DENSITY:
        density, of_sample = _density(logit, ACTIVATION)
        slope = 1.0
        sigma = (density + _following(density, i, BLOCK)) * 0.5
    else:
        of_sample = 1.0
        sigma, slope = _density((logit + _following(logit, i, BLOCK)) * 0.5, ACTIVATION)
    optical = tl.where(interval, sigma * gap, 0.0)
    clear = _exp(-tl.where(optical > MAX_OPTICAL_DEPTH, MAX_OPTICAL_DEPTH, optical))
    alpha = 1.0 - clear
    keep = 1.0 - alpha + ALPHA_EPSILON
    before = tl.cumprod(_shift_right(keep, i, 1.0), 0)
    weights = tl.where(interval, (alpha + ALPHA_EPSILON) * before, 0.0)
    derivative = tl.where(interval & (optical <= MAX_OPTICAL_DEPTH), clear * gap * slope, 0.0)
    return weights, before, keep, derivative, of_sample


@triton.jit
def _load_ray(
    logits_ptr,
    rows_ptr,
    depths_ptr,
    ray,
    samples,
    i,
    ACTIVATION: tl.constexpr,
    MEAN_DENSITY: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Load the samples of a ray and compute the weights of their intervals, and the middles of these."""
    interval = i < samples - 1
    row = tl.load(rows_ptr + ray * samples + i, mask=i < samples, other=0)
    depth_ptr = depths_ptr + ray * samples
    depth = tl.load(depth_ptr + i, mask=i < samples, other=0.0)
    following = tl.load(depth_ptr + i + 1, mask=interval, other=0.0)
    logit = tl.load(logits_ptr + row, mask=i < samples, other=0.0).to(depth.dtype)
    weights, before, keep, derivative, of_sample = alpha_weights(
        logit, following - depth, i, interval, ACTIVATION, MEAN_DENSITY, BLOCK
    )
    return row, weights, before, keep, derivative, of_sample, (following + depth) * 0.5


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
    MEAN_DENSITY: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Compute the weights of one ray's intervals and samples, its depth and opacity."""
    ray = tl.program_id(0).to(tl.int64)
    i = tl.arange(0, BLOCK)
    _, weights, _, _, _, _, middle = _load_ray(
        logits_ptr, rows_ptr, depths_ptr, ray, samples, i, ACTIVATION, MEAN_DENSITY, BLOCK
    )
    tl.store(weights_ptr + ray * (samples - 1) + i, weights, mask=i < samples - 1)
    halves = (_shift_right(weights, i, 0.0) + weights) * 0.5
    tl.store(halves_ptr + ray * samples + i, halves, mask=i < samples)
    opacity = tl.sum(weights, 0)
    depth = divide(tl.sum(weights * middle, 0), opacity + ALPHA_EPSILON)
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
    MEAN_DENSITY: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Add the gradients of one ray to the table of logits; those of empty space are left out."""
    ray = tl.program_id(0).to(tl.int64)
    i = tl.arange(0, BLOCK)
    interval = i < samples - 1
    row, weights, before, keep, derivative, of_sample, middle = _load_ray(
        logits_ptr, rows_ptr, depths_ptr, ray, samples, i, ACTIVATION, MEAN_DENSITY, BLOCK
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
        depth = divide(tl.sum(weights * middle, 0), total)
        passes = (depth >= NEAR) & (depth <= FAR)
        share = tl.where(passes, divide(tl.load(grad_depth_ptr + ray), total), 0.0)
        grad += share * (middle - depth)
    product = tl.where(interval, grad * weights, 0.0)
    behind = tl.cumsum(product, 0, reverse=True) - product
    grad_mean = tl.where(interval, (grad * before - divide(behind, keep)) * derivative, 0.0)
    grad_logit = (_shift_right(grad_mean, i, 0.0) + grad_mean) * 0.5 * of_sample
    tl.atomic_add(grad_logits_ptr + row, grad_logit, mask=(i < samples) & (row < empty_row), sem='relaxed')


def known_activation(activation: str) -> str:
    if activation not in ACTIVATIONS:
        raise ValueError(f'unknown density activation {activation!r}: use exp, softplus or sigmoid')
    return activation


class _RayWeights(torch.autograd.Function):
    """Keeps its inputs for the gradient, and computes the weights again."""

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, rows: Tensor, depths: Tensor, activation: str, far: float, mean_density: bool
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        rays, samples = rows.shape
        weights, halves = depths.new_empty(rays, samples - 1), torch.empty_like(depths)
        depth, opacity = depths.new_empty(rays), depths.new_empty(rays)
        ctx.save_for_backward(logits, rows, depths)
        settings = {'FAR': far, 'ACTIVATION': activation, 'MEAN_DENSITY': mean_density}
        ctx.options = {**settings, 'BLOCK': triton.next_power_of_2(samples), **RAY_OPTIONS}
        ctx.set_materialize_grads(False)
        if rays:
            with torch.cuda.device_of(depths):
                outputs = (weights, halves, depth, opacity)
                _weights[(rays,)](logits, rows, depths, *outputs, samples, **ctx.options)
        return weights, halves, depth, opacity

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
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
        return grad_logits.to(logits.dtype), None, None, None, None, None


def ray_weights(
    logits: Tensor, rows: Tensor, depths: Tensor, activation: str, far: float, mean_density: bool = False
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Compute alpha weights along rays, expected depth and opacity, with gradients to the logits of occupied rows.

    Args:
        logits: ``(F + C + 1,)`` density logit of every row; the last one, of empty space, gets no gradient.
        rows: ``(rays, n)`` int32, n at least 2.
        depths: ``(rays, n)`` ascending distances along the rays, meters, float32 or float64.
        activation: the density activation, ``exp``, ``softplus`` or ``sigmoid``.
        far: greatest depth, meters.
        mean_density: an interval has the mean density of its ends, not the density of their mean logit.

    Returns:
        weights: ``(rays, n - 1)`` of the intervals between samples.
        halves: ``(rays, n)`` of the samples: half of each of a sample's two intervals.
        depth: ``(rays,)`` expected distance along the ray, meters.
        opacity: ``(rays,)`` sum of the weights.
    """
    inputs = (logits.contiguous(), rows.contiguous(), depths.contiguous())
    return _RayWeights.apply(*inputs, known_activation(activation), float(far), bool(mean_density))
