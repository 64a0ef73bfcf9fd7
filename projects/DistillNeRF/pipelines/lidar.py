"""Read LiDAR points and make the depth image of every view, and on request the image of their classes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from mmdet3d.registry import TRANSFORMS

from ..datasets.file_checks import check_ranges
from ..geometry.poses import inverse_pose
from ..semantics.classes import CLASSES, UNKNOWN_CLASS
from ..utils.errors import InputError, warn
from ..utils.files import require_file
from .lidar_depth import LidarProjection, homogeneous, lidar_class_image, lidar_depth_image, project_visible

RESTORE = 'restore the LiDAR file or convert the data again with tools/create_data.py'


def read_points(path: str | Path, columns: int) -> np.ndarray:
    """Read float32 points ``(n, columns)``; x, y, z come first.

    Raises:
        InputError: a missing or empty file, a size that is no multiple of a point, NaN or infinite positions, distances
            that are none in meters.
    """
    size = require_file(path, RESTORE).stat().st_size
    if size % (4 * columns):
        raise InputError(f'{path}: {size} bytes are no whole number of points of {columns} floats; {RESTORE}')
    points = np.fromfile(path, np.float32).reshape(-1, columns)
    if not np.isfinite(points[:, :3]).all():
        raise InputError(f'{path}: holds NaN or infinite positions; {RESTORE}')
    check_ranges(points, path, RESTORE)
    return points


def read_point_classes(path: str | Path | None, count: int, points: str) -> np.ndarray:
    """Read the classes of LiDAR points, ``(count,)`` uint8: class ids, or ``UNKNOWN_CLASS``.

    Args:
        path: file of classes, None if the info file names none.
        count: how many points there are.
        points: file of the points, for messages.

    Raises:
        InputError: no file, another number of classes than of points, or ids that are no class.
    """
    if path is None:
        raise InputError(
            f'{points}: the info file names no classes of these points; use data that has them (PandaSet with its '
            'semseg annotations, converted by tools/create_data.py), or leave with_classes'
        )
    classes = np.fromfile(require_file(path, RESTORE), np.uint8)
    if len(classes) != count:
        raise InputError(f'{path}: holds {len(classes)} classes for {count} points of {points}; {RESTORE}')
    if np.any((classes >= len(CLASSES)) & (classes != UNKNOWN_CLASS)):
        raise InputError(f'{path}: holds ids beyond the {len(CLASSES)} classes; {RESTORE}')
    return classes


@TRANSFORMS.register_module()
class LoadLidarDepth(BaseTransform):
    """Project each frame's LiDAR points into its views: ``lidar_depth`` ``(h, w)`` z in meters at ``render_size``.

    Points at the sample's ``lidar_range`` or beyond are left out. With several sweeps the nearest point counts where
    two fall into one pixel; what moved in between smears. The points of a frame go through the global poses of the
    LiDAR at its keyframe and of the camera when its image was taken. A frame without LiDAR gives NaN everywhere (the
    dataset notes it). Does nothing in a dataset with ``load_lidar=False``.

    Args:
        with_classes: add ``lidar_classes`` ``(h, w)`` uint8, the classes of the same points
            (:data:`..semantics.classes.CLASSES`, 255 unknown).
    """

    def __init__(self, with_classes: bool = False) -> None:
        self.with_classes = with_classes
        self._told = False

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Fill ``lidar_depth`` of every view."""
        points: dict[str, np.ndarray] = {}
        classes: dict[str, np.ndarray] = {}
        for view in results['views'].values():
            if 'lidar' not in view:
                continue
            sweeps = view['lidar'] or []
            for sweep in sweeps:
                path = sweep['path']
                if path not in points:
                    points[path] = homogeneous(read_points(path, sweep['columns']))
                    if self.with_classes:
                        classes[path] = read_point_classes(sweep['classes'], len(points[path]), path)
            parts = _project(view, sweeps, points, results['lidar_range'])
            projection = _joined([projection for projection, _ in parts])
            grid = (view['height'], view['width'], *results['render_size'])
            view['lidar_depth'] = lidar_depth_image(projection, *grid)
            if self.with_classes:
                seen = [classes[sweep['path']][index] for sweep, (_, index) in zip(sweeps, parts, strict=True)]
                ids = np.concatenate([np.empty(0, np.uint8), *seen])
                view['lidar_classes'] = lidar_class_image(projection, ids, *grid, unknown=UNKNOWN_CLASS)
        self._tell_if_nothing_is_seen(results['views'].values())
        return results

    def _tell_if_nothing_is_seen(self, views: Iterable[dict[str, Any]]) -> None:
        """Say once, in each process that loads, that no LiDAR point of a sample lies in any of its views."""
        measured = [view for view in views if view.get('lidar')]
        if self._told or not measured or any(np.isfinite(view['lidar_depth']).any() for view in measured):
            return
        self._told = True
        path = measured[0]['lidar'][0]['path']
        warn(
            f'{path}: none of its points lies in a view of its sample: nothing to compare with; look at the poses with '
            'tools/visualization.py, and at lidar_range'
        )


def _project(
    view: dict[str, Any], sweeps: Sequence[dict[str, Any]], points: dict[str, np.ndarray], lidar_range: float
) -> list[tuple[LidarProjection, np.ndarray]]:
    """Project the points of every sweep into one view; give the visible ones and their positions in the sweep."""
    size = view['height'], view['width']
    camera = np.eye(4)
    camera[:3, :3] = view['intrinsics']
    world2img = camera @ inverse_pose(view['cam2world'])
    return [
        project_visible(points[sweep['path']], world2img @ sweep['lidar2world'], *size, lidar_range) for sweep in sweeps
    ]


def _joined(parts: Sequence[LidarProjection]) -> LidarProjection:
    """Join the points of all sweeps, one sweep after the other."""
    none = LidarProjection(np.empty(0, np.float32), np.empty((0, 2), np.float32), np.empty(0, bool))
    return LidarProjection(*(np.concatenate(column) for column in zip(*map(_columns, [none, *parts]), strict=True)))


def _columns(projection: LidarProjection) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return projection.depth, projection.pixels, projection.visible
