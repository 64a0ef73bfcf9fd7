"""PandaSet (https://pandaset.org) as published -> infos.

Frames of reference: PandaSet's world is its own ENU-like frame; ``lidar/poses.json`` holds poses of the vehicle,
whose axes are x right, y forward, z up with the origin about 0.3 m above the road (seen in the points and in the
positions of the cameras). LiDAR points are published in the world. We write them in the "LiDAR frame" of their
keyframe: the vehicle frame raised by :data:`LIDAR_HEIGHT`, so that the road lies at about z = -1.84 m as below the
LiDAR of nuScenes, which is where pretrained networks expect it.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from ...errors import InputError
from ...files import atomic_path, require_file
from ...minitown.classes import CLASS_ID, UNKNOWN_CLASS
from ..infos import Info, save_infos
from ..poses import inverse_pose, pose_matrix
from .common import DOWNLOAD_AGAIN, camera_record, image_size, link_frames, sweep_record
from .pictures import check_pictures

CAMERAS = ('front_left_camera', 'front_camera', 'front_right_camera', 'right_camera', 'back_camera', 'left_camera')
LIDAR_HEIGHT = 1.5
# MiniTown's names for PandaSet's classes of points; the others (``Other Static Object``, ...) stay unknown.
CLASS_OF_NAME = {
    'Road': 'road',
    'Lane Line Marking': 'road',
    'Stop Line Marking': 'road',
    'Other Road Marking': 'road',
    'Sidewalk': 'pavement',
    'Driveway': 'pavement',
    'Ground': 'terrain',
    'Building': 'building',
    'Vegetation': 'vegetation',
    'Signs': 'furniture',
    'Construction Signs': 'furniture',
    'Car': 'car',
    'Pickup Truck': 'truck',
    'Medium-sized Truck': 'truck',
    'Semi-truck': 'truck',
    'Bus': 'bus',
    'Motorcycle': 'motorcycle',
    'Motorized Scooter': 'motorcycle',
    'Bicycle': 'bicycle',
    'Pedestrian': 'pedestrian',
    'Pedestrian with Object': 'pedestrian',
    'Pylons': 'traffic_cone',
    'Cones': 'traffic_cone',
    'Road Barriers': 'barrier',
    'Temporary Construction Barriers': 'barrier',
}
# LiDAR of other frames is listed as a frame's sweeps up to so far in time, seconds: what moves has not moved far.
SWEEP_SPAN = 0.25
POINT_COLUMNS = ('x', 'y', 'z', 'i', 'd')


def convert(
    root: Path,
    out_dir: Path,
    tag: str = 'pandaset',
    sequences: Iterable[str] | None = None,
    train_frames: tuple[int, int] | None = None,
    val_frames: tuple[int, int] | None = None,
    val_sequences: Iterable[str] = (),
    step: int = 5,
    workers: int = 1,
) -> list[Path]:
    """Write ``{tag}_infos_{train,val}.pkl`` and ``lidar/{sequence}/{frame}[.classes].bin`` to ``out_dir``.

    Args:
        root: folder of the sequences (``001``, ``002``, ...).
        out_dir: where to write; points that are already there are kept.
        sequences: names of the sequences to convert; None takes all.
        train_frames, val_frames: first and last frame (inclusive) of each split; None takes every frame with images.
        val_sequences: sequences of the val split; if none are named, every sequence is in both splits, which then
            must be apart in frames.
        step: distance of the linked neighbour keyframes, in frames of 0.1 s. 5 gives 2 Hz as in nuScenes.
        workers: processes, one sequence each at a time.

    Returns:
        the info files.
    """
    names = _sequence_names(root, sequences)
    val_names = set(val_sequences)
    if unknown := val_names - set(names):
        raise InputError(f'{root}: no sequence {", ".join(sorted(unknown))}; name folders that are there')
    if not val_names and train_frames is None and val_frames is None:
        val_names = set(names[-max(1, len(names) // 5) :]) if len(names) > 1 else set()
        if not val_names:
            raise InputError(f'{root}: one sequence only; give --train-frames and --val-frames to split it')
    if not val_names and (train_frames is None or val_frames is None):
        raise InputError('give both --train-frames and --val-frames, or --val-sequences')
    if not val_names and train_frames[0] <= val_frames[1] and val_frames[0] <= train_frames[1]:
        raise InputError(f'train frames {train_frames} and val frames {val_frames} overlap; set them apart')
    splits = {
        'train': [(name, train_frames) for name in names if name not in val_names],
        'val': [(name, val_frames) for name in names if not val_names or name in val_names],
    }
    written = []
    for split, parts in splits.items():
        jobs = [(root / name, out_dir, frames, step) for name, frames in parts]
        infos = [info for sequence in _in_processes(jobs, workers) for info in sequence]
        for index, info in enumerate(infos):
            info['sample_idx'] = index
        path = out_dir / f'{tag}_infos_{split}.pkl'
        check_pictures(root, infos, path, workers)
        save_infos(path, 'pandaset', CAMERAS, infos, split=split)
        written.append(path)
    return written


def _in_processes(jobs: Sequence[tuple], workers: int) -> Iterator[list[Info]]:
    if workers <= 1 or len(jobs) < 2:
        yield from itertools.starmap(convert_sequence, jobs)
        return
    with ProcessPoolExecutor(min(workers, len(jobs))) as pool:
        yield from pool.map(convert_sequence, *zip(*jobs, strict=True))


def convert_sequence(folder: Path, out_dir: Path, frames: tuple[int, int] | None, step: int) -> list[Info]:
    """The linked infos of one sequence; writes its points."""
    vehicle_poses = _read_json(folder / 'lidar' / 'poses.json')
    times = _read_json(folder / 'lidar' / 'timestamps.json')
    cameras = {name: _Camera(folder / 'camera' / name) for name in CAMERAS}
    chosen = _frames_with_images(folder, frames, min(len(vehicle_poses), len(times)))
    infos = []
    for frame in tqdm(chosen, desc=f'PandaSet {folder.name}'):
        ego2global = _pose(vehicle_poses[frame], f'{folder}/lidar/poses.json[{frame}]')
        lidar2ego = np.eye(4)
        lidar2ego[2, 3] = LIDAR_HEIGHT
        lidar2global = ego2global @ lidar2ego
        infos.append(
            {
                'token': f'{folder.name}_{frame:02d}',
                'scene': folder.name,
                'frame': frame,
                'timestamp': times[frame],
                'ego2global': ego2global.tolist(),
                'lidar2global': lidar2global.tolist(),
                'images': {name: camera.record(frame, lidar2global, ego2global) for name, camera in cameras.items()},
                'lidar_points': _lidar_record(folder, frame, out_dir, lidar2global, lidar2ego),
                'lidar_sweeps': [],
                'instances': _instances(folder, frame, lidar2global),
            }
        )
    link_frames(infos, step)
    _list_sweeps(infos)
    return infos


def _list_sweeps(infos: Sequence[Info]) -> None:
    """Name the LiDAR of the other frames in every frame's ``lidar_sweeps``, the nearest in time first.

    Only frames of the same split count, so that nothing measured in validation frames is seen in training.
    """
    measured = [info for info in infos if info['lidar_points']]
    for info in infos:
        lidar2global = np.asarray(info['lidar2global'])

        def distance(other: Info, time: float = info['timestamp']) -> float:
            return abs(other['timestamp'] - time)

        near = [other for other in measured if other is not info and distance(other) <= SWEEP_SPAN]
        info['lidar_sweeps'] = [
            sweep_record(other, inverse_pose(np.asarray(other['lidar2global'])) @ lidar2global)
            for other in sorted(near, key=distance)
        ]


class _Camera:
    """One camera of one sequence: its images, intrinsics and pose per frame."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.poses = _read_json(folder / 'poses.json')
        self.times = _read_json(folder / 'timestamps.json')
        values = _read_json(folder / 'intrinsics.json')
        try:
            fx, fy, cx, cy = (float(values[key]) for key in ('fx', 'fy', 'cx', 'cy'))
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f'{folder}/intrinsics.json: lacks fx, fy, cx, cy as numbers; {DOWNLOAD_AGAIN}') from error
        self.cam2img = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])

    def record(self, frame: int, lidar2global: np.ndarray, ego2global: np.ndarray) -> Info:
        path = self.folder / f'{frame:02d}.jpg'
        if frame >= min(len(self.poses), len(self.times)):
            raise InputError(f'{self.folder}/poses.json: ends before frame {frame}; {DOWNLOAD_AGAIN}')
        cam2global = _pose(self.poses[frame], f'{self.folder}/poses.json[{frame}]')
        return camera_record(
            self.folder.name,
            f'{self.folder.parent.parent.name}/camera/{self.folder.name}/{path.name}',
            image_size(path),
            self.cam2img,
            cam2global,
            lidar2global,
            ego2global,
            self.times[frame],
        )


def _sequence_names(root: Path, wanted: Iterable[str] | None) -> list[str]:
    if not root.is_dir():
        raise InputError(f'{root}: no such folder; give the folder that holds the sequences 001, 002, ...')
    names = sorted(wanted) if wanted else sorted(p.parent.name for p in root.glob('*/camera'))
    if not names:
        raise InputError(f'{root}: holds no PandaSet sequence; give the folder that holds 001, 002, ...')
    if missing := [name for name in names if not (root / name / 'camera').is_dir()]:
        raise InputError(f'{root / missing[0]}: no such sequence; name folders that are there')
    return names


def _frames_with_images(folder: Path, frames: tuple[int, int] | None, count: int) -> list[int]:
    """Frames to convert: an explicit range must be complete, otherwise all frames that have a front image."""
    if frames is not None:
        if not 0 <= frames[0] <= frames[1] < count:
            raise InputError(f'{folder}: frames {frames[0]}-{frames[1]} are not within 0-{count - 1}; choose others')
        return list(range(frames[0], frames[1] + 1))
    found = [frame for frame in range(count) if (folder / 'camera' / 'front_camera' / f'{frame:02d}.jpg').is_file()]
    if not found:
        raise InputError(f'{folder}/camera/front_camera: holds no images; {DOWNLOAD_AGAIN}')
    return found


def _read_json(path: Path) -> Any:
    require_file(path, DOWNLOAD_AGAIN)
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise InputError(f'{path}: not readable as JSON ({error}); {DOWNLOAD_AGAIN}') from error


def _pose(record: dict[str, dict[str, float]], where: str) -> np.ndarray:
    try:
        quaternion = [record['heading'][axis] for axis in 'wxyz']
        position = [record['position'][axis] for axis in 'xyz']
    except (KeyError, TypeError) as error:
        raise InputError(f'{where}: lacks position x y z and heading w x y z; {DOWNLOAD_AGAIN}') from error
    return pose_matrix(quaternion, position, where)


def _lidar_record(
    folder: Path, frame: int, out_dir: Path, lidar2global: np.ndarray, lidar2ego: np.ndarray
) -> Info | None:
    """Write the points of a frame in its LiDAR frame as float32 ``(n, 5)``: x, y, z, intensity, sensor (0, 1)."""
    source = folder / 'lidar' / f'{frame:02d}.pkl.gz'
    if not source.is_file():
        return None
    relative = f'lidar/{folder.name}/{frame:02d}.bin'
    target = out_dir / relative
    if not target.is_file():
        table = read_table(source)
        if missing := [column for column in POINT_COLUMNS if column not in table]:
            raise InputError(f'{source}: lacks the columns {", ".join(missing)}; {DOWNLOAD_AGAIN}')
        points = table[list(POINT_COLUMNS)].to_numpy(dtype=np.float64)
        if not np.isfinite(points).all():
            raise InputError(f'{source}: holds NaN or infinity; {DOWNLOAD_AGAIN}')
        global2lidar = inverse_pose(lidar2global)
        points[:, :3] = points[:, :3] @ global2lidar[:3, :3].T + global2lidar[:3, 3]
        with atomic_path(target) as temporary:
            points.astype(np.float32).tofile(temporary)
    record = {'lidar_path': relative, 'num_pts_feats': len(POINT_COLUMNS), 'lidar2ego': lidar2ego.tolist()}
    return {**record, 'pts_semantic_mask_path': _point_classes(folder, frame, out_dir, target)}


def _point_classes(folder: Path, frame: int, out_dir: Path, points: Path) -> str | None:
    """Write the classes of a frame's points as uint8 ids of MiniTown's classes; None where PandaSet has none."""
    source = folder / 'annotations' / 'semseg' / f'{frame:02d}.pkl.gz'
    if not source.is_file():
        return None
    relative = f'lidar/{folder.name}/{frame:02d}.classes.bin'
    target = out_dir / relative
    if not target.is_file():
        table, names = read_table(source), _read_json(source.with_name('classes.json'))
        count = points.stat().st_size // (4 * len(POINT_COLUMNS))
        if 'class' not in table or len(table) != count:
            raise InputError(f'{source}: holds no class for each of the {count} points of its frame; {DOWNLOAD_AGAIN}')
        ids = np.full(256, UNKNOWN_CLASS, np.uint8)
        try:
            for number, name in names.items():
                ids[int(number)] = CLASS_ID[CLASS_OF_NAME[name]] if name in CLASS_OF_NAME else UNKNOWN_CLASS
            classes = ids[table['class'].to_numpy(dtype=np.uint8)]
        except (AttributeError, IndexError, TypeError, ValueError) as error:
            raise InputError(
                f'{source}: its classes or those of classes.json are no numbers below 256 ({error}); {DOWNLOAD_AGAIN}'
            ) from error
        with atomic_path(target) as temporary:
            classes.tofile(temporary)
    return relative


def read_table(path: Path) -> pd.DataFrame:
    """Read a pickled pandas table (``.pkl.gz``); a damaged one raises :class:`InputError`."""
    require_file(path, DOWNLOAD_AGAIN)
    try:
        return pd.read_pickle(path)
    except Exception as error:  # damage shows as nearly any exception of gzip, zlib, pickle or pandas
        raise InputError(f'{path}: not a readable table ({type(error).__name__}: {error}); {DOWNLOAD_AGAIN}') from error


def _instances(folder: Path, frame: int, lidar2global: np.ndarray) -> list[Info]:
    """Cuboids of a frame as boxes (x, y, z, length, width, height, yaw) in the LiDAR frame.

    PandaSet's ``dimensions`` are x (width), y (length), z (height), and its yaw turns the y axis to the heading.
    """
    path = folder / 'annotations' / 'cuboids' / f'{frame:02d}.pkl.gz'
    if not path.is_file():
        return []
    table = read_table(path)
    global2lidar = inverse_pose(lidar2global)
    centres = table[['position.x', 'position.y', 'position.z']].to_numpy(dtype=np.float64)
    centres = centres @ global2lidar[:3, :3].T + global2lidar[:3, 3]
    turn = np.arctan2(global2lidar[1, 0], global2lidar[0, 0])
    sizes = table[['dimensions.y', 'dimensions.x', 'dimensions.z']].to_numpy(dtype=np.float64)
    yaws = table['yaw'].to_numpy(dtype=np.float64) + np.pi / 2 + turn
    yaws = (yaws + np.pi) % (2 * np.pi) - np.pi
    return [
        {'bbox_3d': [*centre.tolist(), *size.tolist(), float(yaw)], 'label': str(label), 'token': str(uuid)}
        for centre, size, yaw, label, uuid in zip(centres, sizes, yaws, table['label'], table['uuid'], strict=True)
    ]
