"""What really is to be seen from anywhere in a MiniTown that lies on disk: its scenes are built again."""

from __future__ import annotations

import dataclasses
import functools
import os
from pathlib import Path

import numpy as np

from projects.DistillNeRF.utils.errors import InputError

from .generate import SETTINGS_FILE, read_settings
from .rig import CAMERAS, Lidar
from .scene import Settings, camera_shots, lidar_shots, town_of
from .world import Render, Town

MAKE_AGAIN = 'make the town with tools/create_data.py minitown in a new folder'


class TrueViews:
    """The town of a data root, at the key frames of its scenes.

    A town that an older version made may look different now: compare what is seen at no motion with its images.

    Args:
        root: data root of :func:`.generate.generate`.

    Raises:
        InputError: there is no MiniTown.
    """

    def __init__(self, root: str | os.PathLike) -> None:
        file = Path(root) / SETTINGS_FILE
        if not file.is_file():
            raise InputError(
                f'{file}: no such file; true views from anywhere are known of MiniTown alone; {MAKE_AGAIN}'
            )
        found = read_settings(file)
        names = [field.name for field in dataclasses.fields(Settings)]
        if any(not isinstance(found.get(name), int) for name in names):
            raise InputError(f'{file}: does not name all of {", ".join(names)}; {MAKE_AGAIN}')
        self.settings = Settings(**{name: found[name] for name in names})
        self._town = functools.lru_cache(maxsize=1)(self._build)

    def render(self, scene: str, keyframe: int, camera: str, motion: np.ndarray) -> Render:
        """Render what a camera of the car would see if it had been moved.

        Objects are where they were when the camera took the image of this key frame.

        Args:
            scene: its name.
            keyframe: number of the key frame in the scene.
            camera: its name.
            motion: ``(4, 4)`` in the LiDAR frame of the key frame, meters.

        Raises:
            InputError: no such scene, key frame or camera.
        """
        settings = self.settings
        mounted = next((mounted for mounted in CAMERAS if mounted.name == camera), None)
        if mounted is None:
            raise InputError(f'{camera}: no camera of MiniTown; its cameras are {", ".join(c.name for c in CAMERAS)}')
        if not 0 <= keyframe < settings.keyframes:
            raise InputError(f'{scene}: key frame {keyframe}; it has key frames 0 to {settings.keyframes - 1}')
        town = self._town(scene)
        time = _key(camera_shots(mounted, settings.keyframes), keyframe)
        lidar2town = town.ego_pose(_key(lidar_shots(settings.keyframes), keyframe)) @ Lidar().lidar2ego
        cam2town = town.ego_pose(time) @ mounted.cam2ego
        moved = lidar2town @ motion @ np.linalg.inv(lidar2town) @ cam2town
        height, width = settings.height, settings.width
        return town.render(mounted.intrinsics(height, width), moved, height, width, time, settings.samples)

    def _build(self, scene: str) -> Town:
        """Build the town of a scene again."""
        names = [self.settings.scene_name(index) for index in range(self.settings.scenes)]
        if scene not in names:
            raise InputError(f'{scene}: no scene of this MiniTown; it has {names[0]} to {names[-1]}')
        return town_of(self.settings, names.index(scene))


def _key(shots: list, keyframe: int) -> float:
    """Return the time in seconds at which the shot of a key frame was taken."""
    return next(shot.time for shot in shots if shot.is_key and shot.keyframe == keyframe)
