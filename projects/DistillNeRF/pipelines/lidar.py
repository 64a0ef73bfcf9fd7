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

    Points at the sample's ``lidar_range`` or beyond are left out. With several sweeps the nearest point counts where
    two fall into one pixel; what moved in between smears. The points of a frame go through the global poses of the
    LiDAR at its keyframe and of the camera when its image was taken. A frame without LiDAR gives NaN everywhere (the
    dataset notes it). Does nothing in a dataset with ``load_lidar=False``.
    """

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
            for sweep in lidar:
                if sweep['path'] not in points:
                    points[sweep['path']] = read_points(sweep['path'], sweep['columns'])
            view['lidar_depth'] = self._depth_image(view, points, results)
        return results

    @staticmethod
    def _depth_image(view: dict[str, Any], points: dict[str, np.ndarray], results: dict[str, Any]) -> np.ndarray:
        """The nearest point of all sweeps in every pixel, NaN where there is none."""
        height, width = view['height'], view['width']
        camera = np.eye(4)
        camera[:3, :3] = view['intrinsics']
        world2img = camera @ inverse_pose(view['cam2world'])
        images = []
        for sweep in view['lidar']:
            lidar2img = world2img @ sweep['lidar2world']
            projection = project_lidar(points[sweep['path']], lidar2img, height, width, results['lidar_range'])
            images.append(lidar_depth_image(projection, height, width, *results['render_size']))
        return np.fmin.reduce(images)
