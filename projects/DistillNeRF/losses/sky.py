"""The sky in depth images.

No sensor returns the depth of the sky; it is put a little nearer than the far end of the space, so that the
network learns "far" there (docs/NETWORK.md#sky).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# Metres by which depths stay inside the far end of the space in the published code.
FAR_MARGIN = 5.0


def resize_mask(mask: Tensor, height: int, width: int) -> Tensor:
    """Nearest resize of a mask or class map ``(V, H, W)`` to ``(V, height, width)``, dtype kept."""
    return F.interpolate(mask[:, None].double(), (height, width), mode='nearest')[:, 0].to(mask.dtype)


def fill_sky(depth: Tensor, sky_mask: Tensor, sky_depth: float, only_unknown: bool) -> Tensor:
    """Put the sky at ``sky_depth`` less :data:`FAR_MARGIN`.

    Args:
        depth: ``(V, h, w)`` metres, NaN where unknown.
        sky_mask: ``(V, h', w')`` true (or 1) in the sky; resized to ``depth`` if it differs in size.
        sky_depth: distance of the sky, metres.
        only_unknown: fill only pixels that are NaN (LiDAR images: a return is a return whatever a segmentation
            says) instead of the whole mask (teacher depth).

    Returns:
        A new ``(V, h, w)`` tensor.
    """
    sky = resize_mask(sky_mask, *depth.shape[-2:]) > 0
    if only_unknown:
        sky = sky & depth.isnan()
    return torch.where(sky, sky_depth - FAR_MARGIN, depth)


def clamp_depth(depth: Tensor, min_depth: float, max_depth: float) -> Tensor:
    """Clamp to [``min_depth``, ``max_depth`` - :data:`FAR_MARGIN`]; NaN stays NaN."""
    return depth.clamp(min_depth, max_depth - FAR_MARGIN)
