"""What the transforms need to load one view, from the records of its keyframe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..geometry.poses import inverse_pose
from .cache import cache_name
from .infos import Info, lidar_measurements
from .protocol_frames import BETWEEN
from .target_frames import CURRENT, Key
from .teacher_files import VIRTUAL_VIEWS, virtual_feature_path, virtual_view_files

# Names of maps in the info file -> in a view. There ``paths`` has the file, and the view itself the loaded array.
_VIEW_NAMES = {
    'teacher': {'depth': 'teacher_depth', 'sky_mask': 'sky_mask'},
    'truth': {'depth': 'true_depth', 'sky': 'true_sky', 'classes': 'true_classes', 'instances': 'true_instances'},
}


@dataclass(frozen=True)
class ViewRecords:
    """Make the records of views.

    Attributes:
        roots: folders of ``img``, ``lidar`` and of every kind of map.
        loaded_maps: kinds of maps that are read.
        load_lidar: whether LiDAR is read.
        lidar_sweeps: how many LiDAR measurements make one depth image (:func:`.infos.lidar_measurements`).
        cached: whether views say the names of their files in caches.
    """

    roots: dict[str, str]
    loaded_maps: Sequence[str]
    load_lidar: bool
    lidar_sweeps: int
    cached: bool = False

    def view(self, info: Info, key: Key, world2global: np.ndarray) -> dict[str, Any]:
        """Make the record of one camera of a keyframe.

        Args:
            info: record of the keyframe.
            key: frame offset of the keyframe, and name of the camera.
            world2global: ``(4, 4)`` LiDAR frame of the current keyframe to the map.
        """
        offset, camera = key
        image, global2world = info['images'][camera], inverse_pose(world2global)
        view = {
            'name': camera,
            'frame': offset,
            'token': info['token'],
            'img_path': self._path('img', image['img_path']),
            'height': image['height'],
            'width': image['width'],
            'intrinsics': np.asarray(image['cam2img'], dtype=np.float64),
            'cam2world': global2world @ np.asarray(image['cam2global']),
            'paths': self._map_paths(image),
        }
        if 'truth' in self.loaded_maps:
            view['instance_speeds'] = info.get('instance_speeds')
        if BETWEEN in info:
            view |= dict.fromkeys(self._map_names())
        if self.load_lidar:
            view['lidar'] = self._lidar(info, global2world)
        if self.cached:
            view['cache_name'] = cache_name('img', image['img_path'])
        return view

    def _map_names(self) -> list[str]:
        """List the names that the loaded maps have in a view; classes only where a step of the pipeline reads them."""
        names = [name for kind in self.loaded_maps for name in _VIEW_NAMES.get(kind, {kind: kind}).values()]
        return [name for name in names if name != 'true_classes']

    def _map_paths(self, image: Info) -> dict[str, str]:
        """Return the paths of the maps to read, by the names that the maps have in a view."""
        paths = {}
        for kind in self.loaded_maps:
            files = image.get(kind, {})
            if isinstance(files, str):
                paths[kind] = self._path(kind, files)
            else:
                names = _VIEW_NAMES.get(kind, {})
                paths |= {names[name]: self._path(kind, path) for name, path in files.items() if name in names}
        return paths

    def virtual_view(self, info: Info, camera: str, name: str, world2global: np.ndarray) -> dict[str, Any]:
        """Make the record of a virtual view: what the teacher rendered from a shifted camera, without LiDAR and truth.

        Args:
            info: record of the current keyframe.
            camera: name of the camera.
            name: name of the view (:data:`.teacher_files.VIRTUAL_VIEWS`).
            world2global: ``(4, 4)`` LiDAR frame of the current keyframe to the map.
        """
        view = self.view(info, (CURRENT, camera), world2global)
        image = info['images'][camera]
        files = virtual_view_files(image['teacher'], name)
        maps = {'teacher': files}
        if 'features' in self.loaded_maps:
            maps['features'] = virtual_feature_path(image['features'], name)
        shift = np.eye(4)
        shift[:3, 3] = VIRTUAL_VIEWS[name]
        view |= {
            'name': f'{camera} {name}',
            'img_path': self._path('teacher', files['rgb']),
            'resizable': True,
            'cam2world': view['cam2world'] @ shift,
            'paths': self._map_paths(maps),
        }
        if 'lidar' in view:
            view['lidar'] = None
        if self.cached:
            view['cache_name'] = cache_name('teacher', files['rgb'])
        if 'truth' in self.loaded_maps:
            view |= {'true_depth': None, 'instance_speeds': None}
        return view

    def _lidar(self, info: Info, global2world: np.ndarray) -> list[dict[str, Any]] | None:
        """Make the records of the LiDAR measurements of a keyframe, its own first; None if there are none."""
        measurements = lidar_measurements(info, self.lidar_sweeps)
        if not measurements:
            return None
        return [
            {
                'path': self._path('lidar', measurement['lidar_points']['lidar_path']),
                'classes': self._classes(measurement),
                'columns': measurement['lidar_points']['num_pts_feats'],
                'lidar2world': global2world @ np.asarray(measurement['lidar2global']),
            }
            for measurement in measurements
        ]

    def _classes(self, measurement: Info) -> str | None:
        relative = measurement['lidar_points'].get('pts_semantic_mask_path')
        return None if relative is None else self._path('lidar', relative)

    def _path(self, kind: str, relative: str) -> str:
        return str(Path(self.roots[kind]) / relative)
