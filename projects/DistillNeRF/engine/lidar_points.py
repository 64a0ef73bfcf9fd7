"""LiDAR points in images, for what is compared with them pixel by pixel."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np

from ..datasets.infos import lidar_measurements
from ..geometry.poses import inverse_pose
from ..pipelines.lidar import read_points
from ..pipelines.lidar_depth import homogeneous, project_visible
from .extraction import ImageTask

# In blocks, so many from top to bottom, the nearest point counts: what lies behind it, the camera may not see.
BLOCKS = 64
# Sweeps that are kept: all cameras of a frame need the same one.
KEPT = 4


class LidarPoints:
    """The points of the LiDAR sweep of each keyframe, or else of the first that it lists.

    Args:
        root: folder of the LiDAR; None: that of the info file.
        max_depth: points at this z or beyond are left out, meters.
    """

    def __init__(self, root: Path | None, max_depth: float) -> None:
        self._root, self._max_depth = root, max_depth
        self._read = functools.lru_cache(KEPT)(lambda path, columns: homogeneous(read_points(path, columns)))

    def seen_by(self, task: ImageTask) -> np.ndarray | None:
        """Return pixels u, v and z ``(n, 3)`` float32 of the points that an image sees; None without LiDAR.

        Raises:
            InputError: a missing or damaged file.
        """
        # The keyframe's own comes first; sweeps are nearest in time first.
        sweep = next(iter(lidar_measurements(task.info, 2)), None)
        if sweep is None:
            return None
        points, image = sweep['lidar_points'], task.info['images'][task.camera]
        camera = np.eye(4)
        camera[:3, :3] = image['cam2img']
        lidar2img = camera @ inverse_pose(np.asarray(image['cam2global'])) @ np.asarray(sweep['lidar2global'])
        path = (self._root or task.info_file.parent) / points['lidar_path']
        size = image['height'], image['width']
        seen, _ = project_visible(self._read(path, points['num_pts_feats']), lidar2img, *size, self._max_depth)
        return _nearest_in_blocks(np.concatenate([seen.pixels, seen.depth[:, None]], axis=1), size[0] / BLOCKS)


def _nearest_in_blocks(points: np.ndarray, side: float) -> np.ndarray:
    """Return the nearest of the points ``(n, 3)`` u, v, z in each block of ``side`` pixels."""
    order = np.argsort(points[:, 2], kind='stable')
    blocks = np.floor((points[order, :2] + 0.5) / side).astype(np.int64)
    _, first = np.unique(blocks, axis=0, return_index=True)
    return points[order[first]]
