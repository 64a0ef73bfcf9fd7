"""nuScenes tables to infos, through nuscenes-devkit. Any data set written as nuScenes tables converts the same way.

Splits are the official ones, or those of a ``splits.json`` beside the table folder: ``{split: [scene names]}``.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from nuscenes import NuScenes
from nuscenes.eval.detection.utils import category_to_detection_name
from nuscenes.utils.splits import create_splits_scenes
from tqdm import tqdm

from ...geometry.boxes import DETECTION_CLASSES
from ...geometry.poses import inverse_pose, pose_matrix, quaternion_matrix
from ...utils.errors import InputError, warn
from ...utils.files import read_json, require_file
from ..drive_checks import first_few
from ..info_arrays import is_finite, is_name
from ..infos import Info, InfoFile, save_info_files
from .common import (
    DOWNLOAD_AGAIN,
    camera_record,
    check_images,
    choose_cameras,
    link_frames,
    number_samples,
    same_cameras,
    sweep_record,
    units_per_second,
)
from .scene_files import check_first_points, complete_scenes, drop_missing_images, drop_missing_sweeps, plain_path
from .table_links import check_links

# The rig of nuScenes; other tables may have others.
CAMERAS = ('CAM_FRONT_LEFT', 'CAM_FRONT', 'CAM_FRONT_RIGHT', 'CAM_BACK_RIGHT', 'CAM_BACK', 'CAM_BACK_LEFT')
LIDAR = 'LIDAR_TOP'
COLUMNS_PER_POINT = 5
MODALITIES = ('camera', 'lidar', 'radar')
# How the categories of nuScenes begin; those that are no detection class are known, too.
KNOWN_CATEGORIES = ('animal', 'human.', 'movable_object.', 'static_object.', 'vehicle.')
OFFICIAL_SPLITS = {
    'v1.0-mini': {'train': 'mini_train', 'val': 'mini_val'},
    'v1.0-trainval': {'train': 'train', 'val': 'val'},
    'v1.0-test': {'test': 'test'},
}
TABLES = ('sample', 'sample_data', 'scene', 'ego_pose', 'calibrated_sensor', 'sensor', 'log', 'map', 'category')
TABLES += ('attribute', 'instance', 'sample_annotation', 'visibility')


def convert(
    root: Path,
    out_dir: Path,
    tag: str = 'nuscenes',
    version: str = 'v1.0-trainval',
    sweeps: int = 10,
    workers: int = 1,
    dataset: str = 'nuscenes',
    finish: Callable[[Info], None] | None = None,
    cameras: Sequence[str] | None = None,
    skip_incomplete: bool = False,
    image_sweeps: bool = False,
) -> list[Path]:
    """Write ``{tag}_infos_{split}.pkl`` for every split of ``version``.

    Args:
        root: folder of ``samples``, ``sweeps`` and the table folder ``version``.
        out_dir: where the info files go.
        tag: how the names of the info files begin.
        version: name of the table folder.
        sweeps: how many LiDAR sweeps before each keyframe to list.
        workers: threads that compare image files with their records.
        dataset: name for ``metainfo``.
        finish: adds to each record what only this data set has.
        cameras: channels of the cameras to convert; None takes all that are there.
        skip_incomplete: leave out scenes of which files are missing.
        image_sweeps: list the images between keyframes, too; and at least all LiDAR sweeps since the keyframe before,
            so that the records of a scene name all that was measured in it.

    Returns:
        the info files.
    """
    check_sweep_count(sweeps)
    tables = _open_tables(root, version)
    linked = ('sample', 'sample_data', 'sample_annotation', 'instance')
    splits = {split: _scenes(tables, names, split) for split, names in _splits(root, version).items()}
    check_links({name: getattr(tables, name) for name in linked}, root / version)
    everything = [scene for scenes in splits.values() for scene in scenes]
    rig = _Rig(tables, everything, cameras)
    needed = {scene.name: rig.files(scene) for scene in everything}
    whole = set(complete_scenes(needed, root, skip_incomplete))
    files = []
    for split, scenes in splits.items():
        there = [scene for scene in scenes if scene.name in whole]
        if not there:
            warn(f'{root / version}: no scene of split {split} is complete: no info file of it is written')
            continue
        infos = [
            info
            for scene in tqdm(there, desc=f'{dataset} {split}')
            for info in rig.convert(scene, sweeps, image_sweeps)
        ]
        number_samples(infos)
        for info in infos if finish is not None else ():
            finish(info)
        ring = same_cameras(infos, root / version)
        check_first_points(infos, root)
        drop_missing_sweeps(infos, root)
        if image_sweeps:
            _warn_of_no_images(infos, root / version)
            drop_missing_images(infos, root)
        _warn_of_missing(infos, sweeps, root / version)
        path = out_dir / f'{tag}_infos_{split}.pkl'
        check_images(root, infos, path, workers)
        more = {'split': split, 'version': version, 'categories': _categories()}
        files.append(InfoFile(path, dataset, ring, infos, root / version, more))
    save_info_files(files)
    return [file.path for file in files]


def _warn_of_missing(infos: Sequence[Info], sweeps: int, where: Path) -> None:
    """Warn of records without the sweeps that were asked for, and of boxes of unknown categories."""
    if sweeps and len(infos) > 1 and not any(info['lidar_sweeps'] for info in infos):
        warn(f'{where}: no keyframe has LiDAR sweeps before it (prev in sample_data.json)')
    names = [box['category'] for info in infos for box in info['instances']]
    if unknown := [name for name in names if not str(name).startswith(KNOWN_CATEGORIES)]:
        warn(
            f'{where}: {len(unknown)} of {len(names)} boxes have categories that are none of nuScenes '
            f'({first_few(sorted(set(map(str, unknown))))}) and no class for the detection head'
        )


def _warn_of_no_images(infos: Sequence[Info], where: Path) -> None:
    """Warn where the tables have no images between keyframes at all."""
    if len(infos) > 1 and not any(images for info in infos for images in info['image_sweeps'].values()):
        warn(f'{where}: no keyframe has images between it and the keyframe before (prev in sample_data.json)')


def check_sweep_count(sweeps: int) -> None:
    """Check that a number of sweeps is 0 or more."""
    if sweeps < 0:
        raise InputError(f'--sweeps is {sweeps}; give 0 or more')


def _categories() -> dict[str, int]:
    """Return the label of every detection class."""
    return {name: label for label, name in enumerate(DETECTION_CLASSES)}


def _splits(root: Path, version: str) -> dict[str, Sequence[str]]:
    """Return the scene names of each split, from ``splits.json`` or the official ones."""
    path = root / 'splits.json'
    if path.is_file():
        splits = read_json(path, DOWNLOAD_AGAIN)
        if not isinstance(splits, dict) or not all(map(_are_names, splits.values())):
            raise InputError(f'{path}: is not of the form {{split: [scene names]}}; {DOWNLOAD_AGAIN}')
        for split, names in splits.items():
            if len(set(names)) < len(names):
                raise InputError(f'{path}: split {split} names a scene twice; correct it')
            if not names:
                warn(f'{path}: split {split} names no scenes: no info file of it is written')
        counts = Counter(name for names in splits.values() for name in names)
        if shared := [name for name, count in counts.items() if count > 1]:
            warn(f'{path}: scene {shared[0]} is in more than one split (so are {len(shared) - 1} others)')
        return {split: names for split, names in splits.items() if names}
    if version not in OFFICIAL_SPLITS:
        raise InputError(f'version {version} has no official splits; use {", ".join(OFFICIAL_SPLITS)} or write {path}')
    official = create_splits_scenes()
    return {split: official[name] for split, name in OFFICIAL_SPLITS[version].items()}


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


class _Tables(NuScenes):
    """Load the devkit's tables in any encoding of Unicode; name a damaged one."""

    def __load_table__(self, table_name: str) -> list[dict[str, Any]]:
        return read_json(Path(self.table_root) / f'{table_name}.json', DOWNLOAD_AGAIN)


def _open_tables(root: Path, version: str) -> NuScenes:
    """Load the tables; raise :class:`InputError` if one is missing or damaged."""
    folder = root / version
    if not folder.is_dir():
        raise InputError(f'{folder}: no such folder of tables; {_where_tables_are(root)}')
    for name in TABLES:
        path = require_file(folder / f'{name}.json', DOWNLOAD_AGAIN)
        # A table cut short has lost its closing bracket; parsing all of them here would double the loading time.
        with path.open('rb') as file:
            file.seek(-min(64, path.stat().st_size), 2)
            if not file.read().rstrip().endswith(b']'):
                raise InputError(f'{path}: the table is cut short; {DOWNLOAD_AGAIN}')
    try:
        return _Tables(version, str(root), verbose=False)
    except (AssertionError, AttributeError, TypeError, ValueError, KeyError) as error:
        # The devkit asserts that the map masks are there.
        raise InputError(
            f'{folder}: nuscenes-devkit cannot load the tables ({type(error).__name__}: {error}); {DOWNLOAD_AGAIN}'
        ) from error


def _where_tables_are(root: Path) -> str:
    """Say where the tables are instead, if that can be seen."""
    if (root / 'sample_data.json').is_file():
        return f'{root} is a folder of tables itself; give --root-path {root.resolve().parent} --version {root.name}'
    found = sorted(path.parent.name for path in root.glob('*/sample_data.json'))
    if found:
        return f'there is {", ".join(found)}; give --version {found[0]}'
    deeper = sorted(path.parent.parent for path in root.glob('*/*/sample_data.json'))
    if deeper:
        return f'there are tables in {deeper[0]}; give --root-path {deeper[0]}'
    return 'give --root-path the folder that holds samples, sweeps and the tables, and --version the name of the latter'


@dataclass(frozen=True)
class _Scene:
    """A scene and its keyframes, in order of time."""

    name: str
    samples: Sequence[dict[str, Any]]


def _scenes(nusc: NuScenes, names: Sequence[str], split: str) -> list[_Scene]:
    """Return the scenes of a split; raise :class:`InputError` if the tables lack one."""
    where = Path(nusc.dataroot) / nusc.version
    scenes = {scene['name']: scene for scene in nusc.scene if isinstance(scene.get('name'), str)}
    if missing := [name for name in names if name not in scenes]:
        raise InputError(
            f'{where}: lacks {len(missing)} of {len(names)} scenes of split {split} ({first_few(missing)}); '
            f'{DOWNLOAD_AGAIN}, or write the scenes that it has to {where.parent / "splits.json"}'
        )
    return [_Scene(name, _samples(nusc, scenes[name], where)) for name in names]


def _samples(nusc: NuScenes, scene: dict[str, Any], where: Path) -> list[dict[str, Any]]:
    """Return the keyframes of a scene, by their links."""
    samples, seen = [], set()
    token = scene.get('first_sample_token')
    while token:
        if not isinstance(token, str):
            raise InputError(f'{where}: scene {scene["name"]}: {token!r} is no token of a sample; {DOWNLOAD_AGAIN}')
        if token in seen:
            raise InputError(f'{where}: scene {scene["name"]}: next leads round to {token} again; {DOWNLOAD_AGAIN}')
        seen.add(token)
        try:
            sample = nusc.get('sample', token)
            token = sample['next']
        except (KeyError, TypeError) as error:
            raise InputError(
                f'{where}: scene {scene["name"]}, sample {token}: {error} is not in the tables; {DOWNLOAD_AGAIN}'
            ) from error
        samples.append(sample)
    if not samples:
        raise InputError(f'{where}: scene {scene["name"]} has no samples; {DOWNLOAD_AGAIN}')
    expected = scene.get('nbr_samples', len(samples))
    if expected != len(samples):
        raise InputError(
            f'{where}: scene {scene["name"]} has {expected} samples, and their links lead to {len(samples)}; '
            f'{DOWNLOAD_AGAIN}'
        )
    return samples


class _Rig:
    """The sensors that are converted, and the records that they make."""

    def __init__(self, nusc: NuScenes, scenes: Sequence[_Scene], wanted: Sequence[str] | None) -> None:
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

    def files(self, scene: _Scene) -> list[str]:
        """List the images and LiDAR files of the keyframes of a scene, relative to the data root."""
        channels = [(sample, name) for sample in scene.samples for name in (*self._channels(sample), self._lidar)]
        return [self._file(self._data(sample, name)) for sample, name in channels]

    def _file(self, data: dict[str, Any]) -> str:
        """Return the file of a measurement, relative to the data root."""
        name = data.get('filename')
        if not is_name(name):
            raise InputError(f'{self._where}/sample_data.json: {data["token"]}: filename is {name!r}; {DOWNLOAD_AGAIN}')
        return plain_path(name)

    def convert(self, scene: _Scene, sweeps: int, image_sweeps: bool) -> list[Info]:
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


def _number(record: dict[str, Any], field: str, where: Path) -> float:
    """Return a finite number; raise :class:`InputError` for anything else."""
    value = record.get(field)
    if not is_finite(value):
        raise InputError(f'{where}: {record.get("token")}: {field} is {value!r}, not a finite number; {DOWNLOAD_AGAIN}')
    return value


def _instances(nusc: NuScenes, sample: dict[str, Any], lidar2global: np.ndarray) -> list[Info]:
    """Make the boxes (x, y, z, length, width, height, yaw) in the LiDAR frame; label -1: no detection class."""
    global2lidar = inverse_pose(lidar2global)
    labels = _categories()
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
