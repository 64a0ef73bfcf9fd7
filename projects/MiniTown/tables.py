"""Rows of the nuScenes v1.0 tables."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .rig import CAMERAS, Lidar, box2world, quaternion

if TYPE_CHECKING:
    from .world import Box

TableRow = dict[str, Any]

TABLES = (
    'attribute',
    'calibrated_sensor',
    'category',
    'ego_pose',
    'instance',
    'log',
    'map',
    'sample',
    'sample_annotation',
    'sample_data',
    'scene',
    'sensor',
    'visibility',
)
VEHICLE = 'n000'
DATE = '2020-09-13'

# All categories of nuScenes, whether a town has them or not.
_CATEGORIES = (
    'animal',
    'human.pedestrian.adult',
    'human.pedestrian.child',
    'human.pedestrian.construction_worker',
    'human.pedestrian.personal_mobility',
    'human.pedestrian.police_officer',
    'human.pedestrian.stroller',
    'human.pedestrian.wheelchair',
    'movable_object.barrier',
    'movable_object.debris',
    'movable_object.pushable_pullable',
    'movable_object.trafficcone',
    'static_object.bicycle_rack',
    'vehicle.bicycle',
    'vehicle.bus.bendy',
    'vehicle.bus.rigid',
    'vehicle.car',
    'vehicle.construction',
    'vehicle.emergency.ambulance',
    'vehicle.emergency.police',
    'vehicle.motorcycle',
    'vehicle.trailer',
    'vehicle.truck',
)
_ATTRIBUTES = {
    'cycle.with_rider': 'Somebody rides it.',
    'cycle.without_rider': 'Nobody rides it.',
    'pedestrian.moving': 'The person walks.',
    'pedestrian.standing': 'The person stands.',
    'vehicle.moving': 'The vehicle drives.',
    'vehicle.parked': 'The vehicle stands and is not going to move.',
    'vehicle.stopped': 'The vehicle stands and is going to move.',
}
# Upper bounds of the visible share; the token is the position from 1 on.
_VISIBILITY = {'v0-40': 0.4, 'v40-60': 0.6, 'v60-80': 0.8, 'v80-100': 1.0}
# Slower than this stands still, m/s.
_STANDING = 0.2


def token(*names: object) -> str:
    """Return a token that depends on the names only."""
    return hashlib.md5('/'.join(map(str, ('minitown', *names))).encode(), usedforsecurity=False).hexdigest()


def common_rows() -> dict[str, list[TableRow]]:
    """Return the tables that are the same for every scene."""
    sensors = [('camera', camera.name) for camera in CAMERAS] + [('lidar', Lidar().name)]
    return {
        'attribute': [
            {'token': token('attribute', name), 'name': name, 'description': text} for name, text in _ATTRIBUTES.items()
        ],
        'category': [
            {'token': token('category', name), 'name': name, 'description': 'As in nuScenes.'} for name in _CATEGORIES
        ],
        'sensor': [
            {'token': token('sensor', channel), 'channel': channel, 'modality': modality}
            for modality, channel in sensors
        ],
        'visibility': [
            {'token': str(number), 'level': level, 'description': f'visibility of the whole object is {level[1:]} %'}
            for number, level in enumerate(_VISIBILITY, start=1)
        ],
    }


def visibility_token(share: float) -> str:
    """Return the token of the visibility table for a visible share in [0, 1]."""
    return str(1 + int(np.searchsorted(list(_VISIBILITY.values())[:-1], share)))


@dataclass(frozen=True)
class Shot:
    """One measurement of one sensor.

    Attributes:
        channel: the sensor.
        stamp: microseconds since the start of the scene.
        keyframe: index of the key frame that it belongs to; a sweep belongs to the key frame after it.
        is_key: whether it is that key frame's own.
    """

    channel: str
    stamp: int
    keyframe: int
    is_key: bool

    @property
    def time(self) -> float:
        """Return seconds since the start of the scene."""
        return self.stamp * 1e-6


class SceneTables:
    """Collects the rows of one scene.

    Args:
        name: of the scene.
        key: what the tokens of the scene are made of.
        start: of the scene, microseconds since 1970.
        height, width: image size, pixels.
    """

    def __init__(self, name: str, key: tuple[object, ...], start: int, height: int, width: int) -> None:
        self.name, self._key, self._start = name, key, start
        self._height, self._width = height, width
        self.rows: dict[str, list[TableRow]] = {table: [] for table in TABLES if table not in common_rows()}
        self._tracks: dict[str, list[TableRow]] = defaultdict(list)
        self._categories: dict[str, str] = {}
        for camera in CAMERAS:
            self._add_sensor(camera.name, camera.cam2ego, camera.intrinsics(height, width).tolist())
        self._add_sensor(Lidar().name, Lidar().lidar2ego, [])

    def token(self, *names: object) -> str:
        """Return a token of this scene."""
        return token(*self._key, *names)

    def stamp(self, shot: Shot) -> int:
        """Return microseconds since 1970."""
        return self._start + shot.stamp

    def stem(self, shot: Shot) -> str:
        """Return the file name of a measurement, without suffix."""
        return f'{self.name}__{shot.channel}__{self.stamp(shot)}'

    def add_samples(self, keyframes: list[Shot]) -> None:
        """Add the key frames, one for each LiDAR shot given, in the order of time."""
        tokens = [self.token('sample', index) for index in range(len(keyframes))]
        for row, shot in zip(_chained(tokens), keyframes, strict=True):
            row |= {'timestamp': self.stamp(shot), 'scene_token': self.token('scene')}
            self.rows['sample'].append(row)

    def add_data(self, shots: list[Shot], poses: np.ndarray, suffix: str) -> None:
        """Add the measurements of one sensor, in the order of time, with their ego poses ``(n, 4, 4)``."""
        tokens = [self.token('data', shot.channel, shot.stamp) for shot in shots]
        is_image = suffix == '.jpg'
        for row, shot, pose in zip(_chained(tokens), shots, poses, strict=True):
            folder = 'samples' if shot.is_key else 'sweeps'
            row |= {
                'sample_token': self.token('sample', shot.keyframe),
                'ego_pose_token': row['token'],
                'calibrated_sensor_token': self.token('calibration', shot.channel),
                'timestamp': self.stamp(shot),
                'fileformat': 'jpg' if is_image else 'pcd',
                'is_key_frame': shot.is_key,
                'height': self._height if is_image else 0,
                'width': self._width if is_image else 0,
                'filename': f'{folder}/{shot.channel}/{self.stem(shot)}{suffix}',
            }
            self.rows['sample_data'].append(row)
            self.rows['ego_pose'].append(
                {
                    'token': row['token'],
                    'timestamp': self.stamp(shot),
                    'rotation': quaternion(pose[:3, :3]),
                    'translation': pose[:3, 3].tolist(),
                }
            )

    def add_annotation(self, keyframe: int, box: Box, points: int, share: float, ever_moves: bool) -> None:
        """Add one object of one key frame; call in the order of time.

        Args:
            keyframe: index of the key frame.
            box: in the global frame.
            points: LiDAR points on it.
            share: of it that the cameras see, in [0, 1].
            ever_moves: whether it moves at any time of the scene.
        """
        if box.category not in _CATEGORIES:
            raise ValueError(f'{box.category} is no category of nuScenes')
        instance = self.token('instance', box.token)
        self._categories[instance] = box.category
        attribute = _attribute(box.category, float(np.hypot(*box.velocity)), ever_moves)
        row = {
            'token': self.token('annotation', keyframe, box.token),
            'sample_token': self.token('sample', keyframe),
            'instance_token': instance,
            'visibility_token': visibility_token(share),
            'attribute_tokens': [token('attribute', attribute)] if attribute else [],
            'translation': [float(value) for value in box.center],
            'size': [float(value) for value in box.size],
            'rotation': quaternion(box2world(box)[:3, :3]),
            'num_lidar_pts': int(points),
            'num_radar_pts': 0,
        }
        self._tracks[instance].append(row)

    def finish(self, description: str, map_file: str) -> dict[str, list[TableRow]]:
        """Link the annotations, add scene, log and map; return the rows of every table of this scene."""
        for instance, track in self._tracks.items():
            for link, row in zip(_chained([row['token'] for row in track]), track, strict=True):
                self.rows['sample_annotation'].append(row | link)
            self.rows['instance'].append(
                {
                    'token': instance,
                    'category_token': token('category', self._categories[instance]),
                    'nbr_annotations': len(track),
                    'first_annotation_token': track[0]['token'],
                    'last_annotation_token': track[-1]['token'],
                }
            )
        samples = self.rows['sample']
        self.rows['scene'].append(
            {
                'token': self.token('scene'),
                'log_token': self.token('log'),
                'nbr_samples': len(samples),
                'first_sample_token': samples[0]['token'],
                'last_sample_token': samples[-1]['token'],
                'name': self.name,
                'description': description,
            }
        )
        log = {'logfile': self.name, 'vehicle': VEHICLE, 'date_captured': DATE, 'location': self.name}
        self.rows['log'].append({'token': self.token('log'), **log})
        semantic = {'category': 'semantic_prior', 'filename': map_file, 'log_tokens': [self.token('log')]}
        self.rows['map'].append({'token': self.token('map'), **semantic})
        return self.rows

    def _add_sensor(self, channel: str, sensor2ego: np.ndarray, intrinsic: list[list[float]]) -> None:
        """Add the calibration of a sensor; a LiDAR has no intrinsics."""
        self.rows['calibrated_sensor'].append(
            {
                'token': self.token('calibration', channel),
                'sensor_token': token('sensor', channel),
                'translation': sensor2ego[:3, 3].tolist(),
                'rotation': quaternion(sensor2ego[:3, :3]),
                'camera_intrinsic': intrinsic,
            }
        )


def _chained(tokens: list[str]) -> list[TableRow]:
    """Return rows with ``token``, ``prev`` and ``next``."""
    return [
        {'token': current, 'prev': before, 'next': after}
        for before, current, after in zip(['', *tokens[:-1]], tokens, [*tokens[1:], ''], strict=True)
    ]


def _attribute(category: str, speed: float, ever_moves: bool) -> str | None:
    """Return the attribute of an object, if its category has any."""
    moving = speed > _STANDING
    if category.startswith('human.'):
        return 'pedestrian.moving' if moving else 'pedestrian.standing'
    if category in ('vehicle.bicycle', 'vehicle.motorcycle'):
        return 'cycle.with_rider' if ever_moves else 'cycle.without_rider'
    if category.startswith('vehicle.'):
        return 'vehicle.moving' if moving else 'vehicle.stopped' if ever_moves else 'vehicle.parked'
    return None
