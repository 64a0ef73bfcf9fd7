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


# Weights of bins are at least this in the cross entropy, whose gradient would otherwise overflow.
MIN_WEIGHT = 1e-20


def depth_bins_loss(weights: Tensor, edges: Tensor, target: Tensor) -> Tensor:
    """Return the cross entropy of the weights of depth bins against known depth.

    A known depth is spread over the two bins whose centers it lies between, in the logarithm of depth: a mean of the
    centers with those weights gives it back. Depth before the first center or behind the last one is in that bin.

    Targets are never resized, as blends of two surfaces are on neither: each target pixel is compared with the pixel
    of the estimate in which its center lies. Where targets are finer, a pixel at a silhouette learns the share of
    either surface.

    Args:
        weights: ``(V, D, h, w)`` weights of the bins, which sum to at most 1 in every pixel.
        edges: ``(V, D + 1)`` edges of the bins, meters.
        target: ``(V, h_t, w_t)`` depth along the ray, meters; what is not finite is left out.

    Raises:
        ValueError: the numbers of views or bins do not agree.
    """
    views, bins, height, width = weights.shape
    if len(target) != views or tuple(edges.shape) != (views, bins + 1):
        raise ValueError(f'weights {tuple(weights.shape)}, edges {tuple(edges.shape)}, target {tuple(target.shape)}')
    logs = edges.detach().double().log()
    centers = (logs[:, 1:] + logs[:, :-1]) / 2
    known = target.isfinite()
    depth = torch.where(known, target, 1.0).double().log().flatten(1)
    place = torch.searchsorted(centers, depth).clamp(1, bins - 1)
    before, behind = centers.gather(1, place - 1), centers.gather(1, place)
    share = ((depth - before) / (behind - before)).clamp(0, 1).float()
    pixels = torch.arange(views, device=target.device)[:, None] * height * width
    pixels = pixels + _pixels_within((height, width), target.shape[1:], target.device)
    first, counted = (pixels * bins + place - 1).flatten(), known.flatten().float()
    spread = share.new_zeros(views * height * width * bins)
    spread.index_add_(0, first, (1 - share.flatten()) * counted)
    spread.index_add_(0, first + 1, share.flatten() * counted)
    entropies = weights.float().clamp_min(MIN_WEIGHT).log().neg().movedim(1, -1)
    return (entropies * spread.view(entropies.shape)).sum() / counted.sum().clamp_min(1)


def _pixels_within(size: Sequence[int], other: Sequence[int], device: torch.device) -> Tensor:
    """Return ``(h_t * w_t,)``, the pixel of an image of ``size`` in which the center of each pixel of another lies.

    A center between two pixels is in the first one, as by :meth:`Cameras.resized` (no half-pixel shift).
    """
    rows, columns = (
        ((torch.arange(count, device=device) * 2 + 1) * own - 1) // (2 * count)
        for own, count in zip(size, other, strict=True)
    )
    return (rows[:, None] * size[1] + columns).flatten()


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
