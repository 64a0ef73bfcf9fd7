"""Depth errors (the set of Eigen et al., NIPS 2014, with the bounds of docs/NETWORK.md#metrics)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numba import njit
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
    """Return :func:`depth_errors` for several ``max_depth``.

    Most pixels count for all of them in the same way, and are added up once.
    """
    if estimate.shape != target.shape:
        raise ValueError(f'the estimate is {tuple(estimate.shape)}, the target {tuple(target.shape)}')
    dtype = torch.float32 if estimate.dtype == target.dtype == torch.float32 else torch.float64
    pair = (depth.detach().to(dtype).cpu().flatten().contiguous().numpy() for depth in (estimate, target))
    pixels = np.empty((2, target.numel()))
    inner, outer = float(min(limits)), float(max(limits))
    count, begin = _sort(*pair, (MIN_EVALUATED_DEPTH, inner, outer), pixels)
    near, far = pixels[:, :count], pixels[:, begin:]
    shared = _sums(near, inner)
    return [_errors(shared + _sums(far if limit == outer else far[:, far[1] < limit], limit)) for limit in limits]


def _sums(pixels: np.ndarray, limit: float) -> np.ndarray:
    """Return what is added up over pixels ``(2, n)`` float64 of estimate and target, the estimate clipped to a limit.

    Returns:
        ``(8,)`` the number of pixels, then what :func:`_errors` divides by it.
    """
    quotients = np.empty(pixels.shape[1])
    sums, below = _add_up(pixels[0], pixels[1], (MIN_EVALUATED_DEPTH, float(limit)), tuple(RATIOS.values()), quotients)
    # A logarithm takes longer than all the rest of a pixel, unless many are taken at once.
    logs = torch.from_numpy(quotients).log_()
    return np.array([len(quotients), *sums, logs.dot(logs).item(), *below])


def _errors(sums: np.ndarray) -> dict[str, float]:
    """Return the errors; nothing of no pixel."""
    count, *totals = sums.tolist()
    if not count:
        return {}
    relative, squared_relative, squared, squared_log, *below = (total / count for total in totals)
    return {
        'abs_rel': relative,
        'sq_rel': squared_relative,
        'rmse': math.sqrt(squared),
        'rmse_log': math.sqrt(squared_log),
        **dict(zip(RATIOS, below, strict=True)),
    }


@njit(cache=True, nogil=True, error_model='numpy')
def _sort(estimate, target, bounds, pixels):
    """Sort pixels by whether every limit treats them alike.

    Args:
        estimate, target: ``(n,)`` meters.
        bounds: the least target that counts, the least limit and the largest.
        pixels: ``(2, n)`` float64, filled with estimate and target: from the first place on where neither is beyond the
            least limit; up to the last place of the others below the largest limit, those of a NaN as estimate, too.

    Returns:
        where the ones end, and the others begin.
    """
    low, inner, outer = bounds
    end, begin = 0, len(target)
    for n in range(len(target)):
        depth, true = np.float64(estimate[n]), np.float64(target[n])
        counts = low < true < outer
        near = true < inner and depth <= inner
        # Written whether it counts or not, where nothing is that did: branches that nobody foresees take longer.
        pixels[0, end], pixels[1, end] = depth, true
        end += counts & near
        pixels[0, begin - 1], pixels[1, begin - 1] = depth, true
        begin -= counts & (not near)
    return end, begin


# Sums may be taken in any order, which lets several numbers be added at once.
@njit(cache=True, nogil=True, error_model='numpy', fastmath={'reassoc'})
def _add_up(estimate, target, bounds, ratios, quotients):
    """Add up over pixels, in float64.

    Args:
        estimate, target: ``(n,)`` float64, meters.
        bounds: the estimate is clipped to them, a NaN stays.
        ratios: three of them.
        quotients: ``(n,)`` float64, filled with target / estimate.

    Returns:
        the sums of relative, squared relative and squared differences; and how many pixels have a ratio of depths
        below each of the ratios.
    """
    low, high = bounds
    first, second, third = ratios
    below_first, below_second, below_third = 0, 0, 0
    relative, squared_relative, squared = 0.0, 0.0, 0.0
    for n in range(len(target)):
        depth, true = estimate[n], target[n]
        depth = low if depth < low else depth
        depth = high if depth > high else depth
        difference, quotient, inverse = abs(depth - true), true / depth, depth / true
        share = difference / true
        relative += share
        squared_relative += share * difference
        squared += difference * difference
        below_first += (quotient < first) & (inverse < first)
        below_second += (quotient < second) & (inverse < second)
        below_third += (quotient < third) & (inverse < third)
        quotients[n] = quotient
    return (relative, squared_relative, squared), (below_first, below_second, below_third)


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
