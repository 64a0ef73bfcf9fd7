"""Line-of-sight loss: empty in front of a LiDAR return, a narrow peak at it, nothing behind.

The idea is that of Urban Radiance Fields (Rematas et al., CVPR 2022, section 4.2), the form that of the
published code (docs/NETWORK.md#losses).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .reduce import masked_mean


def line_of_sight_epsilon(
    iteration: int, start: int = 14000, end: int = 28000, first: float = 6.0, last: float = 2.5
) -> float | None:
    """Half width in metres of the band around a return at ``iteration``; ``None`` before ``start`` (loss off).

    It shrinks linearly from ``first`` at ``start`` to ``last`` at ``end`` and stays there.
    """
    if iteration < start:
        return None
    progress = min((iteration - start) / (end - start), 1.0)
    return first + (last - first) * progress


def line_of_sight_loss(weights: Tensor, mids: Tensor, target: Tensor, epsilon: float, dim: int = 1) -> Tensor:
    """Sum of the mean squared weights before and behind the band and the mean squared misfit inside it.

    Inside the band, ``target`` +- ``epsilon``, the weights should follow a normal density around the target with
    a standard deviation of ``epsilon`` / 3.

    Args:
        weights: ``(V, samples, h, w)`` rendering weights.
        mids: the same shape, depth of the samples along the ray, metres; gets no gradient, NaN counts nowhere.
        target: ``(V, h, w)`` depth along the ray of a LiDAR return; pixels that are not > 0 (NaN too) are left out.
        epsilon: half width of the band, metres.
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
