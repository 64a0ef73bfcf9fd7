"""Volume rendering weights along rays, with hand-written gradients.

Both kinds of weights have the form ``w_i = T_i * alpha_i`` with a transmittance T that is a running product, so
their gradients need one reversed running sum. Everything is computed in the dtype of the inputs, in float32 or wider.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..geometry.tensors import clamp, full_precision

ALPHA_EPSILON = 1e-10
# Larger optical depths change no sum, and exp of less than -87 is sixty times slower on Intel's CPUs (MKL).
MAX_OPTICAL_DEPTH = 80.0


def activate_density(logit: Tensor, activation: str) -> Tensor:
    """Compute the density per meter, ``exp``, ``softplus`` or ``sigmoid`` of ``logit - 1``, in float32 or wider."""
    logit = full_precision(logit)
    if activation == 'exp':
        return torch.exp(logit - 1)
    if activation == 'softplus':
        return torch.nn.functional.softplus(logit - 1)
    if activation == 'sigmoid':
        return torch.sigmoid(logit - 1)
    raise ValueError(f'unknown density activation {activation!r}: use exp, softplus or sigmoid')


def _transmittance(optical_depth: Tensor) -> Tensor:
    """Compute the share of the light that passes, ``exp(-optical_depth)``, in a new tensor."""
    return optical_depth.clamp_max(MAX_OPTICAL_DEPTH).neg_().exp_()


class _IntervalWeights(torch.autograd.Function):
    """Compute w_i = exp(-sum of a_j over j < i) * (1 - exp(-a_i)) of optical depths a along ``dim``."""

    @staticmethod
    def forward(ctx: Any, optical_depth: Tensor, dim: int) -> Tensor:
        transmittance = _transmittance(torch.cumsum(optical_depth, dim))
        # As published, not expm1: opacities below the rounding of one are zero, so such a ray has depth 0.
        weights = _transmittance(optical_depth).neg_().add_(1)
        behind_first = weights.shape[dim] - 1
        weights.narrow(dim, 1, behind_first).mul_(transmittance.narrow(dim, 0, behind_first))
        ctx.save_for_backward(weights, transmittance)
        ctx.dim = dim
        return weights

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        weights, transmittance = ctx.saved_tensors
        behind = _sum_behind(grad * weights, ctx.dim)
        return grad * transmittance - behind, None


class _AlphaWeights(torch.autograd.Function):
    """Compute w_i = (alpha_i + e) * prod over j < i of (1 - alpha_j + e) along the last dimension."""

    @staticmethod
    def forward(ctx: Any, alpha: Tensor) -> Tensor:
        keep = 1 - alpha + ALPHA_EPSILON
        transmittance = torch.cumprod(keep, -1)
        before = torch.cat([torch.ones_like(transmittance[..., :1]), transmittance[..., :-1]], -1)
        weights = (alpha + ALPHA_EPSILON) * before
        ctx.save_for_backward(weights, before, keep)
        return weights

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        weights, before, keep = ctx.saved_tensors
        return grad * before - _sum_behind(grad * weights, -1) / keep


def _sum_behind(values: Tensor, dim: int) -> Tensor:
    """Sum, for every i, the values at j > i along ``dim``."""
    return values.flip(dim).cumsum(dim).flip(dim) - values


def render_intervals(density: Tensor, edges: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Compute weights and expected depth on fixed intervals (docs/NETWORK.md#volume-rendering-on-intervals).

    Args:
        density: ``(..., D, ...)`` densities with D along ``dim``, per meter.
        edges: ``(..., D + 1, ...)`` ends of the intervals, broadcastable against ``density``, meters along the ray.
        dim: the dimension of the intervals.

    Returns:
        depth: expected depth in meters, the shape of ``density`` without ``dim``. A ray without density gets about 0.
        weights: weights of the intervals, the shape of ``density``.
    """
    density, edges = full_precision(density), full_precision(edges)
    count = edges.shape[dim] - 1
    start, end = edges.narrow(dim, 0, count), edges.narrow(dim, 1, count)
    weights = _IntervalWeights.apply(density * (end - start), dim)
    opacity = clamp(weights.sum(dim), 1e-6, 1.0)
    return (weights * ((start + end) / 2)).sum(dim) / opacity, weights


def alpha_weights(logits: Tensor, depths: Tensor, activation: str, mean_density: bool = False) -> Tensor:
    """Compute weights ``(rays, n - 1)`` of the intervals between n samples (docs/NETWORK.md#alpha-weights).

    Args:
        logits: ``(rays, n)`` density logits of the samples.
        depths: ``(rays, n)`` or ``(n,)`` ascending distances along the rays, meters.
        activation: the density activation, see :func:`activate_density`.
        mean_density: an interval has the mean density of its ends, not, as published, the density of their mean logit,
            which beside empty space is next to none: a surface that a single sample hits is transparent then.
    """
    logits, depths = full_precision(logits), full_precision(depths)
    if mean_density:
        density = activate_density(logits, activation)
        sigma = (density[:, :-1] + density[:, 1:]) / 2
    else:
        sigma = activate_density((logits[:, :-1] + logits[:, 1:]) / 2, activation)
    alpha = 1 - _transmittance(sigma * (depths[..., 1:] - depths[..., :-1]))
    return _AlphaWeights.apply(alpha)


def expected_depth(weights: Tensor, depths: Tensor, far: float, near: float = 1e-5) -> Tensor:
    """Compute the expected depth ``(rays,)`` of alpha weights ``(rays, n - 1)`` at ``depths`` ``(rays, n)``, meters."""
    middle = (depths[..., 1:] + depths[..., :-1]) / 2
    depth = (weights * middle).sum(-1) / (ALPHA_EPSILON + weights.sum(-1))
    return clamp(depth.nan_to_num(nan=far), near, far)
