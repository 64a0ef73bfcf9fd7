"""nuScenes tables -> infos, through nuscenes-devkit. Any data set written as nuScenes tables converts the same way.

Splits are the official ones, or those of a ``splits.json`` beside the table folder: ``{split: [scene names]}``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from nuscenes import NuScenes
from nuscenes.eval.detection.utils import category_to_detection_name
from nuscenes.utils.splits import create_splits_scenes
from tqdm import tqdm

from ...errors import InputError
from ...files import require_file
from ..boxes import DETECTION_CLASSES
from ..infos import Info, save_infos
from ..poses import inverse_pose, pose_matrix, quaternion_matrix
from .common import DOWNLOAD_AGAIN, camera_record, check_image_size, link_frames, sweep_record

CAMERAS = ('CAM_FRONT_LEFT', 'CAM_FRONT', 'CAM_FRONT_RIGHT', 'CAM_BACK_RIGHT', 'CAM_BACK', 'CAM_BACK_LEFT')
LIDAR = 'LIDAR_TOP'
POINT_COLUMNS = 5
OFFICIAL_SPLITS = {
    'v1.0-mini': {'train': 'mini_train', 'val': 'mini_val'},
    'v1.0-trainval': {'train': 'train', 'val': 'val'},
    'v1.0-test': {'test': 'test'},
}
TABLES = ('sample', 'sample_data', 'scene', 'ego_pose', 'calibrated_sensor', 'sensor', 'log', 'map', 'category')
TABLES += ('attribute', 'instance', 'sample_annotation', 'visibility')
MICROSECONDS = 1e6


def convert(
    root: Path,
    out_dir: Path,
    tag: str = 'nuscenes',
    version: str = 'v1.0-trainval',
    sweeps: int = 10,
    workers: int = 1,
    dataset: str = 'nuscenes',
    finish: Callable[[Info], None] | None = None,
) -> list[Path]:
    """Write ``{tag}_infos_{split}.pkl`` for every split of ``version``.

    Args:
        root: folder of ``samples``, ``sweeps`` and the table folder ``version``.
        out_dir: where the info files go.
        sweeps: how many LiDAR sweeps before each keyframe to list.
        workers: threads that compare image files with their records.
        dataset: name for ``metainfo``.
        finish: adds to each record what only this data set has.

    Returns:
        the info files.
    """
    scene_splits = _splits(root, version)
    nusc = _open_tables(root, version)
    scenes = {scene['name']: scene for scene in nusc.scene}
    written = []
    for split, names in scene_splits.items():
        if missing := [name for name in names if name not in scenes]:
            raise InputError(f'{root / version}: lacks scene {missing[0]} of split {split}; {DOWNLOAD_AGAIN}')
        infos: list[Info] = []
        for name in tqdm(names, desc=f'{dataset} {split}'):
            infos += _convert_scene(nusc, root, scenes[name], sweeps)
        for index, info in enumerate(infos):
            info['sample_idx'] = index
            if finish is not None:
                finish(info)
        _check_images(root, infos, workers)
        path = out_dir / f'{tag}_infos_{split}.pkl'
        save_infos(path, dataset, CAMERAS, infos, split=split, version=version, categories=_categories())
        written.append(path)
    return written


def _categories() -> dict[str, int]:
    return {name: label for label, name in enumerate(DETECTION_CLASSES)}


def _splits(root: Path, version: str) -> dict[str, Sequence[str]]:
    """Scene names of each split."""
    path = root / 'splits.json'
    if path.is_file():
        try:
            splits = json.loads(path.read_text())
        except ValueError as error:
            raise InputError(f'{path}: not readable as JSON ({error}); {DOWNLOAD_AGAIN}') from error
        if not isinstance(splits, dict) or not all(isinstance(names, list) for names in splits.values()):
            raise InputError(f'{path}: is not of the form {{split: [scene names]}}; {DOWNLOAD_AGAIN}')
        return {split: names for split, names in splits.items() if names}
    if version not in OFFICIAL_SPLITS:
        raise InputError(f'version {version} has no official splits; use {", ".join(OFFICIAL_SPLITS)} or write {path}')
    official = create_splits_scenes()
    return {split: official[name] for split, name in OFFICIAL_SPLITS[version].items()}


def _open_tables(root: Path, version: str) -> NuScenes:
    folder = root / version
    if not folder.is_dir():
        raise InputError(f'{folder}: no such folder of tables; give the data root and --version that are there')
    for name in TABLES:
        path = require_file(folder / f'{name}.json', DOWNLOAD_AGAIN)
        # A table cut short has lost its closing bracket; parsing all of them here would double the loading time.
        with path.open('rb') as file:
            file.seek(-min(64, path.stat().st_size), 2)
            if not file.read().rstrip().endswith(b']'):
                raise InputError(f'{path}: the table is cut short; {DOWNLOAD_AGAIN}')
    try:
        return NuScenes(version, str(root), verbose=False)
    except (AssertionError, ValueError, KeyError) as error:  # the devkit asserts that the map masks are there
        raise InputError(
            f'{folder}: nuscenes-devkit cannot load the tables ({type(error).__name__}: {error}); {DOWNLOAD_AGAIN}'
        ) from error


def _convert_scene(nusc: NuScenes, root: Path, scene: dict[str, Any], sweeps: int) -> list[Info]:
    """The linked infos of one scene, in order of time."""
    infos = []
    token = scene['first_sample_token']
    try:
        while token:
            sample = nusc.get('sample', token)
            infos.append(_convert_sample(nusc, sample, scene['name'], len(infos), sweeps))
            token = sample['next']
    except KeyError as error:
        raise InputError(
            f'{root / nusc.version}: scene {scene["name"]}, sample {token}: {error} is not in the tables; '
            f'{DOWNLOAD_AGAIN}'
        ) from error
    link_frames(infos)
    return infos


def _convert_sample(nusc: NuScenes, sample: dict[str, Any], scene: str, frame: int, sweeps: int) -> Info:
    lidar = nusc.get('sample_data', sample['data'][LIDAR])
    sensor2ego, ego2global = _poses(nusc, lidar)
    lidar2global = ego2global @ sensor2ego
    return {
        'token': sample['token'],
        'scene': scene,
        'frame': frame,
        'timestamp': sample['timestamp'] / MICROSECONDS,
        'ego2global': ego2global.tolist(),
        'lidar2global': lidar2global.tolist(),
        'images': {camera: _camera(nusc, sample, camera, lidar2global) for camera in CAMERAS},
        'lidar_points': {
            'lidar_path': lidar['filename'],
            'num_pts_feats': POINT_COLUMNS,
            'lidar2ego': sensor2ego.tolist(),
        },
        'lidar_sweeps': _sweeps(nusc, lidar, lidar2global, sweeps),
        'instances': _instances(nusc, sample, lidar2global),
    }


def _poses(nusc: NuScenes, data: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Sensor to ego and ego to global at the time of this measurement."""
    sensor = nusc.get('calibrated_sensor', data['calibrated_sensor_token'])
    ego = nusc.get('ego_pose', data['ego_pose_token'])
    return (
        pose_matrix(sensor['rotation'], sensor['translation'], f'calibrated_sensor {sensor["token"]}'),
        pose_matrix(ego['rotation'], ego['translation'], f'ego_pose {ego["token"]}'),
    )


def _camera(nusc: NuScenes, sample: dict[str, Any], camera: str, lidar2global: np.ndarray) -> Info:
    data = nusc.get('sample_data', sample['data'][camera])
    cam2ego, ego2global = _poses(nusc, data)
    intrinsics = nusc.get('calibrated_sensor', data['calibrated_sensor_token'])['camera_intrinsic']
    record = camera_record(
        camera,
        data['filename'],
        (data['height'], data['width']),
        np.asarray(intrinsics, dtype=np.float64),
        ego2global @ cam2ego,
        lidar2global,
        ego2global,
        data['timestamp'] / MICROSECONDS,
    )
    return {**record, 'sample_data_token': data['token']}


def _sweeps(nusc: NuScenes, lidar: dict[str, Any], lidar2global: np.ndarray, count: int) -> list[Info]:
    """The LiDAR measurements before a keyframe, newest first."""
    sweeps = []
    while lidar['prev'] and len(sweeps) < count:
        lidar = nusc.get('sample_data', lidar['prev'])
        sensor2ego, ego2global = _poses(nusc, lidar)
        sweep2global = ego2global @ sensor2ego
        measurement = {
            'timestamp': lidar['timestamp'] / MICROSECONDS,
            'ego2global': ego2global.tolist(),
            'lidar2global': sweep2global.tolist(),
            'lidar_points': {
                'lidar_path': lidar['filename'],
                'num_pts_feats': POINT_COLUMNS,
                'lidar2ego': sensor2ego.tolist(),
            },
        }
        record = sweep_record(measurement, inverse_pose(sweep2global) @ lidar2global)
        sweeps.append({'sample_data_token': lidar['token'], **record})
    return sweeps


def _instances(nusc: NuScenes, sample: dict[str, Any], lidar2global: np.ndarray) -> list[Info]:
    """Boxes (x, y, z, length, width, height, yaw) in the LiDAR frame; label -1 outside the detection classes."""
    global2lidar = inverse_pose(lidar2global)
    labels = _categories()
    boxes = []
    for token in sample['anns']:
        annotation = nusc.get('sample_annotation', token)
        where = f'sample_annotation {token}'
        rotation = global2lidar[:3, :3] @ quaternion_matrix(annotation['rotation'], where)
        centre = global2lidar[:3, :3] @ annotation['translation'] + global2lidar[:3, 3]
        width, length, height = annotation['size']
        velocity = global2lidar[:3, :3] @ nusc.box_velocity(token)
        label = labels.get(category_to_detection_name(annotation['category_name']), -1)
        boxes.append(
            {
                'bbox_3d': [*centre.tolist(), length, width, height, float(np.arctan2(rotation[1, 0], rotation[0, 0]))],
                'bbox_3d_isvalid': annotation['num_lidar_pts'] + annotation['num_radar_pts'] > 0,
                'bbox_label': label,
                'bbox_label_3d': label,
                'category': annotation['category_name'],
                'num_lidar_pts': annotation['num_lidar_pts'],
                'num_radar_pts': annotation['num_radar_pts'],
                'velocity': velocity[:2].tolist(),
                'instance_token': annotation['instance_token'],
            }
        )
    return boxes


def _check_images(root: Path, infos: Sequence[Info], workers: int) -> None:
    """Compare every image file with the size in its record; every sweep of a keyframe must be there."""
    for info in infos:
        require_file(root / info['lidar_points']['lidar_path'], DOWNLOAD_AGAIN)
    images = [image for info in infos for image in info['images'].values()]
    with ThreadPoolExecutor(max(1, workers)) as pool:
        checks = pool.map(lambda i: check_image_size(root / i['img_path'], (i['height'], i['width'])), images)
        for _ in tqdm(checks, total=len(images), desc='images'):
            pass
