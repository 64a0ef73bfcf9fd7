"""Read LiDAR points and make the depth image of every view, and on request the image of their classes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from mmdet3d.registry import TRANSFORMS

from ..datasets.cache import MAKE_CACHE, VERSION, Cached, Origin, read_cached, update_cached
from ..datasets.file_checks import check_ranges
from ..geometry.poses import inverse_pose
from ..semantics.classes import CLASSES, UNKNOWN_CLASS
from ..utils.errors import InputError, warn
from ..utils.files import require_file
from .lidar_depth import LidarProjection, homogeneous, lidar_class_image, lidar_depth_image, project_visible

RESTORE = 'restore the LiDAR file or convert the data again with tools/create_data.py'
# Matrices that agree so well, as a share of their largest entry, are of the same poses.
LAST_BITS = 1e-5
# Points (n, 4) of a sweep, and their classes.
_Sweep = tuple[np.ndarray, np.ndarray | None]
_NOTHING = LidarProjection(np.empty(0, np.float32), np.empty((0, 2), np.float32), np.empty(0, bool))


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

    In a dataset with a ``cache``, the images come from there (:mod:`..datasets.cache`), where the matrices that project
    the points are the very same as when they were made. Poses relative to another keyframe may differ in the last bit
    (not once in 20,000 matrices that were tried): then the points are read.

    Args:
        with_classes: add ``lidar_classes`` ``(h, w)`` uint8, the classes of the same points
            (:data:`..semantics.classes.CLASSES`, 255 unknown).
    """

    def __init__(self, with_classes: bool = False) -> None:
        self.with_classes = with_classes
        self._told = False

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Fill ``lidar_depth`` of every view."""
        files: dict[str, _Sweep] = {}
        for view in results['views'].values():
            if 'lidar' in view:
                cached = self._cached(view, results)
                view |= self._projected(view, results, files) if cached is None else cached
        self._tell_if_nothing_is_seen(results['views'].values())
        return results

    def cache_file(self, view: Mapping[str, Any], results: Mapping[str, Any]) -> Path | None:
        """Return the file of the LiDAR images of a view; None without LiDAR and in a dataset without a cache."""
        if results.get('cache') is None or not view.get('lidar'):
            return None
        rows, columns = results['render_size']
        sweeps, kind = results['lidar_sweeps'], 'lidar_classes' if self.with_classes else 'lidar'
        folder = f'{kind}_{rows}x{columns}_{results["lidar_range"]:g}m_{sweeps}_sweep{"s" * (sweeps > 1)}'
        return Path(results['cache']) / folder / view['cache_name']

    def write_cache(self, results: dict[str, Any]) -> int:
        """Write the files of the views that are missing or stale; return how many."""
        files: dict[str, _Sweep] = {}
        written = 0
        for view in results['views'].values():
            if (path := self.cache_file(view, results)) is None:
                continue
            matrices = _lidar2img(view)

            def make(view: dict[str, Any] = view, matrices: np.ndarray = matrices) -> Cached:
                return Cached({**self._projected(view, results, files), 'lidar2img': matrices})

            def fits(cached: Cached, matrices: np.ndarray = matrices) -> bool:
                return cached.arrays['lidar2img'].tobytes() == matrices.tobytes()

            written += update_cached(path, self._origin(view, results), make, fits)
        return written

    def _origin(self, view: Mapping[str, Any], results: Mapping[str, Any]) -> Origin:
        sweeps = view['lidar']
        sources = [sweep['path'] for sweep in sweeps]
        if self.with_classes:
            sources += [sweep['classes'] for sweep in sweeps if sweep['classes'] is not None]
        settings = {
            'version': VERSION,
            'numpy': np.__version__,
            'render_size': list(results['render_size']),
            'lidar_range': results['lidar_range'],
            'image size': [view['height'], view['width']],
            'columns': [sweep['columns'] for sweep in sweeps],
            'with_classes': self.with_classes,
        }
        return Origin(sources, settings)

    def _cached(self, view: dict[str, Any], results: dict[str, Any]) -> dict[str, np.ndarray] | None:
        """Return the images of a view from the cache; None if the points must be read.

        Raises:
            InputError: the cache is missing, damaged or stale.
        """
        if (path := self.cache_file(view, results)) is None:
            return None
        images = dict(read_cached(path, self._origin(view, results)).arrays)
        then, now = images.pop('lidar2img'), _lidar2img(view)
        if then.tobytes() == now.tobytes():
            return images
        if _differ(then, now):
            raise InputError(f'{path}: is stale: poses or intrinsics are others than when it was made; {MAKE_CACHE}')
        return None

    def _projected(
        self, view: dict[str, Any], results: dict[str, Any], files: dict[str, _Sweep]
    ) -> dict[str, np.ndarray]:
        """Project the points of all sweeps of a view, one sweep after the other.

        Args:
            view: with its sweeps.
            results: the sample.
            files: contents of the files that were read for the sample; those of this view are added.
        """
        sweeps = view['lidar'] or []
        grid = (view['height'], view['width'], *results['render_size'])
        parts, ids = [_NOTHING], [np.empty(0, np.uint8)]
        for sweep, lidar2img in zip(sweeps, _lidar2img(view), strict=True):
            if sweep['path'] not in files:
                files[sweep['path']] = self._read(sweep)
            points, classes = files[sweep['path']]
            seen, positions = project_visible(points, lidar2img, *grid[:2], results['lidar_range'])
            parts.append(seen)
            if classes is not None:
                ids.append(classes[positions])
        projection = LidarProjection(*(np.concatenate(column) for column in zip(*map(_columns, parts), strict=True)))
        images = {'lidar_depth': lidar_depth_image(projection, *grid)}
        if self.with_classes:
            images['lidar_classes'] = lidar_class_image(projection, np.concatenate(ids), *grid, unknown=UNKNOWN_CLASS)
        return images

    def _read(self, sweep: dict[str, Any]) -> _Sweep:
        """Read the points of a sweep and, where they are wanted, their classes."""
        points = homogeneous(read_points(sweep['path'], sweep['columns']))
        return points, read_point_classes(sweep['classes'], len(points), sweep['path']) if self.with_classes else None

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


def _lidar2img(view: Mapping[str, Any]) -> np.ndarray:
    """Return float32 ``(n, 4, 4)``: the LiDAR frame of each sweep of a view to pixels times z."""
    camera = np.eye(4)
    camera[:3, :3] = view['intrinsics']
    world2img = camera @ inverse_pose(view['cam2world'])
    matrices = [world2img @ sweep['lidar2world'] for sweep in view['lidar'] or []]
    return np.array(matrices, dtype=np.float32).reshape(-1, 4, 4)


def _differ(first: np.ndarray, second: np.ndarray) -> bool:
    """Tell whether matrices ``(n, 4, 4)`` differ by more than rounding."""
    return np.abs(first - second).max() > LAST_BITS * np.abs(first).max()


def _columns(projection: LidarProjection) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return projection.depth, projection.pixels, projection.visible
