"""A plain mmdet3d v2 info pickle -> infos: whoever has the pickle does not need the tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import InputError
from ..infos import Info, read_pickle, save_infos
from ..poses import check_poses, inverse_pose
from .common import camera_record, image_size, link_frames
from .nuscenes import CAMERAS, LIDAR

CURE = "give an info pickle of mmdet3d's v2 format (metainfo and data_list)"
# Keyframes of nuScenes are 0.5 s apart; a longer pause is another scene.
MAX_GAP = 1.0


def from_mmdet3d_info(pickle_path: Path, root: Path, out_dir: Path, tag: str = 'nuscenes') -> Path:
    """Write ``{tag}_infos_{split}.pkl`` from an info pickle of mmdet3d.

    Scenes are told apart by log (the start of the LiDAR file name) and by pauses of more than a second, since the v2
    format names no scenes. Image files are looked for as named below ``root`` and in ``samples/<camera>``.

    Args:
        pickle_path: the pickle; its name tells the split (train, val, test, else all).
        root: data root that the files are relative to.
        out_dir: where the info file goes.

    Returns:
        the info file.
    """
    content = read_pickle(pickle_path, CURE)
    if not isinstance(content, dict) or not content.get('data_list'):
        raise InputError(f'{pickle_path}: holds no data_list; {CURE}')
    split = next((name for name in ('train', 'val', 'test') if name in pickle_path.stem), 'all')
    target = out_dir / f'{tag}_infos_{split}.pkl'
    if target.resolve() == pickle_path.resolve():
        raise InputError(f'{target}: would overwrite the pickle it is made from; give --out-dir or --extra-tag')
    infos = []
    for index, record in enumerate(content['data_list']):
        label = f'{pickle_path}: sample {record.get("token", index)}'
        try:
            infos.append(_convert(record, root, label))
        except KeyError as error:
            raise InputError(f'{label}: lacks {error}; {CURE}') from error
    _name_scenes(infos)
    cameras = [camera for camera in CAMERAS if camera in infos[0]['images']]
    save_infos(target, 'nuscenes', cameras, infos, split=split, categories=content['metainfo'].get('categories', {}))
    return target


def _convert(record: dict[str, Any], root: Path, label: str) -> Info:
    lidar = record['lidar_points']
    ego2global = _pose(record['ego2global'], f'{label}: ego2global')
    lidar2global = ego2global @ _pose(lidar['lidar2ego'], f'{label}: lidar2ego')
    lidar_path = _find(root, LIDAR, lidar['lidar_path'], label)
    images = {}
    for camera in CAMERAS:
        image = record['images'][camera]
        img_path = _find(root, camera, image['img_path'], label)
        lidar2cam = _pose(image['lidar2cam'], f'{label}, {camera}: lidar2cam')
        # lidar2cam goes through both ego poses, so it carries the pose of the vehicle at the time of the image.
        cam2global = lidar2global @ inverse_pose(lidar2cam)
        ego_at_image = cam2global @ inverse_pose(_pose(image['cam2ego'], f'{label}, {camera}: cam2ego'))
        cam2img = np.asarray(image['cam2img'], dtype=np.float64)[:3, :3]
        images[camera] = {
            **camera_record(
                camera,
                img_path,
                image_size(root / img_path),
                cam2img,
                cam2global,
                lidar2global,
                ego_at_image,
                image['timestamp'],
            ),
            'sample_data_token': image.get('sample_data_token'),
        }
    return {
        'sample_idx': record['sample_idx'],
        'token': record['token'],
        'timestamp': record['timestamp'],
        'ego2global': ego2global.tolist(),
        'lidar2global': lidar2global.tolist(),
        'images': images,
        'lidar_points': {**lidar, 'lidar_path': lidar_path},
        'lidar_sweeps': record.get('lidar_sweeps', []),
        'instances': record.get('instances', []),
    }


def _pose(value: Any, label: str) -> np.ndarray:
    """A 4 x 4 pose, made orthonormal: the pickles hold float32, whose rounding would add up along the chain."""
    pose = np.asarray(value, dtype=np.float64)
    if pose.shape != (4, 4):
        raise InputError(f'{label} is {pose.shape}, not (4, 4); {CURE}')
    check_poses(pose[None], [label])
    left, _, right = np.linalg.svd(pose[:3, :3])
    pose[:3, :3] = left @ right
    return pose


def _find(root: Path, sensor: str, name: str, label: str) -> str:
    """Path of a file relative to ``root``: as it is named, or in the folder of its sensor."""
    for relative in (name, f'samples/{sensor}/{name}'):
        if (root / relative).is_file():
            return relative
    raise InputError(f'{root / name}: no such file ({label}, {sensor}), nor in samples/{sensor}; correct --root-path')


def _name_scenes(infos: Sequence[Info]) -> None:
    """Group records to scenes, number their frames, link them; sorts nothing, changes the records."""

    def log(info: Info) -> str:
        return Path(info['lidar_points']['lidar_path']).name.partition('__')[0]

    previous: Info | None = None
    for info in sorted(infos, key=lambda info: (log(info), info['timestamp'])):
        same_scene = (
            previous is not None and log(previous) == log(info) and info['timestamp'] - previous['timestamp'] < MAX_GAP
        )
        info['scene'] = previous['scene'] if same_scene else f'{log(info)}@{info["timestamp"]:.0f}'
        info['frame'] = previous['frame'] + 1 if same_scene else 0
        previous = info
    link_frames(infos)
