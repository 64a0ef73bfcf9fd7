"""PandaSet (https://pandaset.org), as published, to infos.

Frames of reference: PandaSet's world is its own ENU-like frame; ``lidar/poses.json`` holds poses of the vehicle,
whose axes are x right, y forward, z up with the origin about 0.3 m above the road (seen in the points and in the
positions of the cameras). LiDAR points are published in the world. We write them in the "LiDAR frame" of their
keyframe: the vehicle frame raised by ``LIDAR_HEIGHT``, so that the road lies at about z = -1.84 m as below the LiDAR of
nuScenes, which is where pretrained networks expect it. The LiDARs are elsewhere (:mod:`.pandaset_points`).
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ...geometry.poses import inverse_pose
from ...utils.errors import InputError, warn
from ...utils.processes import process_pool
from ..infos import Info, InfoFile, save_info_files
from .common import (
    DOWNLOAD_AGAIN,
    check_images,
    choose_cameras,
    common_cameras,
    link_frames,
    number_samples,
    ring_order,
    sweep_record,
)
from .pandaset_points import LIDAR_HEIGHT, Measurements, beam_origins
from .pandaset_raw import (
    Camera,
    camera_images,
    pose_of,
    read_poses,
    read_times,
)

CAMERAS = ('front_left_camera', 'front_camera', 'front_right_camera', 'right_camera', 'back_camera', 'left_camera')
# The ego frame, x forward, y left, as that of nuScenes, in which occupancy grids are, to PandaSet's vehicle frame.
EGO2VEHICLE = np.array([[0.0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
# LiDAR of other frames is listed as a frame's sweeps up to so far in time, seconds: what moves has not moved far.
SWEEP_SPAN = 0.25


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
    cameras: Sequence[str] | None = None,
) -> list[Path]:
    """Write ``{tag}_infos_{train,val}.pkl`` and ``lidar/{sequence}/{frame}[.classes].bin`` to ``out_dir``.

    Args:
        root: folder of the sequences (``001``, ``002``, ...).
        out_dir: where to write; points that are there already are kept if they were made from the same files and
            poses by this version (:mod:`...utils.provenance`), otherwise made again.
        tag: how the names of the info files begin.
        sequences: names of the sequences to convert; None takes all.
        train_frames, val_frames: first and last frame (inclusive) of each split; None takes every frame with an image
            of every camera.
        val_sequences: sequences of the val split; if none are named, every sequence is in both splits, which then
            must be apart in frames.
        step: distance of the linked neighbor keyframes, in frames of 0.1 s. 5 gives 2 Hz as in nuScenes.
        workers: processes, one sequence each at a time.
        cameras: names of the cameras to convert; None takes all that have images.

    Returns:
        the info files.
    """
    names = _sequence_names(root, sequences)
    splits = _splits(root, names, train_frames, val_frames, [name.rstrip('/') for name in val_sequences])
    files = []
    for split, parts in splits.items():
        jobs = [(root / name, out_dir, frames, step, cameras) for name, frames in parts]
        infos = [info for sequence in _in_processes(jobs, workers) for info in sequence]
        number_samples(infos)
        path = out_dir / f'{tag}_infos_{split}.pkl'
        check_images(root, infos, path, workers)
        files.append(InfoFile(path, 'pandaset', common_cameras(infos, path), infos, more={'split': split}))
    save_info_files(files)
    return [file.path for file in files]


Range = tuple[int, int]


def _splits(
    root: Path, names: Sequence[str], train_frames: Range | None, val_frames: Range | None, val_sequences: Sequence[str]
) -> dict[str, list[tuple[str, Range | None]]]:
    """Return the sequences of each split, and the range of their frames; None: all frames.

    Args:
        root: folder of the sequences, for messages.
        names: all sequences to convert.
        train_frames, val_frames: first and last frame of each split.
        val_sequences: names of the sequences for validation.

    Raises:
        InputError: splits that overlap or are empty.
    """
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
    if val_names == set(names):
        raise InputError(f'{root}: all of its sequences to convert are in the val split; leave some for training')
    return {
        'train': [(name, train_frames) for name in names if name not in val_names],
        'val': [(name, val_frames) for name in names if not val_names or name in val_names],
    }


def _in_processes(jobs: Sequence[tuple], workers: int) -> Iterator[list[Info]]:
    """Yield the infos of each sequence, in several processes."""
    if workers <= 1 or len(jobs) < 2:
        yield from itertools.starmap(convert_sequence, jobs)
        return
    with process_pool(min(workers, len(jobs))) as pool:
        yield from pool.map(convert_sequence, *zip(*jobs, strict=True))


def convert_sequence(
    folder: Path, out_dir: Path, frames: tuple[int, int] | None, step: int, cameras: Sequence[str] | None = None
) -> list[Info]:
    """Make the linked infos of one sequence, and write its points.

    Args:
        folder: the sequence.
        out_dir: where points and classes go.
        frames: first and last frame; None takes all.
        step: distance of linked keyframes, in frames.
        cameras: names of the cameras to convert; None takes all.
    """
    pose_file = folder / 'lidar' / 'poses.json'
    vehicle_poses, times = read_poses(pose_file), read_times(folder / 'lidar' / 'timestamps.json')
    rig = _read_cameras(folder, cameras)
    chosen = _chosen_frames(folder, rig, frames, min(len(vehicle_poses), len(times)))
    measurements = Measurements(folder, out_dir)
    infos = []
    for frame in tqdm(chosen, desc=f'PandaSet {folder.name}'):
        vehicle2global = pose_of(vehicle_poses, frame, pose_file)
        ego2global = vehicle2global @ EGO2VEHICLE
        lidar2vehicle = np.eye(4)
        lidar2vehicle[2, 3] = LIDAR_HEIGHT
        lidar2global, lidar2ego = vehicle2global @ lidar2vehicle, EGO2VEHICLE.T @ lidar2vehicle
        other = frame - 1 if frame else min(1, len(vehicle_poses) - 1, len(times) - 1)
        other_pose = pose_of(vehicle_poses, other, pose_file)
        beams = beam_origins(lidar2global, vehicle2global, other_pose, times[other] - times[frame])
        infos.append(
            {
                'token': f'{folder.name}_{frame:02d}',
                'scene': folder.name,
                'frame': frame,
                'timestamp': times[frame],
                'ego2global': ego2global.tolist(),
                'lidar2global': lidar2global.tolist(),
                'images': {camera.folder.name: camera.record(frame, lidar2global, ego2global) for camera in rig},
                'lidar_points': measurements.lidar_record(frame, times[frame], lidar2global, lidar2ego, beams),
                'lidar_sweeps': [],
                'instances': measurements.instances(frame, lidar2global),
            }
        )
    measurements.warn_of_missing(chosen)
    order = ring_order(infos)
    for info in infos:
        info['images'] = {name: info['images'][name] for name in order}
    link_frames(infos, step)
    _list_sweeps(infos)
    return infos


def _read_cameras(folder: Path, wanted: Sequence[str] | None) -> list[Camera]:
    """Read the cameras to convert, and warn of cameras of PandaSet that are missing unless some were chosen."""
    images = camera_images(folder)
    names = choose_cameras(list(images), wanted, folder)
    if wanted is None and (absent := [name for name in CAMERAS if name not in names]):
        warn(f'{folder}: has no images of {", ".join(absent)}; converted are {", ".join(names)}')
    return [Camera.read(folder / 'camera' / name, images[name]) for name in names]


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


def _sequence_names(root: Path, wanted: Iterable[str] | None) -> list[str]:
    """Return the sequences to convert, in order; raise :class:`InputError` if one is missing or named twice."""
    if not root.is_dir():
        raise InputError(f'{root}: no such folder; give the folder that holds the sequences 001, 002, ...')
    names = (
        sorted(name.rstrip('/') for name in wanted) if wanted else sorted(p.parent.name for p in root.glob('*/camera'))
    )
    if not names:
        raise InputError(f'{root}: holds no PandaSet sequence; give the folder that holds 001, 002, ...')
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise InputError(f'{root / twice[0]}: the sequence is named twice; name it once')
    if missing := [name for name in names if not (root / name / 'camera').is_dir()]:
        raise InputError(f'{root / missing[0]}: no such sequence; name folders that are there')
    return names


def _chosen_frames(folder: Path, rig: Sequence[Camera], frames: tuple[int, int] | None, count: int) -> list[int]:
    """Choose the frames to convert: all of a range, or all that have an image of each camera.

    Args:
        folder: the sequence, for messages.
        rig: the cameras.
        frames: first and last frame; None takes all.
        count: how many frames have a pose and a time of the vehicle.
    """
    if frames is not None:
        if not 0 <= frames[0] <= frames[1] < count:
            raise InputError(f'{folder}: frames {frames[0]}-{frames[1]} are not within 0-{count - 1}; choose others')
        return list(range(frames[0], frames[1] + 1))
    everywhere = sorted({frame for camera in rig for frame in camera.images})
    if posed := [frame for frame in everywhere if frame < min(count, *(camera.count for camera in rig))]:
        found = [frame for frame in posed if all(frame in camera.images for camera in rig)]
    if not posed or not found:
        raise InputError(
            f'{folder}: none of its frames with poses and times has an image of each of '
            f'{", ".join(camera.folder.name for camera in rig)}; {DOWNLOAD_AGAIN}, or choose with --cameras'
        )
    if len(posed) < len(everywhere):
        more = len(everywhere) - len(posed)
        warn(f'{folder}: {more} of {len(everywhere)} frames have images but no pose or time, and are left out')
    if len(found) < len(posed):
        lacking = {camera.folder.name: sum(frame not in camera.images for frame in posed) for camera in rig}
        told = ', '.join(f'{name} ({number})' for name, number in lacking.items() if number)
        warn(
            f'{folder}: {len(posed) - len(found)} of {len(posed)} frames lack images of {told} and are left out; '
            f'{DOWNLOAD_AGAIN}, or choose cameras that have all with --cameras'
        )
    return found
