"""The sensors of nuScenes tables that are converted, and the records that they make."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from nuscenes import NuScenes
from nuscenes.eval.detection.utils import category_to_detection_name

from ...geometry.boxes import DETECTION_CLASSES
from ...geometry.poses import inverse_pose, pose_matrix, quaternion_matrix
from ...utils.errors import InputError, warn
from ..info_arrays import is_finite, is_name
from ..infos import Info
from .common import DOWNLOAD_AGAIN, camera_record, choose_cameras, link_frames, sweep_record, units_per_second
from .nuscenes_tables import Scene
from .scene_files import plain_path

LIDAR = 'LIDAR_TOP'
COLUMNS_PER_POINT = 5
MODALITIES = ('camera', 'lidar', 'radar')


class Rig:
    """The sensors that are converted, and the records that they make."""

    def __init__(self, nusc: NuScenes, scenes: Sequence[Scene], wanted: Sequence[str] | None) -> None:
        self._nusc = nusc
        self._where = Path(nusc.dataroot) / nusc.version
        channels = dict.fromkeys(name for scene in scenes for sample in scene.samples for name in sample['data'])
        if not channels:
            raise InputError(
                f'{self._where}/sample_data.json: none of its measurements is a keyframe (is_key_frame) of these '
                f'scenes; {DOWNLOAD_AGAIN}'
            )
        modality = {sensor.get('channel'): sensor.get('modality') for sensor in nusc.sensor}
        for name in channels:
            if not isinstance(name, str) or modality.get(name) not in MODALITIES:
                raise InputError(
                    f'{self._where}/sensor.json: channel {name!r} is of modality {modality.get(name)!r}, not '
                    f'{", ".join(MODALITIES)}; {DOWNLOAD_AGAIN}'
                )
        there = [name for name in channels if modality.get(name) == 'camera']
        self._cameras = choose_cameras(there, wanted, self._where)
        self._lidar = self._choose_lidar([name for name in channels if modality.get(name) == 'lidar'])
        times = [_number(sample, 'timestamp', self._where) for scene in scenes for sample in scene.samples]
        in_scene = [scene.name for scene in scenes for _ in scene.samples]
        pairs = zip(in_scene, times, in_scene[1:], times[1:], strict=False)
        steps = [later - time for name, time, other, later in pairs if name == other and later > time]
        self._unit = units_per_second(times, steps, 'microseconds', self._where)

    def _choose_lidar(self, there: Sequence[str]) -> str:
        """Return the LiDAR to convert: ``LIDAR_TOP``, else one whose name has TOP, else the first by name."""
        if not there:
            raise InputError(
                f'{self._where}: its keyframes have no LiDAR, whose frame is the world of the network; give tables '
                'with one, or reconstruct images alone with tools/infer.py (docs/OWN_DATA.md)'
            )
        chosen = LIDAR if LIDAR in there else sorted(there, key=lambda name: ('TOP' not in name.upper(), name))[0]
        if len(there) > 1:
            warn(f'{self._where}: of its LiDARs {", ".join(there)}, {chosen} is converted')
        return chosen

    def _data(self, sample: dict[str, Any], channel: str) -> dict[str, Any]:
        """Return the keyframe measurement of a sensor."""
        if channel not in sample['data']:
            raise InputError(
                f'{self._where}: sample {sample["token"]} has no keyframe of {channel} (is_key_frame in '
                f'sample_data.json); {DOWNLOAD_AGAIN}'
            )
        return self._nusc.get('sample_data', sample['data'][channel])

    def _channels(self, sample: dict[str, Any]) -> list[str]:
        """Return the cameras to convert that a keyframe has."""
        return [camera for camera in self._cameras if camera in sample['data']]

    def files(self, scene: Scene) -> list[str]:
        """List the images and LiDAR files of the keyframes of a scene, relative to the data root."""
        channels = [(sample, name) for sample in scene.samples for name in (*self._channels(sample), self._lidar)]
        return [self._file(self._data(sample, name)) for sample, name in channels]

    def _file(self, data: dict[str, Any]) -> str:
        """Return the file of a measurement, relative to the data root."""
        name = data.get('filename')
        if not is_name(name):
            raise InputError(f'{self._where}/sample_data.json: {data["token"]}: filename is {name!r}; {DOWNLOAD_AGAIN}')
        return plain_path(name)

    def convert(self, scene: Scene, sweeps: int, image_sweeps: bool) -> list[Info]:
        """Make the linked infos of one scene, in order of time."""
        infos = []
        for frame, sample in enumerate(scene.samples):
            where = f'{self._where}: scene {scene.name}, sample {sample["token"]}'
            try:
                info = self._sample(sample, scene.name, frame, sweeps, sweeps > 0 and image_sweeps)
                if image_sweeps:
                    info['image_sweeps'] = self._image_sweeps(sample)
                infos.append(info)
            except KeyError as error:
                raise InputError(f'{where}: {error} is not in the tables; {DOWNLOAD_AGAIN}') from error
            except (OverflowError, TypeError, ValueError) as error:
                raise InputError(f'{where}: a record holds no numbers ({error}); {DOWNLOAD_AGAIN}') from error
        link_frames(infos)
        return infos

    def _sample(self, sample: dict[str, Any], scene: str, frame: int, sweeps: int, all_sweeps: bool) -> Info:
        """Make the info of one keyframe, with so many LiDAR sweeps, or all since the keyframe before, too."""
        lidar = self._data(sample, self._lidar)
        sensor2ego, ego2global = self._poses(lidar)
        lidar2global = ego2global @ sensor2ego
        return {
            'token': sample['token'],
            'scene': scene,
            'frame': frame,
            'timestamp': self._seconds(sample),
            'ego2global': ego2global.tolist(),
            'lidar2global': lidar2global.tolist(),
            'images': {camera: self._camera(sample, camera, lidar2global) for camera in self._channels(sample)},
            'lidar_points': self._points(lidar, sensor2ego),
            'lidar_sweeps': self._sweeps(lidar, lidar2global, sweeps, all_sweeps),
            'instances': _instances(self._nusc, sample, lidar2global),
        }

    def _seconds(self, record: dict[str, Any]) -> float:
        return _number(record, 'timestamp', self._where) / self._unit

    def _points(self, data: dict[str, Any], sensor2ego: np.ndarray) -> Info:
        return {'lidar_path': self._file(data), 'num_pts_feats': COLUMNS_PER_POINT, 'lidar2ego': sensor2ego.tolist()}

    def _poses(self, data: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        """Return the poses sensor to ego and ego to global, at the time of this measurement."""
        poses = []
        for table in ('calibrated_sensor', 'ego_pose'):
            record = self._nusc.get(table, data[f'{table}_token'])
            where = f'{self._where}/{table}.json: {record["token"]}'
            poses.append(pose_matrix(record['rotation'], record['translation'], where))
        return poses[0], poses[1]

    def _camera(self, sample: dict[str, Any], camera: str, lidar2global: np.ndarray) -> Info:
        """Make the record of one image."""
        data = self._data(sample, camera)
        cam2ego, ego2global = self._poses(data)
        record = camera_record(
            camera,
            self._file(data),
            (data['height'], data['width']),
            self._intrinsics(data, camera),
            ego2global @ cam2ego,
            lidar2global,
            ego2global,
            self._seconds(data),
        )
        return {**record, 'sample_data_token': data['token']}

    def _intrinsics(self, data: dict[str, Any], camera: str) -> np.ndarray:
        """Return the pinhole matrix ``(3, 3)`` of a measurement."""
        sensor = self._nusc.get('calibrated_sensor', data['calibrated_sensor_token'])
        matrix = np.asarray(sensor['camera_intrinsic'], dtype=np.float64)
        if matrix.shape != (3, 3):
            what = 'empty' if not matrix.size else f'of shape {matrix.shape}'
            raise InputError(
                f'{self._where}/calibrated_sensor.json: {sensor["token"]} ({camera}): camera_intrinsic is {what}, not '
                f'3 x 3; {DOWNLOAD_AGAIN}, or leave the camera out with --cameras'
            )
        return matrix

    def _image_sweeps(self, sample: dict[str, Any]) -> dict[str, list[Info]]:
        """Make the records of the images since the keyframe before, oldest first, of every camera."""
        return {
            camera: [self._image_sweep(data, camera) for data in self._since_keyframe(self._data(sample, camera))][::-1]
            for camera in self._channels(sample)
        }

    def _image_sweep(self, data: dict[str, Any], camera: str) -> Info:
        """Make the record of an image between keyframes."""
        cam2ego, ego2global = self._poses(data)
        return {
            'img_path': self._file(data),
            'height': data['height'],
            'width': data['width'],
            'timestamp': self._seconds(data),
            'cam2img': self._intrinsics(data, camera).tolist(),
            'cam2ego': cam2ego.tolist(),
            'cam2global': (ego2global @ cam2ego).tolist(),
            'sample_data_token': data['token'],
        }

    def _before(self, data: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield the measurements of a sensor before one, newest first."""
        seen = {data['token']}
        while data['prev']:
            data = self._nusc.get('sample_data', data['prev'])
            if data['token'] in seen:
                raise InputError(
                    f'{self._where}/sample_data.json: {data["token"]}: prev leads round to it again; {DOWNLOAD_AGAIN}'
                )
            seen.add(data['token'])
            yield data

    def _since_keyframe(self, data: dict[str, Any]) -> list[dict[str, Any]]:
        """List the measurements of a sensor after the keyframe before a measurement, newest first."""
        return list(itertools.takewhile(lambda other: not other['is_key_frame'], self._before(data)))

    def _sweeps(self, lidar: dict[str, Any], lidar2global: np.ndarray, count: int, all_sweeps: bool) -> list[Info]:
        """Make the records of the LiDAR measurements before a keyframe, newest first."""
        if all_sweeps:
            count = max(count, len(self._since_keyframe(lidar)))
        sweeps = []
        for data in itertools.islice(self._before(lidar), count):
            sensor2ego, ego2global = self._poses(data)
            sweep2global = ego2global @ sensor2ego
            measurement = {
                'timestamp': self._seconds(data),
                'ego2global': ego2global.tolist(),
                'lidar2global': sweep2global.tolist(),
                'lidar_points': self._points(data, sensor2ego),
            }
            record = sweep_record(measurement, inverse_pose(sweep2global) @ lidar2global)
            sweeps.append({'sample_data_token': data['token'], **record})
        return sweeps


def categories() -> dict[str, int]:
    """Return the label of every detection class."""
    return {name: label for label, name in enumerate(DETECTION_CLASSES)}


def _number(record: dict[str, Any], field: str, where: Path) -> float:
    """Return a finite number; raise :class:`InputError` for anything else."""
    value = record.get(field)
    if not is_finite(value):
        raise InputError(f'{where}: {record.get("token")}: {field} is {value!r}, not a finite number; {DOWNLOAD_AGAIN}')
    return value


def _instances(nusc: NuScenes, sample: dict[str, Any], lidar2global: np.ndarray) -> list[Info]:
    """Make the boxes (x, y, z, length, width, height, yaw) in the LiDAR frame; label -1: no detection class."""
    global2lidar = inverse_pose(lidar2global)
    labels = categories()
    boxes = []
    for token in sample['anns']:
        annotation = nusc.get('sample_annotation', token)
        where = f'{Path(nusc.dataroot) / nusc.version}/sample_annotation.json: {token}'
        rotation = global2lidar[:3, :3] @ quaternion_matrix(annotation['rotation'], where)
        if not np.isfinite(np.asarray(annotation['translation'], dtype=np.float64)).all():
            raise InputError(f'{where}: translation holds NaN or infinity; {DOWNLOAD_AGAIN}')
        center = global2lidar[:3, :3] @ annotation['translation'] + global2lidar[:3, 3]
        width, length, height = annotation['size']
        # Times that do not differ are refused later, with the file that has them.
        with np.errstate(divide='ignore', invalid='ignore'):
            velocity = global2lidar[:3, :3] @ nusc.box_velocity(token)
        counts = {key: int(annotation[key]) for key in ('num_lidar_pts', 'num_radar_pts')}
        label = labels.get(category_to_detection_name(annotation['category_name']), -1)
        boxes.append(
            {
                'bbox_3d': [*center.tolist(), length, width, height, float(np.arctan2(rotation[1, 0], rotation[0, 0]))],
                'bbox_3d_isvalid': sum(counts.values()) > 0,
                'bbox_label': label,
                'bbox_label_3d': label,
                'category': annotation['category_name'],
                **counts,
                'velocity': velocity[:2].tolist(),
                'instance_token': annotation['instance_token'],
            }
        )
    return boxes
