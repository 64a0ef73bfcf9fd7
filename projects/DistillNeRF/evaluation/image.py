"""Measure how near a rendered image comes to the true one (docs/NETWORK.md#metrics).

The published figures are those of scikit-image. Other papers' SSIM has a Gaussian window and no sample covariance: it
has a name of its own. PSNR of equal images would be infinite, which no mean survives: it ends at 100 dB.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..losses.image import BLOCKS, psnr_tensor
from .gaussian_ssim import similarities
from .uniform_ssim import SIDE, uniform_similarities

# Side and standard deviation of the window of :func:`ssims_gaussian`, pixels.
WINDOW, SIGMA = 11, 1.5
# Side of the smallest images that can be mirrored by half a window.
SMALLEST_GAUSSIAN = WINDOW // 2 + 1
# Sides of the smallest images of which a pixel is left after the poolings of VGG-16.
SMALLEST_LPIPS = 2 ** (len(BLOCKS) - 1)


def psnr(estimate: Tensor, target: Tensor) -> float:
    """Return the peak signal to noise ratio in dB of images in [0, 1] of one shape, over all their pixels together."""
    return psnr_tensor(estimate, target).item()


def ssim(estimate: Tensor, target: Tensor) -> float:
    """Return the structural similarity of images ``(V, C, H, W)`` in [0, 1], averaged over the images.

    That of scikit-image with its defaults (7 x 7 uniform window, sample covariance) and data range 1, as published, to
    the seventh digit: scikit-image, whatever the images, rounds its means to float32.
    """
    values = ssims(estimate, target)
    return float(sum(values) / len(values))


def ssims(estimate: Tensor, target: Tensor) -> list[float]:
    """Return :func:`ssim` of each image.

    Raises:
        ValueError: the shapes differ, or the images are smaller than the window.
    """
    if estimate.shape != target.shape:
        raise ValueError(f'the estimate is {tuple(estimate.shape)}, the target {tuple(target.shape)}')
    if min(estimate.shape[-2:]) < SIDE:
        raise ValueError(f'images of {tuple(estimate.shape[-2:])} have a side of less than {SIDE} pixels')
    return _of_each(uniform_similarities(*_gray(torch.float32, estimate, target)), estimate)


def ssims_gaussian(estimate: Tensor, target: Tensor) -> list[float]:
    """Return the structural similarity of each image ``(V, C, H, W)`` in [0, 1], as Wang et al. (2004) defined it.

    A Gaussian window of 11 x 11 pixels, sigma 1.5, around every pixel of the image, which is mirrored at its borders;
    data range 1: what torchmetrics computes by default, and many papers report.

    Raises:
        ValueError: the images are too small to be mirrored.
    """
    if min(estimate.shape[-2:]) < SMALLEST_GAUSSIAN:
        raise ValueError(f'images of {tuple(estimate.shape[-2:])} have a side of less than {SMALLEST_GAUSSIAN} pixels')
    weights = np.exp(-(((np.arange(WINDOW) - WINDOW // 2) / SIGMA) ** 2) / 2)
    # float32 and float64 as they are: two compiled versions are enough.
    dtype = torch.float32 if estimate.dtype == target.dtype == torch.float32 else torch.float64
    return _of_each(similarities(*_gray(dtype, estimate, target), weights / weights.sum()), estimate)


def _gray(dtype: torch.dtype, *images: Tensor) -> list[np.ndarray]:
    """Convert images ``(V, C, H, W)`` of any device to arrays ``(V * C, H, W)``, one per image and channel."""
    return [one.detach().to(dtype).cpu().flatten(0, 1).contiguous().numpy() for one in images]


def _of_each(values: np.ndarray, images: Tensor) -> list[float]:
    """Average what was found in each channel ``(V * C,)`` over those of each image ``(V, C, H, W)``."""
    return values.reshape(len(images), -1).mean(1).tolist()
