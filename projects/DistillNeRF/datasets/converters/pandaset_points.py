"""What PandaSet measured beside images: LiDAR points, their classes and the origins of their beams, and cuboids.

Time: points are where they were in the world when they were hit (compensated for motion), not where a beam from the
pose of their frame would see them. That pose and time stamp are of the *end* of the turn of sensor 0, which begins 0.1
s earlier at the back and goes clockwise, so that it looks ahead in the middle; sensor 1 runs on its own clock, from
0.14 s before to 0.03 s after. What moves is where it was then, so points have a column with their time. Beams begin
where the car was then, too: the origin of a sensor that we write is that of the middle of the turn, and its velocity
leads to that of any beam (6 mm off at most in sequence 002; without the velocity 0.46 m, at 5 m/s).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...geometry.poses import inverse_pose
from ...semantics.classes import CLASS_ID, UNKNOWN_CLASS
from ...utils.errors import InputError, warn
from ...utils.files import atomic_path, read_json
from ...utils.provenance import Provenance, fingerprint
from ..file_checks import check_ranges
from ..infos import Info
from .common import DOWNLOAD_AGAIN
from .pandaset_raw import TABLE_SUFFIXES, frame_files, number_columns, read_table

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
POINT_COLUMNS = ('x', 'y', 'z', 'i', 'd', 't')
CENTER, SIZE = ('position.x', 'position.y', 'position.z'), ('dimensions.y', 'dimensions.x', 'dimensions.z')


def beam_origins(lidar2global: np.ndarray, vehicle2global: np.ndarray, other: np.ndarray, step: float) -> Info:
    """Return where beams begin, in the LiDAR frame, as fields of ``lidar_points``.

    Args:
        lidar2global: ``(4, 4)`` pose of the LiDAR frame.
        vehicle2global: ``(4, 4)`` pose of the vehicle, x right, y forward, at the end of the turn.
        other: ``(4, 4)`` pose one frame before; of the first frame, one after.
        step: seconds from the frame to the other one; 0 if there is none.

    Returns:
        ``origins`` of both sensors in the middle of the turn, or, as nothing was before the first frame, at its end;
        the ``origins_delay`` of that time; and ``origins_velocity``.
    """
    here, there = (
        np.asarray(BEAM_ORIGINS) @ pose[:3, :3].T + pose[:3, 3]
        for pose in (inverse_pose(lidar2global) @ vehicle2global, inverse_pose(lidar2global) @ other)
    )
    delay = min(step, 0.0) / 2
    velocity = (there - here) / step if step else np.zeros_like(here)
    return {
        'origins': (here + delay * velocity).tolist(),
        'origins_delay': delay,
        'origins_velocity': velocity.tolist(),
    }


class Measurements:
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
