"""One drive through one scene: all its images and LiDAR sweeps in one frame of reference.

The *scene frame* is the LiDAR frame of the first keyframe: meters, x right, y forward, z up. Cameras look along +z, x
right, y down; pixel (0, 0) is the center of the top left pixel.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..datasets.file_checks import check_ranges
from ..datasets.image_files import read_image, resize
from ..datasets.info_checks import CONVERT_AGAIN
from ..datasets.infos import Info, load_infos
from ..geometry.cameras import Cameras
from ..geometry.poses import inverse_pose
from ..utils.errors import InputError
from ..utils.files import require_file
from .own_car import OwnCar

RESTORE = 'restore the LiDAR file or convert the data again with tools/create_data.py'
# A turn of a LiDAR takes less, seconds.
LONGEST_DELAY = 1.0


@dataclass(frozen=True)
class DriveImage:
    """An image of a drive.

    Attributes:
        path: its file.
        camera: name of the camera.
        frame: number of its keyframe; None between keyframes.
        timestamp: seconds.
        height, width: native size, pixels.
        intrinsics: ``(3, 3)`` float64 for the native size.
        cam2scene: ``(4, 4)`` float64.
        teacher: paths of the teacher's files of the original view, relative to the teacher root, by kind (``depth``,
            ``sky_mask``); empty between keyframes.
        truth: paths of true maps by kind, absolute; empty where there are none.
        own_car: where it shows the car that carries the camera; None for nowhere.
        features: path of the features of a foundation model, relative to their root; None between keyframes.
    """

    path: str
    camera: str
    frame: int | None
    timestamp: float
    height: int
    width: int
    intrinsics: np.ndarray
    cam2scene: np.ndarray
    teacher: dict[str, str]
    truth: dict[str, str]
    own_car: OwnCar | None = None
    features: str | None = None

    def read(self, height: int, width: int) -> np.ndarray:
        """Read the image in another size, ``(height, width, 3)`` uint8 RGB."""
        image = read_image(self.path)
        if image.shape[:2] != (self.height, self.width):
            raise InputError(
                f'{self.path}: the image is {image.shape[1]}x{image.shape[0]}, its record says '
                f'{self.width}x{self.height}; restore the image or {CONVERT_AGAIN}'
            )
        return np.ascontiguousarray(resize(image, height, width)[..., ::-1])

    def own_car_mask(self, height: int, width: int) -> np.ndarray:
        """Return where it shows the own car in another size, ``(height, width)`` bool."""
        return np.zeros((height, width), bool) if self.own_car is None else self.own_car.mask(height, width)

    def camera_at(self, height: int, width: int) -> Cameras:
        """Return its camera, a batch of one, for that image size; float64."""
        intrinsics, cam2scene = (torch.from_numpy(x)[None] for x in (self.intrinsics, self.cam2scene))
        return Cameras(intrinsics, cam2scene, self.height, self.width).resized(height, width)


@dataclass(frozen=True)
class DriveSweep:
    """A LiDAR sweep of a drive.

    A turn takes time (PandaSet 0.1 s, nuScenes 0.05 s, MiniTown none), and the car drives meanwhile: 0.5 m in 0.1 s at
    5 m/s. PandaSet's points lie where they were when they were hit, and its time stamp and pose are those of the end of
    the turn. Each has its own time, and so the place where its beam began. Where only one origin of all beams of a
    sensor is known, there that of the middle of the turn, it is up to 0.46 m off.

    Attributes:
        path: its file of float32 points.
        columns: numbers per point; x, y, z come first.
        frame: number of its keyframe; None between keyframes.
        timestamp: seconds.
        lidar2scene: ``(4, 4)`` float64.
        origins: ``(k, 3)`` float64, where the beams of its k sensors begin, in the LiDAR frame.
        sensor_column: column of the points that holds the number of the sensor; None if there is one.
        time_column: column of the points that holds their time, seconds relative to ``timestamp``; None: all at once.
        origins_velocity: ``(k, 3)`` float64, how the origins move in the LiDAR frame, m/s; None: not.
        origins_delay: seconds relative to ``timestamp`` at which beams begin at ``origins``, if these move.
    """

    path: str
    columns: int
    frame: int | None
    timestamp: float
    lidar2scene: np.ndarray
    origins: np.ndarray
    sensor_column: int | None = None
    time_column: int | None = None
    origins_velocity: np.ndarray | None = None
    origins_delay: float = 0.0

    @property
    def num_points(self) -> int:
        """Return how many points its file has, also those that are NaN."""
        return require_file(self.path, RESTORE).stat().st_size // (4 * self.columns)

    def beams(self) -> tuple[np.ndarray, np.ndarray]:
        """Read the beams: where they begin and end, ``(n, 3)`` float32 each, in the scene; none to NaN or infinity."""
        return self.timed_beams()[:2]

    def timed_beams(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Read the beams and their times.

        Returns:
            where they begin and end, ``(n, 3)`` float32 each, in the scene; and when, ``(n,)`` float32 seconds relative
            to the time stamp.

        Raises:
            InputError: a file that is damaged, not in meters, or has sensors or times that cannot be.
        """
        size = require_file(self.path, RESTORE).stat().st_size
        if size % (4 * self.columns):
            raise InputError(
                f'{self.path}: {size} bytes are no whole number of points of {self.columns} floats; {RESTORE}'
            )
        points = np.fromfile(self.path, np.float32).reshape(-1, self.columns)
        points = points[np.isfinite(points[:, :3]).all(1)]
        check_ranges(points, self.path, RESTORE)
        sensors, delays = self._sensors(points), self._delays(points)
        rotation, shift = self.lidar2scene[:3, :3], self.lidar2scene[:3, 3]
        origins = (self.origins @ rotation.T + shift)[sensors]
        if self.origins_velocity is not None:
            origins += (self.origins_velocity @ rotation.T)[sensors] * (delays - self.origins_delay)[:, None]
        ends = points[:, :3].astype(np.float64) @ rotation.T + shift
        return origins.astype(np.float32), ends.astype(np.float32), delays

    def _sensors(self, points: np.ndarray) -> np.ndarray:
        """Return the number of the sensor of each point, ``(n,)``."""
        if self.sensor_column is None:
            return np.zeros(len(points), np.int64)
        numbers = points[:, self.sensor_column]
        unknown = ~np.isin(numbers, np.arange(len(self.origins)))
        if unknown.any():
            raise InputError(
                f'{self.path}: column {self.sensor_column} of a point is {numbers[unknown][0]:g}, no number of one of '
                f'its {len(self.origins)} sensors (from 0); {RESTORE}'
            )
        return numbers.astype(np.int64)

    def _delays(self, points: np.ndarray) -> np.ndarray:
        """Return the time of each point relative to that of the sweep, ``(n,)`` float32 seconds."""
        if self.time_column is None:
            return np.zeros(len(points), np.float32)
        delays = points[:, self.time_column]
        wrong = ~(np.abs(delays) <= LONGEST_DELAY)
        if wrong.any():
            raise InputError(
                f'{self.path}: column {self.time_column} of a point is {delays[wrong][0]:g}, no time in seconds within '
                f'{LONGEST_DELAY:g} s of the sweep; {RESTORE}'
            )
        return delays.copy()


@dataclass(frozen=True)
class Drive:
    """All that was recorded on a drive.

    Attributes:
        scene: its name.
        cameras: names of the cameras, in ring order.
        images: in order of time.
        sweeps: in order of time; empty without LiDAR.
        scene2global: ``(4, 4)`` float64.
    """

    scene: str
    cameras: tuple[str, ...]
    images: tuple[DriveImage, ...]
    sweeps: tuple[DriveSweep, ...]
    scene2global: np.ndarray

    @property
    def keyframes(self) -> tuple[int, ...]:
        """Return the numbers of the keyframes."""
        return tuple(sorted({image.frame for image in self.images if image.frame is not None}))

    def images_without(self, frames: Collection[int]) -> tuple[DriveImage, ...]:
        """Return the images but for those of keyframes, in order of time."""
        return tuple(image for image in self.images if image.frame is None or image.frame not in frames)

    def sweeps_without(self, frames: Collection[int]) -> tuple[DriveSweep, ...]:
        """Return the sweeps but for those of keyframes, in order of time."""
        return tuple(sweep for sweep in self.sweeps if sweep.frame is None or sweep.frame not in frames)


def scene_names(ann_files: Sequence[str]) -> tuple[str, ...]:
    """List the scenes of info files."""
    return tuple(dict.fromkeys(info['scene'] for path in ann_files for info in load_infos(path)[1]))


def load_drive(
    ann_files: Sequence[str], scene: str, roots: dict[str, str], own_car: Mapping[str, OwnCar] | None = None
) -> Drive:
    """Collect the images and sweeps of a scene from all info files that have frames of it.

    Args:
        ann_files: info files.
        scene: name of the scene.
        roots: folders of ``img``, ``lidar`` and ``truth``.
        own_car: where images show the own car, by camera.

    Raises:
        InputError: no such scene, or no such camera.
    """
    files = [load_infos(path) for path in ann_files]
    infos = sorted((i for _, part in files for i in part if i['scene'] == scene), key=lambda info: info['timestamp'])
    if not infos:
        known = ', '.join(list(dict.fromkeys(i['scene'] for _, part in files for i in part))[:10])
        raise InputError(f'scene {scene}: not in {", ".join(map(str, ann_files))}; there are {known}')
    cameras = tuple(files[0][0]['cameras'])
    if unknown := set(own_car or ()) - set(cameras):
        raise InputError(
            f'own_car: {sorted(unknown)[0]!r} is no camera of {ann_files[0]}; choose among {", ".join(cameras)}'
        )
    scene2global = np.asarray(infos[0]['lidar2global'], np.float64)
    images, sweeps = {}, {}
    for info in infos:
        for image in _images(info, inverse_pose(scene2global), roots, own_car or {}):
            images.setdefault(image.path, image)
        for sweep in _sweeps(info, inverse_pose(scene2global), roots):
            # A sweep that another keyframe lists, too, knows its own keyframe only there.
            if sweep.path not in sweeps or sweep.frame is not None:
                sweeps[sweep.path] = sweep
    return Drive(
        scene,
        cameras,
        tuple(sorted(images.values(), key=lambda image: (image.timestamp, image.camera))),
        tuple(sorted(sweeps.values(), key=lambda sweep: sweep.timestamp)),
        scene2global,
    )


def _images(
    info: Info, global2scene: np.ndarray, roots: dict[str, str], own_car: Mapping[str, OwnCar]
) -> list[DriveImage]:
    """Make the images of a keyframe and of the time between it and the keyframe before."""
    own = [(info['frame'], camera, image) for camera, image in info['images'].items()]
    between = [(None, camera, image) for camera, part in info.get('image_sweeps', {}).items() for image in part]
    return [
        DriveImage(
            path=str(Path(roots['img']) / image['img_path']),
            camera=camera,
            frame=frame,
            timestamp=image['timestamp'],
            height=image['height'],
            width=image['width'],
            intrinsics=np.asarray(image['cam2img'], np.float64),
            cam2scene=global2scene @ np.asarray(image['cam2global'], np.float64),
            teacher=dict(image.get('teacher', {})),
            truth={kind: str(Path(roots['truth']) / path) for kind, path in image.get('truth', {}).items()},
            own_car=own_car.get(camera),
            features=image.get('features') or None,
        )
        for frame, camera, image in (*own, *between)
    ]


def _sweeps(info: Info, global2scene: np.ndarray, roots: dict[str, str]) -> list[DriveSweep]:
    """Make the sweep of a keyframe and those that it lists."""
    own: list[tuple[int | None, dict[str, Any]]] = [(info['frame'], info)] if info['lidar_points'] else []
    sweeps = []
    for frame, record in (*own, *((None, sweep) for sweep in info.get('lidar_sweeps', []))):
        points = record['lidar_points']
        velocity = points.get('origins_velocity')
        if 'timestamp' not in record:
            raise InputError(f'{points["lidar_path"]}: its record among lidar_sweeps has no timestamp; {CONVERT_AGAIN}')
        sweeps.append(
            DriveSweep(
                path=str(Path(roots['lidar']) / points['lidar_path']),
                columns=points['num_pts_feats'],
                frame=frame,
                timestamp=record['timestamp'],
                lidar2scene=global2scene @ np.asarray(record['lidar2global'], np.float64),
                origins=np.asarray(points.get('origins', [[0.0, 0.0, 0.0]]), np.float64),
                sensor_column=points.get('sensor_column'),
                time_column=points.get('time_column'),
                origins_velocity=None if velocity is None else np.asarray(velocity, np.float64),
                origins_delay=points.get('origins_delay', 0.0),
            )
        )
    return sweeps
