"""Write frames of Waymo as TFRecords of the official messages (v1)."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from projects.DistillNeRF.datasets.converters.waymo.frames import (
    CAMERAS,
    LASERS,
    OBJECT_TYPES,
    SHUTTER_DIRECTIONS,
    CameraImage,
    Frame,
    ImageBox,
    LaserReturns,
)
from projects.DistillNeRF.datasets.converters.waymo.tfrecord import frame_record
from projects.DistillNeRF.datasets.converters.waymo.v1 import messages

Change = Callable[[Any, int], None]


def write_segment(path: Path, frames: Sequence[Frame], change: Change | None = None) -> Path:
    """Write frames as a file of records.

    Args:
        path: the file.
        frames: its frames.
        change: is given each message and its number, and may damage it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    parts = []
    for number, frame in enumerate(frames):
        made = message(frame)
        if change is not None:
            change(made, number)
        parts.append(frame_record(made.SerializeToString()))
    path.write_bytes(b''.join(parts))
    return path


def file_name(segment: str) -> str:
    """Return the name that Waymo gives the file of a segment."""
    return f'segment-{segment}_with_camera_labels.tfrecord'


def message(frame: Frame) -> Any:
    """Return the message of a frame."""
    made = messages().Frame()
    made.timestamp_micros = round(frame.timestamp * 1e6)
    made.pose.transform.extend(frame.vehicle2global.ravel())
    made.context.name = frame.segment
    for name, value in frame.attributes.items():
        setattr(made.context.stats, name, value)
    for name, camera in frame.cameras.items():
        matrix = camera.intrinsics
        made.context.camera_calibrations.add(
            name=CAMERAS.index(name) + 1,
            intrinsic=[matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2], *camera.distortion],
            width=camera.width,
            height=camera.height,
            rolling_shutter_direction=SHUTTER_DIRECTIONS.index(camera.shutter_direction),
        ).extrinsic.transform.extend(camera.camera2vehicle.ravel())
    for name, laser in frame.lasers.items():
        low, high = laser.inclination_range
        calibration = made.context.laser_calibrations.add(
            name=LASERS.index(name) + 1, beam_inclination_min=low, beam_inclination_max=high
        )
        calibration.extrinsic.transform.extend(laser.laser2vehicle.ravel())
        if laser.inclinations is not None:
            calibration.beam_inclinations.extend(laser.inclinations)
    for name, image in frame.images.items():
        _add_image(made, CAMERAS.index(name) + 1, image)
    for name, measured in frame.returns.items():
        _add_laser(made.lasers.add(name=LASERS.index(name) + 1), measured)
    for box in frame.boxes:
        label = made.laser_labels.add(
            type=OBJECT_TYPES.index(box.type), id=box.token, num_lidar_points_in_box=box.points
        )
        label.box.center_x, label.box.center_y, label.box.center_z = box.center
        label.box.length, label.box.width, label.box.height = box.size
        label.box.heading = box.heading
        if box.velocity is not None:
            label.metadata.speed_x, label.metadata.speed_y = box.velocity
    return made


def _add_image(made: Any, number: int, image: CameraImage) -> None:
    added = made.images.add(name=number, image=image.jpeg, pose_timestamp=image.timestamp)
    added.pose.transform.extend(image.vehicle2global.ravel())
    if image.velocity is not None:
        for name, value in zip(('v_x', 'v_y', 'v_z', 'w_x', 'w_y', 'w_z'), image.velocity, strict=True):
            setattr(added.velocity, name, value)
    if image.shutter is not None:
        added.shutter = image.shutter.exposure
        added.camera_trigger_time = image.shutter.trigger_time
        added.camera_readout_done_time = image.shutter.readout_done_time
    if image.panoptic is not None:
        label = added.camera_segmentation_label
        label.panoptic_label, label.panoptic_label_divisor = image.panoptic.png, image.panoptic.divisor
        label.sequence_id = image.panoptic.sequence
        for local, tracked in image.panoptic.global_ids.items():
            label.instance_id_to_global_id_mapping.add(
                local_instance_id=local, global_instance_id=tracked, is_tracked=True
            )
    _add_boxes(made.camera_labels.add(name=number), image.boxes)
    _add_boxes(made.projected_lidar_labels.add(name=number), image.projected_boxes)


def _add_boxes(labels: Any, boxes: Sequence[ImageBox]) -> None:
    for box in boxes:
        label = labels.labels.add(type=OBJECT_TYPES.index(box.type), id=box.token)
        label.box.center_x, label.box.center_y = box.center
        label.box.length, label.box.width = box.size


def _add_laser(laser: Any, measured: LaserReturns) -> None:
    for part, image in zip((laser.ri_return1, laser.ri_return2), measured.range_images, strict=False):
        part.range_image_compressed = compressed(image, 'MatrixFloat')
    if measured.pixel_poses is not None:
        laser.ri_return1.range_image_pose_compressed = compressed(measured.pixel_poses, 'MatrixFloat')
    if measured.camera_projections is not None:
        laser.ri_return1.camera_projection_compressed = compressed(measured.camera_projections, 'MatrixInt32')


def compressed(values: np.ndarray, kind: str) -> bytes:
    """Return an array as a compressed ``MatrixFloat`` or ``MatrixInt32``."""
    matrix = getattr(messages(), kind)()
    matrix.data.extend(values.ravel().tolist())
    matrix.shape.dims.extend(values.shape)
    return zlib.compress(matrix.SerializeToString())
