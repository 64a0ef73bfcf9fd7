"""Depth errors (the set of Eigen et al., NIPS 2014, with the bounds of docs/NETWORK.md#metrics)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..geometry.cameras import Cameras

MIN_EVALUATED_DEPTH = 1e-3
FULL_RANGE = 80.0
INNER_RANGE = 50.0
# a1, a2, a3: the share of pixels whose ratio of depths is below these.
RATIOS = {'a1': 1.25, 'a2': 1.25**2, 'a3': 1.25**3}
# Name in the results -> field of the views. The dense truth has no name: it is the first thing to look at.
REFERENCES = {'': 'true_depth', 'lidar': 'lidar_depth', 'teacher': 'teacher_depth'}


def depth_errors(estimate: Tensor, target: Tensor, max_depth: float = FULL_RANGE) -> dict[str, float]:
    """Return abs_rel, sq_rel, rmse, rmse_log, a1, a2, a3 over pixels with a target in (1e-3, ``max_depth``) meters.

    Args:
        estimate, target: depth in meters, any shape, the same for both; NaN targets are left out. The estimate is
            clipped to [1e-3, ``max_depth``].
        max_depth: upper bound, meters.

    Returns:
        The seven errors; an empty dict if no pixel counts.
    """
    return errors_up_to(estimate, target, (max_depth,))[0]


def errors_up_to(estimate: Tensor, target: Tensor, limits: Sequence[float]) -> list[dict[str, float]]:
    """Return :func:`depth_errors` for several ``max_depth``, the largest first, in one go."""
    if estimate.shape != target.shape:
        raise ValueError(f'the estimate is {tuple(estimate.shape)}, the target {tuple(target.shape)}')
    counts = (target > MIN_EVALUATED_DEPTH) & (target < limits[0])
    # Several times as fast as an index.
    e, t = (torch.masked_select(depth, counts).double() for depth in (estimate, target))
    found = []
    for limit in limits:
        if limit < limits[0]:
            inside = t < limit
            e, t = torch.masked_select(e, inside), torch.masked_select(t, inside)
        found.append(_errors(e.clamp(MIN_EVALUATED_DEPTH, limit), t) if len(t) else {})
    return found


def _errors(e: Tensor, t: Tensor) -> dict[str, float]:
    """Return the errors of estimates ``(n,)`` against targets, n > 0, float64."""
    difference, quotient = (e - t).abs(), t / e
    relative, ratio = difference / t, torch.maximum(quotient, e / t)
    errors = {
        'abs_rel': relative.mean(),
        'sq_rel': (relative * difference).mean(),
        'rmse': difference.square_().mean().sqrt(),
        'rmse_log': quotient.log_().square_().mean().sqrt(),
        **{name: torch.count_nonzero(ratio < bound) / len(t) for name, bound in RATIOS.items()},
    }
    return dict(zip(errors, torch.stack([value.double() for value in errors.values()]).tolist(), strict=True))


def distance_to_z(distance: Tensor, cameras: Cameras) -> Tensor:
    """Convert depth along the ray to z.

    Args:
        distance: ``(V, h, w)`` meters, on a grid that spans the images of ``cameras`` corner to corner.
    """
    return distance / cameras.ray_lengths(*distance.shape[-2:]).to(distance)


def resample_depth(depth: Tensor, height: int, width: int) -> Tensor:
    """Resample ``(V, h, w)`` to ``(V, height, width)``, bilinear with ``align_corners=True``.

    Rendered pixels span the image corner to corner, so the corners of both grids coincide.
    """
    if tuple(depth.shape[-2:]) == (height, width):
        return depth
    return F.interpolate(depth[:, None].float(), (height, width), mode='bilinear', align_corners=True)[:, 0]


def point_depth_errors(
    depth: Tensor, locations: Tensor, target: Tensor, mask: Tensor, max_depth: float = FULL_RANGE
) -> dict[str, float]:
    """Return depth errors at points instead of pixels: per camera, then averaged over the cameras.

    Args:
        depth: ``(V, h, w)`` estimate, meters, sampled bilinearly (corner to corner, border repeated).
        locations: ``(V, n, 2)`` points (u, v) in [0, 1], as shares of the image's width and height.
        target: ``(V, n)`` depth of the points, meters.
        mask: ``(V, n)`` true for points that are in the image.
        max_depth: upper bound, meters.

    Returns:
        The seven errors of :func:`depth_errors`; an empty dict if no point counts in any camera.
    """
    grid = (2 * locations - 1)[:, None]
    sampled = F.grid_sample(depth[:, None], grid, mode='bilinear', padding_mode='border', align_corners=True)[:, 0, 0]
    per_camera = [depth_errors(e[m], t[m], max_depth) for e, t, m in zip(sampled, target, mask, strict=True)]
    return average(per_camera)


def average(results: list[dict[str, float]]) -> dict[str, float]:
    """Average each key over the results that have it, in the order in which the keys first appear."""
    keys = dict.fromkeys(key for result in results for key in result)
    means = {}
    for key in keys:
        values = [result[key] for result in results if key in result]
        means[key] = sum(values) / len(values)
    return means
