"""Measure how near a rendered image comes to the true one (docs/NETWORK.md#metrics).

The published figures are those of scikit-image. torchmetrics cannot give them: its SSIM has no sample covariance, and
its PSNR of equal images is infinite, which no mean survives (here it ends at 100 dB).
"""

from __future__ import annotations

import numpy as np
import torch
from skimage.metrics import structural_similarity
from torch import Tensor

from ..losses.image import psnr_tensor


def psnr(estimate: Tensor, target: Tensor) -> float:
    """Return the peak signal to noise ratio in dB of images in [0, 1] of one shape, over all their pixels together."""
    return psnr_tensor(estimate, target).item()


def ssim(estimate: Tensor, target: Tensor) -> float:
    """Return the structural similarity of images ``(V, C, H, W)`` in [0, 1], averaged over the images.

    Exactly scikit-image with its defaults (7 x 7 uniform window, sample covariance), data range 1, as published.
    """
    pairs = zip(_channels_last(estimate), _channels_last(target), strict=True)
    values = [structural_similarity(one, other, channel_axis=-1, data_range=1.0) for one, other in pairs]
    return float(sum(values) / len(values))


def _channels_last(images: Tensor) -> np.ndarray:
    """Convert images ``(V, C, H, W)`` of any device to a float ``(V, H, W, C)`` array."""
    return images.detach().float().permute(0, 2, 3, 1).cpu().numpy()


def recolored(estimate: Tensor, target: Tensor, channels: int = 3) -> Tensor:
    """Return the estimate after the best affine change of each color channel, clipped to [0, 1].

    This shows how much of an error is a mere difference of exposure. For each channel, a and b minimize
    ``(a * estimate + b - target)^2`` over all images.

    Args:
        estimate, target: ``(V, 3, H, W)`` images in [0, 1].
        channels: fit the first so many channels, 3 for all. (The published code fits as many as there are
            cameras: pass V to reproduce it, up to 3.)

    Returns:
        ``(V, 3, H, W)``, detached.
    """
    result = estimate.detach().clone()
    for channel in range(channels):
        x, y = result[:, channel].double().flatten(), target[:, channel].double().flatten()
        solution = torch.linalg.lstsq(torch.stack([x, torch.ones_like(x)], dim=1), y[:, None]).solution
        gain, offset = solution.flatten().to(result.dtype)
        result[:, channel] = gain * result[:, channel] + offset
    return result.clamp(0.0, 1.0)
