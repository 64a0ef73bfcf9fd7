"""Losses on the weights of the samples along a ray."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


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
    """Entropy of the weights along each ray, averaged over the rays: low where a ray meets one surface.

    Args:
        weights: rendering weights in [0, 1], such as ``(V, samples, h, w)``.
        dim: the axis of the samples.
    """
    return _Entropy.apply(weights.float()) * weights.shape[dim] / weights.numel()


def opacity_loss(weights: Tensor, dim: int = 1) -> Tensor:
    """Binary cross entropy of each ray's opacity against 1: every ray ends somewhere.

    Args:
        weights: rendering weights in [0, 1], such as ``(V, samples, h, w)``. Rays whose weights sum to 1 or
            more get no gradient.
        dim: the axis of the samples.
    """
    # torch refuses this function inside autocast, where half precision would overflow.
    with torch.autocast(weights.device.type, enabled=False):
        opacity = weights.float().sum(dim).clamp(0.0, 1.0)
        # torch refuses NaN here (on CUDA by killing the process), but a diverged training has to see a NaN loss.
        loss = F.binary_cross_entropy(opacity.nan_to_num(nan=1.0), torch.ones_like(opacity))
        return loss + 0 * opacity.detach().sum()
