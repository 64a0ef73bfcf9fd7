"""PandaSet (https://pandaset.org), as published, to infos.

Frames of reference: PandaSet's world is its own ENU-like frame; ``lidar/poses.json`` holds poses of the vehicle,
whose axes are x right, y forward, z up with the origin about 0.3 m above the road (seen in the points and in the
positions of the cameras). LiDAR points are published in the world. We write them in the "LiDAR frame" of their
keyframe: the vehicle frame raised by :data:`LIDAR_HEIGHT`, so that the road lies at about z = -1.84 m as below the
LiDAR of nuScenes, which is where pretrained networks expect it. The LiDARs are elsewhere (:data:`BEAM_ORIGINS`).

Time: points are where they were in the world when they were hit (compensated for motion), not where a beam from the
pose of their frame would see them. That pose and time stamp are of the *end* of the turn of sensor 0, which begins 0.1
s earlier at the back and goes clockwise, so that it looks ahead in the middle; sensor 1 runs on its own clock, from
0.14 s before to 0.03 s after. What moves is where it was then, so points have a column with their time. Beams begin
where the car was then, too: the origin of a sensor that we write is that of the middle of the turn, and its velocity
leads to that of any beam (6 mm off at most in sequence 002; without the velocity 0.46 m, at 5 m/s).
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ...geometry.poses import inverse_pose
from ...semantics.classes import CLASS_ID, UNKNOWN_CLASS
from ...utils.errors import InputError, warn
from ...utils.files import atomic_path, read_json
from ...utils.provenance import Provenance, fingerprint
from ..file_checks import check_ranges
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
from .pandaset_raw import (
    TABLE_SUFFIXES,
    Camera,
    camera_images,
    frame_files,
    number_columns,
    pose_of,
    read_poses,
    read_table,
    read_times,
)

CAMERAS = ('front_left_camera', 'front_camera', 'front_right_camera', 'right_camera', 'back_camera', 'left_camera')
LIDAR_HEIGHT = 1.5
# Where beams of sensor 0 (turning, Pandar64) and of sensor 1 (forward, PandarGT) begin in the vehicle frame, meters.
# Medians of the 11 frames with LiDAR of sequence 002, among which they vary by 3 and 12 mm (standard deviation):
# `python -m verification.beam_origins SEQUENCE`, which says how.
BEAM_ORIGINS = ((0.0, 0.782, 1.86), (-0.02, 1.373, 1.577))
# Columns of our points that hold the number of the sensor, and the seconds since the time stamp of the frame.
SENSOR_COLUMN, TIME_COLUMN = 4, 5
# Points are measured within so many seconds of the time stamp of their frame (seen: -0.144 to 0.034).
LONGEST_DELAY = 1.0
# Count up when the same raw data gives other points or classes than before.
VERSION = 2
# Our names for PandaSet's classes of points; the others (``Other Static Object``, ...) stay unknown.
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
# Those that stay unknown. Any other name is no class of PandaSet.
OTHER_CLASSES = (
    *('Smoke', 'Exhaust', 'Spray or rain', 'Reflection', 'Towed Object', 'Other Vehicle - Construction Vehicle'),
    *('Other Vehicle - Uncommon', 'Other Vehicle - Pedicab', 'Emergency Vehicle', 'Personal Mobility Device', 'Train'),
    *('Trolley', 'Tram / Subway', 'Animals - Bird', 'Animals - Other', 'Rolling Containers', 'Other Static Object'),
)
# LiDAR of other frames is listed as a frame's sweeps up to so far in time, seconds: what moves has not moved far.
SWEEP_SPAN = 0.25
POINT_COLUMNS = ('x', 'y', 'z', 'i', 'd', 't')
CENTER, SIZE = ('position.x', 'position.y', 'position.z'), ('dimensions.y', 'dimensions.x', 'dimensions.z')


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
    with ProcessPoolExecutor(min(workers, len(jobs))) as pool:
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
    measurements = _Measurements(folder, out_dir)
    infos = []
    for frame in tqdm(chosen, desc=f'PandaSet {folder.name}'):
        ego2global = pose_of(vehicle_poses, frame, pose_file)
        lidar2ego = np.eye(4)
        lidar2ego[2, 3] = LIDAR_HEIGHT
        lidar2global = ego2global @ lidar2ego
        other = frame - 1 if frame else min(1, len(vehicle_poses) - 1, len(times) - 1)
        other_pose = pose_of(vehicle_poses, other, pose_file)
        beams = beam_origins(lidar2global, ego2global, other_pose, times[other] - times[frame])
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


def beam_origins(lidar2global: np.ndarray, ego2global: np.ndarray, other: np.ndarray, step: float) -> Info:
    """Return where beams begin, in the LiDAR frame, as fields of ``lidar_points``.

    Args:
        lidar2global: ``(4, 4)`` pose of the LiDAR frame.
        ego2global: ``(4, 4)`` pose of the vehicle at the end of the turn.
        other: ``(4, 4)`` pose one frame before; of the first frame, one after.
        step: seconds from the frame to the other one; 0 if there is none.

    Returns:
        ``origins`` of both sensors in the middle of the turn, or, as nothing was before the first frame, at its end;
        the ``origins_delay`` of that time; and ``origins_velocity``.
    """
    here, there = (
        np.asarray(BEAM_ORIGINS) @ pose[:3, :3].T + pose[:3, 3]
        for pose in (inverse_pose(lidar2global) @ ego2global, inverse_pose(lidar2global) @ other)
    )
    delay = min(step, 0.0) / 2
    velocity = (there - here) / step if step else np.zeros_like(here)
    return {
        'origins': (here + delay * velocity).tolist(),
        'origins_delay': delay,
        'origins_velocity': velocity.tolist(),
    }


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


class _Measurements:
    """LiDAR, classes of points and cuboids of one sequence; counts the frames that have none."""

    def __init__(self, folder: Path, out_dir: Path) -> None:
        annotations = folder / 'annotations'
        self.folder, self.out_dir = folder, out_dir
        self.lidar = frame_files(folder / 'lidar', TABLE_SUFFIXES)
        self.semseg = frame_files(annotations / 'semseg', TABLE_SUFFIXES)
        self.cuboids = frame_files(annotations / 'cuboids', TABLE_SUFFIXES)
        self.made = Provenance(out_dir / 'lidar' / folder.name)
        self.unnamed = 0

    def warn_of_missing(self, frames: Sequence[int]) -> None:
        """Warn of what these frames lack, and of files that were made again."""
        measured = [frame for frame in frames if frame in self.lidar]
        counts = (
            ('LiDAR', len(frames) - len(measured), len(frames)),
            ('classes of LiDAR points', sum(frame not in self.semseg for frame in measured), len(measured)),
            ('cuboids', sum(frame not in self.cuboids for frame in frames), len(frames)),
        )
        if told := [f'{missing} of {total} frames have no {name}' for name, missing, total in counts if missing]:
            warn(f'{self.folder}: {"; ".join(told)}')
        if self.unnamed:
            warn(
                f'{self.folder}/annotations/semseg: {self.unnamed} points have a class that classes.json does '
                'not name, or not as PandaSet does'
            )
        if self.made.replaced:
            warn(
                f'{self.made.path.parent}: {self.made.replaced} files were made from other raw data or poses, by '
                'another version, or were changed since: made again'
            )

    def lidar_record(
        self, frame: int, time: float, lidar2global: np.ndarray, lidar2ego: np.ndarray, beams: Info
    ) -> Info | None:
        """Write the points of a frame in its LiDAR frame.

        They are float32 ``(n, 6)``: x, y, z, intensity, sensor (0, 1), seconds since the time stamp of the frame.

        Args:
            frame: its number.
            time: its time stamp, seconds.
            lidar2global, lidar2ego: ``(4, 4)`` pose and place of the LiDAR frame.
            beams: where the beams of the sensors begin (:func:`beam_origins`).
        """
        if frame not in self.lidar:
            return None
        raw, target = self.lidar[frame], self._target(f'{frame:02d}.bin')
        source = fingerprint(version=VERSION, points=raw, lidar2global=lidar2global, time=time)
        if not self.made.is_current(target, source):
            points = number_columns(read_table(raw, POINT_COLUMNS), POINT_COLUMNS, raw)
            if not len(points):
                raise InputError(f'{raw}: holds no points; {DOWNLOAD_AGAIN}')
            global2lidar = inverse_pose(lidar2global)
            points[:, :3] = points[:, :3] @ global2lidar[:3, :3].T + global2lidar[:3, 3]
            check_ranges(points, raw, DOWNLOAD_AGAIN)
            points[:, TIME_COLUMN] -= time
            _check_delays(points[:, TIME_COLUMN], raw)
            with atomic_path(target) as temporary:
                points.astype(np.float32).tofile(temporary)
            self.made.record(target, source)
        return {
            'lidar_path': self._relative(target),
            'num_pts_feats': len(POINT_COLUMNS),
            'lidar2ego': lidar2ego.tolist(),
            **beams,
            'sensor_column': SENSOR_COLUMN,
            'time_column': TIME_COLUMN,
            'made_from': source,
            'pts_semantic_mask_path': self._point_classes(frame, target),
        }

    def _point_classes(self, frame: int, points: Path) -> str | None:
        """Write the classes of a frame's points as uint8 ids of our classes; None where PandaSet has none."""
        if frame not in self.semseg:
            return None
        raw, target = self.semseg[frame], self._target(f'{frame:02d}.classes.bin')
        names = raw.with_name('classes.json')
        ids, named = _class_ids(names, raw)
        count = points.stat().st_size // (4 * len(POINT_COLUMNS))
        source = fingerprint(version=VERSION, classes=raw, ids=ids, points=count)
        if not self.made.is_current(target, source):
            table = read_table(raw)
            if 'class' not in table or len(table) != count:
                raise InputError(f'{raw}: holds no class for each of the {count} points of its frame; {DOWNLOAD_AGAIN}')
            values = number_columns(table, ['class'], raw)[:, 0]
            if not ((values >= 0) & (values < len(ids)) & (values % 1 == 0)).all():
                raise InputError(
                    f'{raw}: its classes or those of classes.json are no numbers below 256 '
                    f'({values.min():g} to {values.max():g}); {DOWNLOAD_AGAIN}'
                )
            values = values.astype(np.uint8)
            self.unnamed += int((~named[values]).sum())
            with atomic_path(target) as temporary:
                ids[values].tofile(temporary)
            self.made.record(target, source)
        return self._relative(target)

    def instances(self, frame: int, lidar2global: np.ndarray) -> list[Info]:
        """Make boxes (x, y, z, length, width, height, yaw) in the LiDAR frame of the cuboids of a frame.

        PandaSet's ``dimensions`` are x (width), y (length), z (height), and its yaw turns the y axis to the heading.
        """
        if frame not in self.cuboids:
            return []
        path = self.cuboids[frame]
        table = read_table(path, (*CENTER, *SIZE, 'yaw', 'label', 'uuid'))
        global2lidar = inverse_pose(lidar2global)
        centers = number_columns(table, CENTER, path) @ global2lidar[:3, :3].T + global2lidar[:3, 3]
        turn = np.arctan2(global2lidar[1, 0], global2lidar[0, 0])
        yaws = number_columns(table, ['yaw'], path)[:, 0] + np.pi / 2 + turn
        yaws = (yaws + np.pi) % (2 * np.pi) - np.pi
        parts = zip(centers, number_columns(table, SIZE, path), yaws, table['label'], table['uuid'], strict=True)
        return [
            {'bbox_3d': [*center.tolist(), *size.tolist(), float(yaw)], 'label': str(label), 'token': str(uuid)}
            for center, size, yaw, label, uuid in parts
        ]

    def _target(self, name: str) -> Path:
        return self.out_dir / 'lidar' / self.folder.name / name

    def _relative(self, target: Path) -> str:
        return target.relative_to(self.out_dir).as_posix()


def _check_delays(delays: np.ndarray, path: Path) -> None:
    """Check that points were measured near the time stamp of their frame, seconds ``(n,)``."""
    farthest = delays[np.abs(delays).argmax()]
    if abs(farthest) > LONGEST_DELAY:
        raise InputError(
            f'{path}: a point (column t) is {farthest:g} s from the time stamp of its frame (lidar/timestamps.json), '
            f'more than {LONGEST_DELAY:g} s; both are seconds of one clock; {DOWNLOAD_AGAIN}'
        )


def _class_ids(path: Path, table: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read ``classes.json``, which names the class numbers of a sequence.

    Args:
        path: the file.
        table: file of classes that needs it, for messages.

    Returns:
        ``(256,)`` our class id of each number, and ``(256,)`` whether the file gives it a name of PandaSet.

    Raises:
        InputError: numbers that are not below 256, or not one name of PandaSet.
    """
    names = read_json(path, DOWNLOAD_AGAIN)
    ids, named = np.full(256, UNKNOWN_CLASS, np.uint8), np.zeros(256, bool)
    try:
        for number, name in names.items():
            ids[int(number)] = CLASS_ID[CLASS_OF_NAME[name]] if name in CLASS_OF_NAME else UNKNOWN_CLASS
            named[int(number)] = name in CLASS_OF_NAME or name in OTHER_CLASSES
    except (AttributeError, IndexError, TypeError, ValueError) as error:
        raise InputError(
            f'{table}: its classes or those of classes.json are no numbers below 256 ({error}); {DOWNLOAD_AGAIN}'
        ) from error
    if (ids == UNKNOWN_CLASS).all():
        raise InputError(f"{path}: names none of PandaSet's classes (Road, Car, Vegetation, ...); {DOWNLOAD_AGAIN}")
    return ids, named
