"""Bring the colors of rendered images nearer to those of true ones: how much of an error is a mere change of exposure.

Each color channel gets the gain a and the offset b with the least ``(a * estimate + b - target)^2``, then [0, 1] is
the range (docs/EVALUATION.md#recolored-images).
"""

from __future__ import annotations

import torch
from torch import Tensor

CHANNELS = 3
# Standard deviation of colors in [0, 1] below which a channel is of one color: no gain can be told from it.
CONSTANT = 1e-6


def recolored(estimate: Tensor, target: Tensor) -> Tensor:
    """Return images after the best affine change of each color channel of each image, clipped to [0, 1].

    What is not finite in either of the two is not fitted. A channel of one color, or of a single pixel that is known,
    gets the mean color of the target; one of which no pixel is known stays as it is.

    Args:
        estimate, target: ``(V, 3, H, W)`` images in [0, 1].

    Returns:
        ``(V, 3, H, W)``, detached; NaN where the estimate is.
    """
    return _fitted(estimate, target, (-2, -1)).clamp(0.0, 1.0)


def recolored_as_published(estimate: Tensor, target: Tensor, channels: int | None = None) -> Tensor:
    """Return images after the best affine change that all of them have in common, clipped to [0, 1].

    The published code fits the channels 0 to V - 1 of V images, so it is right for three cameras alone, and fails for
    more (recoloring-count, docs/NETWORK.md#oddities-of-the-published-code).

    Args:
        estimate, target: ``(V, 3, H, W)`` images in [0, 1].
        channels: fit the first so many channels; None: as many as images.

    Returns:
        ``(V, 3, H, W)``, detached.

    Raises:
        ValueError: there are not that many channels.
    """
    channels = len(estimate) if channels is None else channels
    if channels > CHANNELS:
        raise ValueError(f'{channels} channels are to be fitted, and images have {CHANNELS}')
    result = estimate.detach().clone()
    result[:, :channels] = _fitted(estimate[:, :channels], target[:, :channels], (0, -2, -1))
    return result.clamp(0.0, 1.0)


def _fitted(estimate: Tensor, target: Tensor, dims: tuple[int, ...]) -> Tensor:
    """Return the estimate after the change with the least squares over some dimensions, one for each of the others."""
    known = estimate.isfinite() & target.isfinite()
    x, y = (torch.where(known, image.detach().double(), 0.0) for image in (estimate, target))
    count = known.sum(dims, keepdim=True).clamp(min=1)
    mean_x, mean_y = (image.sum(dims, keepdim=True) / count for image in (x, y))
    x, y = (torch.where(known, image - mean, 0.0) for image, mean in ((x, mean_x), (y, mean_y)))
    variance = (x * x).sum(dims, keepdim=True)
    usable = variance > count * CONSTANT**2
    gain = torch.where(usable, (x * y).sum(dims, keepdim=True) / torch.where(usable, variance, 1.0), 1.0)
    return (gain * (estimate.detach().double() - mean_x) + mean_y).to(estimate.dtype)
