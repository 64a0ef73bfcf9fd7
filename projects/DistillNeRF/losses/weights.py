"""Losses on the weights of the samples along a ray."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def weight_entropy(weights: Tensor, dim: int = 1) -> Tensor:
    """Entropy of the weights along each ray, averaged over the rays: low where a ray meets one surface.

    Args:
        weights: rendering weights in [0, 1], such as ``(V, samples, h, w)``.
        dim: the axis of the samples.
    """
    shifted = weights.float() + 1e-10
    return -(shifted * shifted.log()).sum(dim).mean()


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
        return F.binary_cross_entropy(opacity, torch.ones_like(opacity))
