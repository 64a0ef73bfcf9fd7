"""Density of the voxel field where teacher or LiDAR know it: none before their surfaces, opaque at them."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..geometry.tensors import clamp, masked_mean, without_autocast

# Below it an opacity counts as this much, in logarithms.
SMALLEST_OPACITY = 1e-6


def density_loss(free: Tensor, surface: Tensor, step: float, logarithmic: bool = False) -> Tensor:
    """Return the mean squared opacity of free points plus the mean squared transparency of surface points.

    Both are those of a path of ``step`` meters. Opacities, unlike densities, are bounded: one very dense cell does not
    outweigh all others.

    Args:
        free: ``(P,)`` density per meter at points that the teacher sees through.
        surface: ``(Q,)`` the same at points on the teacher's surfaces, or just behind.
        step: meters.
        logarithmic: of surface points take the mean negative logarithm of the opacity instead. With an exponential
            activation it pulls at the logit of a transparent cell with a force of 1, however transparent it is, where
            the square hardly pulls at all. Cells that are not occupied, of no density, count
            -log(:data:`SMALLEST_OPACITY`), and have no gradient.
    """
    stopped = _mean_square(1 - torch.exp(-step * free.float()))
    if not logarithmic:
        return stopped + _mean_square(torch.exp(-step * surface.float()))
    # expm1: of very little density the difference from 1 would have no digit left.
    opacity = clamp(-torch.expm1(-step * surface.float()), SMALLEST_OPACITY, 1.0)
    return stopped - opacity.log().sum() / max(1, opacity.numel())


def _mean_square(values: Tensor) -> Tensor:
    """Return the mean square, 0 for no value."""
    return values.square().sum() / max(1, values.numel())


def line_of_sight_epsilon(
    iteration: int, start: int = 14000, end: int = 28000, first: float = 6.0, last: float = 2.5
) -> float | None:
    """Return half the width of the band around a return, meters; ``None`` before ``start`` (the loss is off).

    It shrinks linearly from ``first`` at iteration ``start`` to ``last`` at iteration ``end`` and stays there.
    """
    if iteration < start:
        return None
    progress = min((iteration - start) / (end - start), 1.0)
    return first + (last - first) * progress


def line_of_sight_loss(weights: Tensor, mids: Tensor, target: Tensor, epsilon: float, dim: int = 1) -> Tensor:
    """Return the mean squared weights before and behind the band plus the mean squared misfit inside it.

    Inside the band, ``target`` +- ``epsilon``, the weights should follow a normal density around the target with
    a standard deviation of ``epsilon`` / 3.

    Args:
        weights: ``(V, samples, h, w)`` rendering weights.
        mids: the same shape, depth of the samples along the ray, meters; gets no gradient, NaN counts nowhere.
        target: ``(V, h, w)`` depth along the ray of a LiDAR return; pixels that are not > 0 (NaN too) are left out.
        epsilon: half width of the band, meters.
        dim: the axis of the samples.

    Raises:
        ValueError: the shapes do not fit.
    """
    target = target.unsqueeze(dim)
    if weights.shape != mids.shape or mids.select(dim, 0).shape != target.squeeze(dim).shape:
        raise ValueError(f'weights {tuple(weights.shape)}, mids {tuple(mids.shape)}, target {tuple(target.shape)}')
    weights, mids, target = weights.float(), mids.detach().float(), target.float()
    offset = torch.where(target > 0, mids - target, math.nan)
    sigma = epsilon / 3
    density = (-0.5 * (offset / sigma).square()).exp() / (sigma * math.sqrt(2 * math.pi))
    # A NaN offset is in no group, and its density must not reach the gradient.
    density = torch.where(offset.isnan(), 0.0, density)
    before = masked_mean(weights.square(), offset < -epsilon)
    inside = masked_mean((weights - density).square(), offset.abs() < epsilon)
    behind = masked_mean(weights.square(), offset > epsilon)
    return before + inside + behind


class _Entropy(torch.autograd.Function):
    """Sum of ``-p * log(p)`` with ``p = weights + 1e-10``; one pass over the weights for the gradient."""

    @staticmethod
    def forward(ctx, weights: Tensor) -> Tensor:
        shifted = weights + 1e-10
        logs = shifted.log()
        ctx.save_for_backward(logs)
        return -(shifted.mul_(logs)).sum()

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        (logs,) = ctx.saved_tensors
        return (logs + 1).mul_(-grad)


def weight_entropy(weights: Tensor, dim: int = 1) -> Tensor:
    """Return the entropy of the weights along each ray, averaged over the rays: low where a ray meets one surface.

    Args:
        weights: rendering weights in [0, 1], such as ``(V, samples, h, w)``.
        dim: the axis of the samples.
    """
    return _Entropy.apply(weights.float()) * weights.shape[dim] / weights.numel()


def opacity_loss(weights: Tensor, dim: int = 1) -> Tensor:
    """Return the binary cross entropy of each ray's opacity against 1: every ray ends somewhere.

    Args:
        weights: rendering weights in [0, 1], such as ``(V, samples, h, w)``. Rays whose weights sum to 1 or
            more get no gradient.
        dim: the axis of the samples.
    """
    # torch refuses this function inside autocast, where half precision would overflow.
    with without_autocast(weights):
        opacity = clamp(weights.float().sum(dim), 0.0, 1.0)
        # torch refuses NaN here (on CUDA by killing the process), but a diverged training has to see a NaN loss.
        loss = F.binary_cross_entropy(opacity.nan_to_num(nan=1.0), torch.ones_like(opacity))
        return loss + 0 * opacity.detach().sum()
