"""Losses between predicted depth and depth images that are NaN where nothing is known.

Both sides must mean the same thing: the network predicts the distance along the ray, LiDAR and teacher images
hold z. The caller converts (``Cameras.ray_lengths``); the published code compared them as they were.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..geometry.tensors import clamp, masked_mean, require_same_shape

# Weight of the absolute against the squared difference, in every depth loss of the published code.
L1_SHARE = 0.1


def _known(estimate: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return estimate and target in float32, the target 0 where unknown, and the mask of known pixels."""
    require_same_shape(estimate, target)
    known = target.isfinite()
    return estimate.float(), torch.where(known, target, 0.0).float(), known


def _mixed_mean(estimate: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Return the mean square plus ``L1_SHARE`` times the mean absolute difference over ``mask``."""
    difference = estimate - target
    return masked_mean(difference.square() + L1_SHARE * difference.abs(), mask)


def depth_loss(estimate: Tensor, target: Tensor, max_depth: float) -> Tensor:
    """Return squared plus 0.1 absolute difference of depth / ``max_depth``, over pixels of finite target.

    Args:
        estimate, target: depth in meters, any shape, the same for both. Targets that are NaN or infinite are left out.
        max_depth: meters that count as 1.
    """
    estimate, target, known = _known(estimate, target)
    return _mixed_mean(estimate / max_depth, target / max_depth, known)


def clamped_depth_loss(estimate: Tensor, target: Tensor, min_depth: float, max_depth: float) -> Tensor:
    """Return :func:`depth_loss` after clamping both sides to [``min_depth``, ``max_depth``].

    An estimate outside the bounds gets no gradient.
    """
    estimate, target, known = _known(estimate, target)
    estimate = clamp(estimate, min_depth, max_depth) / max_depth
    target = target.clamp(min_depth, max_depth) / max_depth
    return _mixed_mean(estimate, target, known)


def teacher_depth_loss(
    estimate: Tensor, target: Tensor, min_depth: float, max_depth: float, inner_range: float
) -> Tensor:
    """Return :func:`clamped_depth_loss` in two groups that count alike, however many pixels each has.

    Pixels whose target is nearer than ``inner_range`` are measured in units of ``inner_range``, the others in
    units of ``max_depth``. The result is the sum of the two means (published EmernerfDepthClampLoss).
    """
    estimate, target, known = _known(estimate, target)
    estimate, target = clamp(estimate, min_depth, max_depth), target.clamp(min_depth, max_depth)
    near = target < inner_range
    inner = _mixed_mean(estimate / inner_range, target / inner_range, known & near)
    outer = _mixed_mean(estimate / max_depth, target / max_depth, known & ~near)
    return inner + outer


def log_depth_loss(estimate: Tensor, target: Tensor, min_depth: float, max_depth: float) -> Tensor:
    """Return the mean absolute difference of the logarithms of depth, over pixels of finite target.

    Ours, not published: an error counts in proportion to the depth, where the published losses weigh meters, in which
    a little weight far behind a near surface hardly shows.

    Args:
        estimate, target: depth in meters, any shape, the same for both; both are clamped to the bounds, and an
            estimate outside gets no gradient.
        min_depth, max_depth: bounds, meters, above 0.
    """
    estimate, target, known = _known(estimate, target)
    difference = clamp(estimate, min_depth, max_depth).log() - target.clamp(min_depth, max_depth).log()
    return masked_mean(difference.abs(), known)


# The scale on which jumps are measured: 256 steps over the logarithm of depth between these, meters.
NEAREST, FARTHEST = 2.0, 80.0
# Canny's two thresholds on the Sobel gradient of that scale. A step edge has four times its height, so an edge begins
# where depth grows by a half and is followed as long as it grows by a fifth.
WEAK, STRONG = 50.0, 112.0


def near_depth_edges(depth: Tensor, distance: int) -> Tensor:
    """Return the pixels at most ``distance`` pixels (along rows and columns) from an edge of the depth.

    Args:
        depth: ``(V, h, w)`` meters, finite.

    Returns:
        ``(V, h, w)`` bool, on the device of ``depth``; carries no gradient.
    """
    logs = (depth.detach().float().clamp(NEAREST, FARTHEST) / NEAREST).log() / np.log(FARTHEST / NEAREST)
    shades = (logs * 255).round().byte().cpu().numpy()
    edges = np.stack([cv2.Canny(shade, WEAK, STRONG) for shade in shades]) if len(shades) else shades
    square = np.ones((2 * distance + 1, 2 * distance + 1), np.uint8)
    near = np.stack([cv2.dilate(edge, square) for edge in edges]) if len(edges) else edges
    return torch.from_numpy(near > 0).to(depth.device)


# Meters by which depths stay inside the far end of the space in the published code.
FAR_MARGIN = 5.0


def resize_mask(mask: Tensor, height: int, width: int) -> Tensor:
    """Resize a mask or class map ``(V, H, W)`` to ``(V, height, width)`` by nearest neighbor, dtype kept."""
    return F.interpolate(mask[:, None].double(), (height, width), mode='nearest')[:, 0].to(mask.dtype)


def resize_depth(depth: Tensor, size: Sequence[int], nearest: bool) -> Tensor:
    """Resize depth ``(V, h, w)`` to ``(V, *size)``, bilinear (unknown pixels spread) or nearest."""
    if tuple(depth.shape[-2:]) == tuple(size):
        return depth
    mode = {'mode': 'nearest'} if nearest else {'mode': 'bilinear', 'align_corners': False}
    return F.interpolate(depth[:, None], size=tuple(size), **mode)[:, 0]


def fill_sky(depth: Tensor, sky_mask: Tensor, sky_depth: float, only_unknown: bool) -> Tensor:
    """Put the sky at ``sky_depth`` less :data:`FAR_MARGIN`.

    Args:
        depth: ``(V, h, w)`` meters, NaN where unknown.
        sky_mask: ``(V, h', w')`` true (or 1) in the sky; resized to ``depth`` if it differs in size.
        sky_depth: distance of the sky, meters.
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
