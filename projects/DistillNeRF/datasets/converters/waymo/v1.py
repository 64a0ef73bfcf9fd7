"""Read Waymo Open Dataset v1: TFRecords of ``Frame`` messages. TensorFlow is not needed.

The messages are those of the official package, which pip installs without its own requirements (a TensorFlow among
them): ``requirements/nodeps.txt``.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ....utils.errors import InputError
from ..common import DOWNLOAD_AGAIN
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
from .reading import (
    check_finite,
    check_shutter,
    checked_box,
    checked_name,
    image_box,
    laser_calibration,
    rigid_pose,
    sensor_name,
)
from .tfrecord import count_records, read_records, record_label

PACKAGE = 'waymo-open-dataset-tf-2-12-0==1.6.7'
# v1 names the segment of a file: ``segment-NAME_with_camera_labels.tfrecord``.
SUFFIX = '.tfrecord'
_BOX = ('center_x', 'center_y', 'center_z', 'length', 'width', 'height', 'heading')


def messages() -> ModuleType:
    """Return the module of the messages.

    Raises:
        InputError: the package is not installed.
    """
    try:
        from waymo_open_dataset import dataset_pb2
    except ImportError as error:
        raise InputError(
            f"Waymo's messages are not installed ({error}); install them with `python -m pip install --no-deps "
            f'{PACKAGE}` (on Linux, x86_64)'
        ) from error
    return dataset_pb2


def find_files(root: Path) -> list[Path]:
    """Return the files of the segments below a folder, at any depth."""
    return sorted(root.rglob(f'*{SUFFIX}'))


def source_files(path: Path) -> list[Path]:
    """Return all files that a segment is read from, of one of :func:`find_files`."""
    return [path]


def split_folder(path: Path) -> str:
    """Return the name of the folder that may tell the split of a segment."""
    return path.parent.name


def count_frames(path: Path) -> int:
    """Count the frames of a segment."""
    return count_records(path)


def frame_label(path: Path, number: int, timestamp: float) -> str:
    """Return what messages call a frame; its number says enough."""
    del timestamp
    return record_label(path, number)


def read_frames(path: Path, wanted: Wanted, every: int = 1) -> Iterator[tuple[int, Frame]]:
    """Yield number and content of each ``every``-th frame of a file.

    Raises:
        InputError: names the file and the record that is damaged, or lacks what is wanted.
    """
    for number, data in read_records(path, every):
        where = record_label(path, number)
        message = _parse('Frame', data, where)
        yield number, _frame(message, wanted, where)


def segment_name(path: Path) -> str:
    """Read the name of the segment from the first record of a file."""
    for number, data in read_records(path):
        where = record_label(path, number)
        return _name(_parse('Frame', data, where), where)
    raise InputError(f'{path}: holds no record; {DOWNLOAD_AGAIN}')


def _parse(kind: str, data: bytes, where: str) -> Any:
    """Parse a message of the official package."""
    modules = messages()
    from google.protobuf.message import DecodeError

    message = getattr(modules, kind)()
    try:
        message.ParseFromString(data)
    except DecodeError as error:
        raise InputError(f'{where}: holds no {kind} message ({error}); {DOWNLOAD_AGAIN}') from error
    return message


def _name(message: Any, where: str) -> str:
    return checked_name(message.context.name, where)


def _frame(message: Any, wanted: Wanted, where: str) -> Frame:
    context = message.context
    if not message.timestamp_micros > 0:
        raise InputError(f'{where}: has no time stamp; {DOWNLOAD_AGAIN}')
    cameras = {sensor_name(CAMERAS, camera.name, 'camera', where): camera for camera in context.camera_calibrations}
    lasers = {sensor_name(LASERS, laser.name, 'laser', where): laser for laser in context.laser_calibrations}
    return Frame(
        segment=_name(message, where),
        timestamp=message.timestamp_micros / 1e6,
        vehicle2global=_pose(message.pose, f'{where}: the pose of the frame'),
        cameras={name: _camera(cameras[name], f'{where}: camera {name}') for name in wanted.cameras if name in cameras},
        images=_images(message, wanted.cameras, where),
        lasers={name: _laser(laser, f'{where}: laser {name}') for name, laser in lasers.items()},
        returns=_returns(message.lasers, wanted, where) if wanted.returns else {},
        boxes=[_box(label, where) for label in message.laser_labels],
        attributes={
            name: getattr(context.stats, name)
            for name in ('time_of_day', 'location', 'weather')
            if getattr(context.stats, name)
        },
    )


def _pose(transform: Any, where: str) -> np.ndarray:
    return rigid_pose(transform.transform, where)


def _check_set(message: Any, fields: Sequence[str], where: str) -> None:
    """Check that a message has all of some fields: those that lack are read as 0."""
    for name in fields:
        if not message.HasField(name):
            raise InputError(f'{where}: lacks {name}; {DOWNLOAD_AGAIN}')


def _camera(camera: Any, where: str) -> CameraCalibration:
    if len(camera.intrinsic) != 9 or not (camera.width > 0 and camera.height > 0):
        raise InputError(f'{where}: its calibration is not complete; {DOWNLOAD_AGAIN}')
    check_finite(np.array(camera.intrinsic), f'{where}: its calibration')
    fx, fy, cx, cy, *distortion = camera.intrinsic
    return CameraCalibration(
        _pose(camera.extrinsic, f'{where}: its pose on the vehicle'),
        np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]]),
        np.array(distortion),
        camera.height,
        camera.width,
        SHUTTER_DIRECTIONS[camera.rolling_shutter_direction],
    )


def _laser(laser: Any, where: str) -> LaserCalibration:
    if not laser.beam_inclinations:
        _check_set(laser, ('beam_inclination_min', 'beam_inclination_max'), where)
    return laser_calibration(
        _pose(laser.extrinsic, f'{where}: its pose on the vehicle'),
        (laser.beam_inclination_min, laser.beam_inclination_max),
        laser.beam_inclinations,
        where,
    )


def _images(message: Any, names: Sequence[str], where: str) -> dict[str, CameraImage]:
    found = {sensor_name(CAMERAS, image.name, 'camera', where): image for image in message.images}
    drawn, projected = (
        {sensor_name(CAMERAS, label.name, 'camera', where): label.labels for label in labels}
        for labels in (message.camera_labels, message.projected_lidar_labels)
    )
    images = {}
    for name in names:
        if name in found:
            label = f'{where}: camera {name}'
            boxes = (_image_boxes(labels.get(name, ()), label) for labels in (drawn, projected))
            images[name] = _image(found[name], *boxes, label)
    return images


def _image(image: Any, boxes: Sequence[ImageBox], projected: Sequence[ImageBox], where: str) -> CameraImage:
    velocity, shutter, moves = None, None, image.velocity
    if image.HasField('velocity'):
        velocity = np.array([moves.v_x, moves.v_y, moves.v_z, moves.w_x, moves.w_y, moves.w_z])
        check_finite(velocity, f'{where}: the velocity of the vehicle')
    if image.HasField('camera_trigger_time') and image.HasField('camera_readout_done_time'):
        shutter = Shutter(image.shutter, image.camera_trigger_time, image.camera_readout_done_time)
        check_shutter(shutter, image.pose_timestamp, where)
    return CameraImage(
        jpeg=image.image,
        vehicle2global=_pose(image.pose, f'{where}: the pose of its image'),
        timestamp=image.pose_timestamp,
        velocity=velocity,
        shutter=shutter,
        boxes=boxes,
        projected_boxes=projected,
        panoptic=_panoptic(image.camera_segmentation_label),
    )


def _image_boxes(labels: Sequence[Any], where: str) -> list[ImageBox]:
    for label in labels:
        _check_set(label, ('type', 'box'), f'{where}: box {label.id} in its image')
        _check_set(label.box, ('center_x', 'center_y', 'length', 'width'), f'{where}: box {label.id} in its image')
    return [
        image_box(
            (label.box.center_x, label.box.center_y),
            (label.box.length, label.box.width),  # length lies along x
            label.type,
            label.id,
            where,
        )
        for label in labels
    ]


def _panoptic(label: Any) -> Panoptic | None:
    if not label.panoptic_label:
        return None
    ids = {
        entry.local_instance_id: entry.global_instance_id
        for entry in label.instance_id_to_global_id_mapping
        if entry.is_tracked
    }
    return Panoptic(label.panoptic_label, label.panoptic_label_divisor, label.sequence_id, ids)


def _box(label: Any, where: str) -> Box:
    box, moves = label.box, label.metadata
    _check_set(label, ('type', 'box'), f'{where}: box {label.id}')
    _check_set(box, _BOX, f'{where}: box {label.id}')
    known = label.HasField('metadata') and moves.HasField('speed_x') and moves.HasField('speed_y')
    known = known and np.isfinite([moves.speed_x, moves.speed_y]).all()
    made = Box(
        (box.center_x, box.center_y, box.center_z),
        (box.length, box.width, box.height),
        box.heading,
        OBJECT_TYPES[label.type],
        label.id,
        (moves.speed_x, moves.speed_y) if known else None,
        label.num_lidar_points_in_box,
    )
    return checked_box(made, where)


def _returns(lasers: Sequence[Any], wanted: Wanted, where: str) -> dict[str, LaserReturns]:
    """Decompress what the lasers measured; those whose messages are empty (LiDAR left out of the data) are left out."""
    returns = {}
    for laser in lasers:
        first = laser.ri_return1
        if not _is_measured(first):
            continue
        name = sensor_name(LASERS, laser.name, 'laser', where)
        label = f'{where}: laser {name}'
        measured = [first, laser.ri_return2][: wanted.returns]
        images = [_range_image(part, label) for part in measured if _is_measured(part)]
        poses, projections = first.range_image_pose_compressed, first.camera_projection_compressed
        returns[name] = LaserReturns(
            images,
            decode_matrix(poses, 'MatrixFloat', label) if poses else None,
            decode_matrix(projections, 'MatrixInt32', label) if projections and wanted.camera_projections else None,
        )
        if name == 'TOP' and returns[name].pixel_poses is None:
            raise InputError(f'{label}: has no pose of each pixel; {DOWNLOAD_AGAIN}')
    return returns


def _is_measured(part: Any) -> bool:
    return part.HasField('range_image_compressed') or part.HasField('range_image')


def _range_image(part: Any, where: str) -> np.ndarray:
    if part.range_image_compressed:
        return decode_matrix(part.range_image_compressed, 'MatrixFloat', where)
    return _as_array(part.range_image, np.float32, where)  # of the first release


def decode_matrix(compressed: bytes, kind: str, where: str) -> np.ndarray:
    """Decode a compressed ``MatrixFloat`` (float32) or ``MatrixInt32`` (int32).

    Raises:
        InputError: damaged data.
    """
    try:
        data = zlib.decompress(compressed)
    except zlib.error as error:
        raise InputError(f'{where}: a compressed {kind} cannot be decompressed ({error}); {DOWNLOAD_AGAIN}') from error
    return _as_array(_parse(kind, data, where), np.int32 if kind == 'MatrixInt32' else np.float32, where)


def _as_array(matrix: Any, dtype: type, where: str) -> np.ndarray:
    values, shape = np.array(matrix.data, dtype), tuple(matrix.shape.dims)
    if not shape or values.size != np.prod(shape, dtype=np.int64):
        raise InputError(f'{where}: a matrix of {shape} has {values.size} numbers; {DOWNLOAD_AGAIN}')
    return values.reshape(shape)
