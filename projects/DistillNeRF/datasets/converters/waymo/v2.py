"""Read Waymo Open Dataset v2: a folder of each component, with a Parquet file of each segment.

Their columns are those of the official package (``waymo_open_dataset/v2``). The same numbers stand there as in v1, but
for what v2 has not: v1's record of a frame and its checksums; no-label zones as polygons (those of pixels are there);
whether a velocity or a shutter's run is missing or zero (a run without trigger time is taken as missing).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from ....utils.errors import InputError
from ..common import DOWNLOAD_AGAIN
from .components import (
    CAMERA,
    CAMERA_BOX,
    CAMERA_CALIBRATION,
    CENTER,
    IMAGE,
    IMAGE_BOX,
    INSTANCES,
    INTRINSICS,
    LASER,
    LIDAR,
    LIDAR_BOX,
    LIDAR_CALIBRATION,
    LIDAR_POSE,
    OPTIONAL,
    POSE,
    PROJECTED_BOX,
    PROJECTION,
    RETURNS,
    SEGMENTATION,
    SHUTTER,
    SIZE,
    STATS,
    TIME,
    VELOCITY,
    Component,
)
from .frames import (
    CAMERAS,
    LASERS,
    OBJECT_TYPES,
    SHUTTER_DIRECTIONS,
    Box,
    CameraCalibration,
    CameraImage,
    Frame,
    ImageBox,
    LaserCalibration,
    LaserReturns,
    Panoptic,
    Shutter,
    Wanted,
)
from .parquet import SUFFIX, ComponentFile, Key, KeyedRow, Row, RowStream, read_table
from .reading import (
    check_finite,
    check_shutter,
    checked_box,
    checked_name,
    image_box,
    kind_name,
    laser_calibration,
    rigid_pose,
    sensor_name,
)


def find_files(root: Path) -> list[Path]:
    """Return the images' files of the segments below a folder, at any depth; the others lie in folders beside."""
    return sorted(root.rglob(f'{IMAGE.folder}/*{SUFFIX}'))


def source_files(path: Path) -> list[Path]:
    """Return all files that a segment is read from, of one of :func:`find_files`."""
    return sorted(path.parent.parent.glob(f'*/{path.name}'))


def split_folder(path: Path) -> str:
    """Return the name of the folder that may tell the split of a segment."""
    return path.parent.parent.name


def lacking(path: Path) -> list[Component]:
    """Return which of :data:`OPTIONAL` a segment lacks."""
    return [component for component in OPTIONAL if not component_path(path, component).exists()]


def component_path(path: Path, component: Component) -> Path:
    """Return the file of a component, of the images' file of its segment."""
    return path.parent.parent / component.folder / path.name


def segment_name(path: Path) -> str:
    """Read the name of the segment from the images' file."""
    name = ComponentFile(path, IMAGE).segment
    if name is None:
        raise InputError(f'{path}: holds no row; {DOWNLOAD_AGAIN}')
    return checked_name(name, path.as_posix())


def count_frames(path: Path) -> int:
    """Count the frames of a segment."""
    return len(_times(*(ComponentFile(component_path(path, part), part, _hint(part)) for part in (IMAGE, POSE))))


def frame_label(path: Path, number: int, timestamp: float) -> str:
    """Return what messages call a frame; all components are meant."""
    return f'{path.parent.parent}/*/{path.name}: frame {number} ({TIME} {round(timestamp * 1e6)})'


def read_frames(path: Path, wanted: Wanted, every: int = 1) -> Iterator[tuple[int, Frame]]:
    """Yield number and content of each ``every``-th frame of a segment, in order of time.

    Args:
        path: the file of its images.
        wanted: what to read.
        every: every how many-th frame.

    Raises:
        InputError: names the file, and the row or time stamp that is damaged, or lacks what is wanted.
    """
    segment = _Segment(path, wanted)
    times = segment.times[::every]
    images, lasers = _Images(segment, times), _Lasers(segment, times)
    for number, time in enumerate(times):
        if time not in segment.poses:
            raise InputError(f'{segment.path(POSE)}: has no pose for {TIME} {time}; {DOWNLOAD_AGAIN}')
        where = f'{segment.path(POSE)}: {TIME} {time}: the pose of the frame'
        stats = segment.stats.get(time, {})
        yield (
            number * every,
            Frame(
                segment=segment.name,
                timestamp=time / 1e6,
                vehicle2global=rigid_pose(segment.poses[time]['world_from_vehicle.transform'], where),
                cameras=images.calibrations,
                images=images.take(time),
                lasers=lasers.calibrations,
                returns=lasers.take(time),
                boxes=[_box(key[1], row, segment.path(LIDAR_BOX)) for key, row in segment.boxes.get((time,), ())],
                attributes={name: stats[name] for name in STATS.nullable if stats.get(name)},
            ),
        )


class _Segment:
    """What is small of a segment.

    Attributes:
        name: of the segment.
        wanted: what to read.
        images: the file of the images.
        poses: rows of the vehicle's poses by time stamp.
        stats: rows of the segment's attributes by time stamp.
        boxes: keys and rows of the boxes in space by ``(time stamp,)``.
        times: time stamps of its frames, microseconds, increasing.
    """

    def __init__(self, path: Path, wanted: Wanted) -> None:
        """Read a segment's small components.

        Raises:
            InputError: one that is missing or damaged, or a segment without frames.
        """
        self._images_path, self.wanted = path, wanted
        self.name = segment_name(path)
        self.images = self.file(IMAGE)
        poses = self.file(POSE)
        self.poses = {key[0]: row for key, row in read_table(poses)}
        self.stats = {key[0]: row for key, row in self.table(STATS)}
        self.boxes = _grouped(self.table(LIDAR_BOX, unique=False), 1)
        self.times = _times(self.images, poses)

    def path(self, component: Component) -> Path:
        """Return the file of a component."""
        return component_path(self._images_path, component)

    def file(self, component: Component) -> ComponentFile:
        """Open a component.

        Raises:
            InputError: it is missing, damaged or of another segment.
        """
        file = ComponentFile(self.path(component), component, _hint(component))
        if file.segment not in (None, self.name):
            raise InputError(
                f'{file.path}: is of segment {file.segment}, not of {self.name} as {IMAGE.folder} is; {DOWNLOAD_AGAIN}'
            )
        return file

    def table(self, component: Component, unique: bool = True) -> list[KeyedRow]:
        """Read a component; no rows if it may be missing and is."""
        if component in OPTIONAL and not self.path(component).exists():
            return []
        return read_table(self.file(component), unique)


class _Images:
    """The images of a segment, frame by frame.

    Attributes:
        calibrations: of the wanted cameras, by name.
    """

    def __init__(self, segment: _Segment, times: Sequence[int]) -> None:
        self._segment, file = segment, segment.images
        _check_sensors(file, CAMERAS, 'camera')
        numbers = [CAMERAS.index(name) + 1 for name in segment.wanted.cameras]
        self._rows = RowStream(file, _keys(times, numbers), IMAGE.columns + IMAGE.nullable)
        self._boxes, self._projected, labels = (
            _grouped(segment.table(component, unique=component is SEGMENTATION), 2)
            for component in (CAMERA_BOX, PROJECTED_BOX, SEGMENTATION)
        )
        self._labels = {key: rows[0][1] for key, rows in labels.items()}
        path = segment.path(CAMERA_CALIBRATION)
        found = {
            sensor_name(CAMERAS, number, 'camera', f'{path}: {CAMERA} {number}'): row
            for (number,), row in segment.table(CAMERA_CALIBRATION)
        }
        self.calibrations = {
            name: _camera(found[name], f'{path}: camera {name}') for name in segment.wanted.cameras if name in found
        }

    def take(self, time: int) -> dict[str, CameraImage]:
        """Return the images of a frame by name, in the order that is wanted."""
        rows = self._rows.take(time)
        numbers = ((name, CAMERAS.index(name) + 1) for name in self._segment.wanted.cameras)
        return {name: self._image(name, (time, number), rows[number]) for name, number in numbers if number in rows}

    def _image(self, name: str, key: Key, row: Row) -> CameraImage:
        path, where = self._segment.path, f'{TIME} {key[0]}: camera {name}'
        label = f'{path(IMAGE)}: {where}'
        moves, (exposure, trigger, done) = [row[part] for part in VELOCITY], [row[part] for part in SHUTTER]
        velocity, shutter = None, None
        if None not in moves:
            velocity = np.array(moves)
            check_finite(velocity, f'{label}: the velocity of the vehicle')
        if exposure is not None and trigger and done:
            shutter = Shutter(exposure, trigger, done)
            check_shutter(shutter, row['pose_timestamp'], label)
        return CameraImage(
            jpeg=row['image'],
            vehicle2global=rigid_pose(row['pose.transform'], f'{label}: the pose of its image'),
            timestamp=row['pose_timestamp'],
            velocity=velocity,
            shutter=shutter,
            boxes=[
                _image_box(object_id, box, f'{path(CAMERA_BOX)}: {where}')
                for (_, _, object_id), box in self._boxes.get(key, ())
            ],
            projected_boxes=[
                _image_box(f'{object_id}_{name}', box, f'{path(PROJECTED_BOX)}: {where}')
                for (_, _, object_id), box in self._projected.get(key, ())
            ],
            panoptic=_panoptic(self._labels[key], f'{path(SEGMENTATION)}: {where}') if key in self._labels else None,
        )


class _Lasers:
    """What the lasers of a segment measured, frame by frame; nothing where LiDAR is not there, or not wanted.

    Attributes:
        calibrations: by name.
    """

    def __init__(self, segment: _Segment, times: Sequence[int]) -> None:
        self._segment, wanted = segment, segment.wanted
        self.calibrations: dict[str, LaserCalibration] = {}
        self._rows: dict[Component, RowStream] = {}
        if not wanted.returns or not segment.path(LIDAR).exists():
            return
        keys = _keys(times, range(1, len(LASERS) + 1))
        parts = {LIDAR: sum(RETURNS[: wanted.returns], ()), LIDAR_POSE: LIDAR_POSE.columns}
        if wanted.camera_projections and segment.path(PROJECTION).exists():
            parts[PROJECTION] = PROJECTION.nullable
        for component, columns in parts.items():
            file = segment.file(component)
            _check_sensors(file, LASERS, 'laser')
            self._rows[component] = RowStream(file, keys, columns)
        path = segment.path(LIDAR_CALIBRATION)
        for (number,), row in sorted(segment.table(LIDAR_CALIBRATION), key=lambda entry: entry[0]):
            name = sensor_name(LASERS, number, 'laser', f'{path}: {LASER} {number}')
            self.calibrations[name] = _laser(row, f'{path}: laser {name}')

    def take(self, time: int) -> dict[str, LaserReturns]:
        """Return the measurements of a frame by name of the laser."""
        if not self._rows:
            return {}
        rows = {component: stream.take(time) for component, stream in self._rows.items()}
        path = self._segment.path
        if not rows[LIDAR]:
            raise InputError(f'{path(LIDAR)}: has no row for {TIME} {time}; {DOWNLOAD_AGAIN}')
        returns = {}
        for number, row in sorted(rows[LIDAR].items()):
            name = LASERS[number - 1]
            where = f'{TIME} {time}: laser {name}'
            images = [_array(row, names, np.float32, f'{path(LIDAR)}: {where}') for names in RETURNS]
            if images[0] is None:
                continue
            pose, projected = (rows.get(component, {}).get(number) for component in (LIDAR_POSE, PROJECTION))
            if name == 'TOP' and pose is None:
                raise InputError(f'{path(LIDAR_POSE)}: {where}: has no pose of each pixel; {DOWNLOAD_AGAIN}')
            returns[name] = LaserReturns(
                [image for image in images if image is not None],
                _array(pose, RETURNS[0], np.float32, f'{path(LIDAR_POSE)}: {where}'),
                _array(projected, RETURNS[0], np.int32, f'{path(PROJECTION)}: {where}'),
            )
        return returns


def _hint(component: Component) -> str:
    return f'download {component.folder} of this segment, too: the folder of each component beside the others'


def _times(*files: ComponentFile) -> list[int]:
    """Return the time stamps of all rows of some components, microseconds, increasing."""
    return sorted({key[0] for file in files for key in file.keys})


def _keys(times: Iterable[int], sensors: Iterable[int]) -> set[Key]:
    return {(time, sensor) for sensor in sensors for time in times}


def _grouped(rows: Iterable[KeyedRow], count: int) -> dict[Key, list[KeyedRow]]:
    """Group rows by the first parts of their keys."""
    groups: dict[Key, list[KeyedRow]] = defaultdict(list)
    for key, row in rows:
        groups[key[:count]].append((key, row))
    return groups


def _check_sensors(file: ComponentFile, names: Sequence[str], what: str) -> None:
    """Check that the sensors of all rows are known."""
    for row, (time, number) in enumerate(file.keys):
        sensor_name(names, number, what, f'{file.path}: row {row}: {TIME} {time}')


def _camera(row: Row, where: str) -> CameraCalibration:
    fx, fy, cx, cy, *distortion = (row[name] for name in INTRINSICS)
    if not (row['width'] > 0 and row['height'] > 0):
        raise InputError(f'{where}: its calibration is not complete; {DOWNLOAD_AGAIN}')
    check_finite(np.array([fx, fy, cx, cy, *distortion]), f'{where}: its calibration')
    return CameraCalibration(
        rigid_pose(row['extrinsic.transform'], f'{where}: its pose on the vehicle'),
        np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]]),
        np.array(distortion),
        row['height'],
        row['width'],
        kind_name(SHUTTER_DIRECTIONS, row['rolling_shutter_direction'], f'{where}: its rolling shutter'),
    )


def _laser(row: Row, where: str) -> LaserCalibration:
    given = row['beam_inclination.values']
    return laser_calibration(
        rigid_pose(row['extrinsic.transform'], f'{where}: its pose on the vehicle'),
        (row['beam_inclination.min'], row['beam_inclination.max']),
        () if given is None else given,
        where,
    )


def _box(object_id: str, row: Row, path: Path) -> Box:
    speed = row['speed.x'], row['speed.y']
    center, size = ((row[x], row[y], row[z]) for x, y, z in (CENTER, SIZE))
    kind = kind_name(OBJECT_TYPES, row['type'], f'{path}: object {object_id}')
    made = Box(
        center,
        size,
        row['box.heading'],
        kind,
        object_id,
        None if None in speed or not np.isfinite(speed).all() else speed,
        row['num_lidar_points_in_box'],
    )
    return checked_box(made, str(path))


def _image_box(token: str, row: Row, where: str) -> ImageBox:
    x, y, width, height, number = (row[name] for name in IMAGE_BOX)
    return image_box((x, y), (width, height), number, token, where)


def _panoptic(row: Row, where: str) -> Panoptic | None:
    if not row['panoptic_label']:
        return None
    parts = [() if row[name] is None else row[name] for name in INSTANCES]
    if len({len(part) for part in parts}) > 1:
        raise InputError(f'{where}: its lists of instances differ in length; {DOWNLOAD_AGAIN}')
    ids = {int(local): int(tracked) for local, tracked, known in zip(*parts, strict=True) if known}
    return Panoptic(row['panoptic_label'], row['panoptic_label_divisor'], row['sequence_id'], ids)


def _array(row: Row | None, names: Sequence[str], dtype: type, where: str) -> np.ndarray | None:
    """Return an array of its values and shape; None where there is none."""
    if row is None or row.get(names[0]) is None:
        return None
    values, shape = row[names[0]], tuple(() if row[names[1]] is None else row[names[1]].tolist())
    if not shape or values.size != np.prod(shape, dtype=np.int64):
        raise InputError(f'{where}: an array of shape {shape} has {values.size} numbers; {DOWNLOAD_AGAIN}')
    return values.reshape(shape).astype(dtype, copy=False)
