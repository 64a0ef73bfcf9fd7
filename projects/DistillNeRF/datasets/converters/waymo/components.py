"""The tables of Waymo Open Dataset v2: their folders, keys and columns, as the official package has them.

Of each, the columns that are read. Enumerations and units are those of v1: meters, radians, pixels; time stamps of
frames are microseconds, all other times seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Component:
    """One of the tables that a segment has.

    Attributes:
        folder: its name: each segment has a file there.
        title: how its columns begin, in brackets.
        keys: what tells rows apart, beside the segment, without ``key.``.
        columns: those that are read, without their title.
        nullable: as ``columns``, but rows may lack a value.
    """

    folder: str
    title: str
    keys: tuple[str, ...]
    columns: tuple[str, ...] = ()
    nullable: tuple[str, ...] = ()

    def named(self, columns: Sequence[str]) -> list[str]:
        """Return columns as they are called in the file."""
        return [f'[{self.title}].{column}' for column in columns]


TIME, CAMERA, LASER = 'frame_timestamp_micros', 'camera_name', 'laser_name'
INTRINSICS = tuple(f'intrinsic.{name}' for name in ('f_u', 'f_v', 'c_u', 'c_v', 'k1', 'k2', 'p1', 'p2', 'k3'))
CENTER, SIZE = (tuple(f'box.{part}.{axis}' for axis in 'xyz') for part in ('center', 'size'))
IMAGE_BOX = ('box.center.x', 'box.center.y', 'box.size.x', 'box.size.y', 'type')
VELOCITY = tuple(f'velocity.{kind}_velocity.{axis}' for kind in ('linear', 'angular') for axis in 'xyz')
SHUTTER = tuple(
    f'rolling_shutter_params.{name}' for name in ('shutter', 'camera_trigger_time', 'camera_readout_done_time')
)
INSTANCES = tuple(
    f'instance_id_to_global_id_mapping.{name}' for name in ('local_instance_ids', 'global_instance_ids', 'is_tracked')
)
RETURNS = tuple((f'range_image_return{number}.values', f'range_image_return{number}.shape') for number in (1, 2))

IMAGE = Component(
    'camera_image',
    'CameraImageComponent',
    (TIME, CAMERA),
    ('image', 'pose.transform', 'pose_timestamp'),
    (*VELOCITY, *SHUTTER),
)
POSE = Component('vehicle_pose', 'VehiclePoseComponent', (TIME,), ('world_from_vehicle.transform',))
CAMERA_CALIBRATION = Component(
    'camera_calibration',
    'CameraCalibrationComponent',
    (CAMERA,),
    (*INTRINSICS, 'extrinsic.transform', 'width', 'height', 'rolling_shutter_direction'),
)
LIDAR = Component('lidar', 'LiDARComponent', (TIME, LASER), (), (*RETURNS[0], *RETURNS[1]))
LIDAR_CALIBRATION = Component(
    'lidar_calibration',
    'LiDARCalibrationComponent',
    (LASER,),
    ('extrinsic.transform', 'beam_inclination.min', 'beam_inclination.max'),
    ('beam_inclination.values',),
)
LIDAR_POSE = Component('lidar_pose', 'LiDARPoseComponent', (TIME, LASER), RETURNS[0])
PROJECTION = Component('lidar_camera_projection', 'LiDARCameraProjectionComponent', (TIME, LASER), (), RETURNS[0])
LIDAR_BOX = Component(
    'lidar_box',
    'LiDARBoxComponent',
    (TIME, 'laser_object_id'),
    (*CENTER, *SIZE, 'box.heading', 'type', 'num_lidar_points_in_box'),
    ('speed.x', 'speed.y'),
)
CAMERA_BOX = Component('camera_box', 'CameraBoxComponent', (TIME, CAMERA, 'camera_object_id'), IMAGE_BOX)
PROJECTED_BOX = Component(
    'projected_lidar_box', 'ProjectedLiDARBoxComponent', (TIME, CAMERA, 'laser_object_id'), IMAGE_BOX
)
SEGMENTATION = Component(
    'camera_segmentation',
    'CameraSegmentationLabelComponent',
    (TIME, CAMERA),
    ('panoptic_label', 'panoptic_label_divisor', 'sequence_id'),
    INSTANCES,
)
STATS = Component('stats', 'StatsComponent', (TIME,), (), ('time_of_day', 'location', 'weather'))
# Those that may be left out of a download, and what the records lack then.
OPTIONAL = {
    LIDAR: 'LiDAR points',
    LIDAR_BOX: 'boxes in space',
    CAMERA_BOX: 'boxes in the images',
    PROJECTED_BOX: 'projected boxes',
    SEGMENTATION: 'segmentation',
    STATS: 'time of day, place and weather',
}
