"""Read LiDAR points and make the depth image of every view."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from mmdet3d.registry import TRANSFORMS

from ..datasets.poses import inverse_pose
from ..errors import InputError
from ..files import require_file
from .lidar_depth import lidar_depth_image, project_lidar

RESTORE = 'restore the LiDAR file or convert the data again with tools/create_data.py'


def read_points(path: str | Path, columns: int) -> np.ndarray:
    """Read float32 points ``(n, columns)``; x, y, z come first.

    Raises:
        InputError: a missing or empty file, a size that is no multiple of a point, NaN or infinite positions.
    """
    size = require_file(path, RESTORE).stat().st_size
    if size % (4 * columns):
        raise InputError(f'{path}: {size} bytes are no whole number of points of {columns} floats; {RESTORE}')
    points = np.fromfile(path, np.float32).reshape(-1, columns)
    if not np.isfinite(points[:, :3]).all():
        raise InputError(f'{path}: holds NaN or infinite positions; {RESTORE}')
    return points


@TRANSFORMS.register_module()
class LoadLidarDepth(BaseTransform):
    """Project each frame's LiDAR points into its views: ``lidar_depth`` ``(h, w)`` z in metres at ``render_size``.

    The points of a frame go through the global poses of the LiDAR at its keyframe and of the camera when its image
    was taken. A frame without LiDAR gives NaN everywhere (the dataset notes it). Does nothing in a dataset with
    ``load_lidar=False``.

    Args:
        max_depth: points at this z or beyond are left out, metres (80, or 50 in the published linear space).
    """

    def __init__(self, max_depth: float = 80.0) -> None:
        self.max_depth = max_depth

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Fill ``lidar_depth`` of every view."""
        rows, columns = results['render_size']
        points: dict[str, np.ndarray] = {}
        for view in results['views'].values():
            if 'lidar' not in view:
                continue
            lidar = view['lidar']
            if lidar is None:
                view['lidar_depth'] = np.full((rows, columns), np.nan, np.float32)
                continue
            if lidar['path'] not in points:
                points[lidar['path']] = read_points(lidar['path'], lidar['columns'])
            height, width = view['height'], view['width']
            lidar2img = np.eye(4)
            lidar2img[:3, :3] = view['intrinsics']
            lidar2img = lidar2img @ inverse_pose(view['cam2world']) @ lidar['lidar2world']
            projection = project_lidar(points[lidar['path']], lidar2img, height, width, self.max_depth)
            view['lidar_depth'] = lidar_depth_image(projection, height, width, rows, columns)
        return results
