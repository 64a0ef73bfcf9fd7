"""The sky where LiDAR looks and nothing comes back, for data without segmentation."""

from __future__ import annotations

from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from mmdet3d.registry import TRANSFORMS
from scipy.ndimage import maximum_filter1d

from ..utils.errors import InputError

# Columns to each side whose returns count for a column, and rows above the highest return that stay unknown.
SIDE, GAP = 3, 2
# The highest beams return too little to rely on: degrees below the ceiling.
MARGIN = 3.0


def sky_above_returns(known: np.ndarray, elevation: np.ndarray, ceiling: float) -> np.ndarray:
    """``(h, w)`` uint8, 1 where a pixel must be sky.

    A column of the image is open if its highest return lies well below the ceiling: the beams above it came back from
    nothing. What is above the highest return of an open column is sky, as nothing floats there. Columns with returns
    up to the ceiling (a house that goes on above it) and columns without any return stay unknown.

    Args:
        known: ``(h, w)`` True where LiDAR returned; the camera is upright.
        elevation: ``(h, w)`` of the pixels' rays above the horizon, degrees.
        ceiling: elevation of the highest beams, degrees.
    """
    known = maximum_filter1d(known.astype(np.uint8), 2 * SIDE + 1, axis=1, mode='constant')
    top = known.argmax(axis=0)
    highest = elevation[top, np.arange(known.shape[1])]
    is_open = known.any(axis=0) & (highest < ceiling - MARGIN)
    rows = np.arange(known.shape[0])[:, None]
    return (is_open & (rows < top - GAP) & (elevation > 0)).astype(np.uint8)


@TRANSFORMS.register_module()
class SkyFromLidar(BaseTransform):
    """Fill ``sky_mask`` ``(h, w)`` of every view that has LiDAR, from its ``lidar_depth``; after ``LoadLidarDepth``.

    0 means "not known to be sky". Without LiDAR it is 0 everywhere.

    Args:
        ceiling: elevation of the highest beams, degrees: 15 for PandaSet, 10 for nuScenes.

    Raises:
        InputError: the teacher's sky masks are loaded, too.
    """

    def __init__(self, ceiling: float) -> None:
        self.ceiling = ceiling

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Fill ``sky_mask``."""
        for view in results['views'].values():
            if 'sky_mask' in view or 'teacher' in view:
                raise InputError('SkyFromLidar and load_teacher=True both give sky masks; leave out one of them')
            if 'lidar_depth' in view:
                known = np.isfinite(view['lidar_depth'])
                view['sky_mask'] = sky_above_returns(known, _elevation(view, known.shape), self.ceiling)
        return results


def _elevation(view: dict[str, Any], size: tuple[int, int]) -> np.ndarray:
    """Degrees above the horizon of the LiDAR frame, for the middle of every pixel of an image of ``size``."""
    sides = (view['height'], view['width'])
    rows, columns = ((np.arange(n) + 0.5) * side / n - 0.5 for n, side in zip(size, sides, strict=True))
    u, v = np.meshgrid(columns, rows)
    rays = np.stack([u, v, np.ones_like(u)], axis=-1) @ np.linalg.inv(view['intrinsics']).T
    rays = rays @ view['cam2world'][:3, :3].T
    return np.degrees(np.arcsin(rays[..., 2] / np.linalg.norm(rays, axis=-1)))
