"""From a frame of Waymo to a record of our info format.

Axes are turned here, once. Our LiDAR frame is x right, y forward, z up; it is no laser's, but lies above the middle of
the car, so high that the road is at z = -1.84 m as below nuScenes' LiDAR. The ego frame is Waymo's vehicle. Cameras
look along +z, x right, y down.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ....geometry.poses import inverse_pose
from ....utils.errors import InputError
from ...custom_rig.distortion import Distortion, Undistortion
from ...infos import Info
from ...rig_checks import ORIGIN_HEIGHT
from ..common import DOWNLOAD_AGAIN, camera_record
from .frames import OBJECT_TYPES, Box, CameraCalibration, CameraImage, Frame, ImageBox
from .range_images import LASER_COLUMN, POINT_COLUMNS, TIME_COLUMN, TURN, Points

# Our camera, x right, y down, z forward, to Waymo's, x forward, y left, z up.
CAMERA_AXES = np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
# Our LiDAR frame, above the middle between the axles, to the vehicle, whose origin is on the road below the rear axle.
LIDAR2VEHICLE = np.array([[0.0, 1, 0, 1.43], [-1, 0, 0, 0], [0, 0, 1, ORIGIN_HEIGHT], [0, 0, 0, 1]])
VEHICLE2LIDAR = inverse_pose(LIDAR2VEHICLE)
CATEGORIES = {name: label for label, name in enumerate(OBJECT_TYPES[1:])}
# The corners and the middles of the sides of a box, as shares of its size from its middle.
_BORDER = np.array([(u, v) for u in (-0.5, 0, 0.5) for v in (-0.5, 0, 0.5) if u or v])


@dataclass(frozen=True)
class Lens:
    """What becomes of the distortion of one camera.

    Attributes:
        calibration: of the camera.
        undistortion: how its images become those of a pinhole camera; None: they stay as they are.
    """

    calibration: CameraCalibration
    undistortion: Undistortion | None = None

    @classmethod
    def of(cls, calibration: CameraCalibration, undistort: bool, where: str) -> Lens:
        """Make the lens of a camera.

        Raises:
            InputError: a distortion that is to be undone and cannot be.
        """
        if not undistort or not calibration.distortion.any():
            return cls(calibration)
        distortion = Distortion('opencv', tuple(calibration.distortion.tolist()))
        size = calibration.height, calibration.width
        return cls(calibration, distortion.undistortion(*size, calibration.intrinsics, where))

    @property
    def cam2img(self) -> np.ndarray:
        """The pinhole matrix ``(3, 3)`` of the images that are written."""
        return self.calibration.intrinsics if self.undistortion is None else self.undistortion.pinhole

    def fields(self) -> Info:
        """Return what the record of an image says of its lens."""
        coefficients = self.calibration.distortion.tolist()
        if self.undistortion is None:
            return {'distortion': coefficients}
        before = {'cam2img': self.calibration.intrinsics.tolist(), 'distortion': coefficients}
        return {'distortion': [0.0] * len(coefficients), 'undistorted_from': before}

    def boxes(self, boxes: Sequence[ImageBox]) -> Info:
        """Return boxes in the image that is written: ``bbox`` (left, top, right, bottom), ``type`` and ``token``."""
        centers, sizes = (np.array([getattr(box, part) for box in boxes]) for part in ('center', 'size'))
        borders = (centers[:, None] + sizes[:, None] * _BORDER) if len(boxes) else np.zeros((0, len(_BORDER), 2))
        if self.undistortion is not None and len(boxes):
            borders = self.undistortion.pixels(borders.reshape(-1, 2)).reshape(borders.shape)
        return {
            'bbox': np.concatenate([borders.min(1), borders.max(1)], axis=1).tolist(),
            'type': [box.type for box in boxes],
            'token': [box.token for box in boxes],
        }


def frame_record(frame: Frame, number: int, images: dict[str, Info], lidar_points: Info | None) -> Info:
    """Make the record of a frame, but for its place in the file and its neighbors.

    Args:
        frame: the frame.
        number: its number in its segment.
        images: records of its images (:func:`image_record`).
        lidar_points: of its points (:func:`points_record`).
    """
    lidar2global = frame.vehicle2global @ LIDAR2VEHICLE
    return {
        'token': f'{frame.segment}_{number:03d}',
        'scene': frame.segment,
        'frame': number,
        'timestamp': frame.timestamp + TURN / 2,
        'ego2global': frame.vehicle2global.tolist(),
        'lidar2global': lidar2global.tolist(),
        'images': images,
        'lidar_points': lidar_points,
        'lidar_sweeps': [],
        'instances': [box_record(box, frame.vehicle2global) for box in frame.boxes],
        'attributes': frame.attributes,
    }


def image_record(frame: Frame, camera: str, lens: Lens, img_path: str, panoptic_path: str | None) -> Info:
    """Make the record of an image.

    Args:
        frame: the frame.
        camera: name of the camera.
        lens: of the camera.
        img_path: file of the image, relative to the output folder.
        panoptic_path: file of its segmentation, if there is one.
    """
    image, calibration = frame.images[camera], frame.cameras[camera]
    record = camera_record(
        camera,
        img_path,
        (calibration.height, calibration.width),
        lens.cam2img,
        image.vehicle2global @ calibration.camera2vehicle @ CAMERA_AXES,
        frame.vehicle2global @ LIDAR2VEHICLE,
        image.vehicle2global,
        image.timestamp,
        frame.segment,
    )
    record |= lens.fields() | _shutter(image, calibration)
    record |= {'boxes': lens.boxes(image.boxes), 'projected_boxes': lens.boxes(image.projected_boxes)}
    if image.panoptic is not None:
        parts = image.panoptic
        record['panoptic'] = {
            'path': panoptic_path,
            'divisor': parts.divisor,
            'sequence': parts.sequence,
            'global_ids': parts.global_ids,
        }
    return record


def _shutter(image: CameraImage, calibration: CameraCalibration) -> Info:
    """Return when the columns or rows of an image were taken, and how the vehicle moved then, where it is known."""
    fields: Info = {} if image.velocity is None else {'ego_velocity': image.velocity.tolist()}
    if image.shutter is not None:
        fields['rolling_shutter'] = {
            'direction': calibration.shutter_direction,
            'exposure': image.shutter.exposure,
            'trigger_time': image.shutter.trigger_time,
            'readout_done_time': image.shutter.readout_done_time,
        }
    return fields


def points_record(points: Points, lidar_path: str) -> Info:
    """Make ``lidar_points`` of a frame.

    Args:
        points: in our LiDAR frame.
        lidar_path: their file, relative to the output folder.
    """
    return {
        'lidar_path': lidar_path,
        'num_pts_feats': len(POINT_COLUMNS),
        'lidar2ego': LIDAR2VEHICLE.tolist(),
        'origins': points.origins.tolist(),
        'origins_velocity': points.velocities.tolist(),
        'origins_delay': 0.0,
        'sensor_column': LASER_COLUMN,
        'time_column': TIME_COLUMN,
    }


def box_record(box: Box, vehicle2global: np.ndarray) -> Info:
    """Make an entry of ``instances``: a box in our LiDAR frame, with its velocity there."""
    center = VEHICLE2LIDAR[:3, :3] @ box.center + VEHICLE2LIDAR[:3, 3]
    yaw = (box.heading + np.arctan2(VEHICLE2LIDAR[1, 0], VEHICLE2LIDAR[0, 0]) + np.pi) % (2 * np.pi) - np.pi
    label = CATEGORIES.get(box.type, -1)
    record = {
        'bbox_3d': [*center.tolist(), *box.size, float(yaw)],
        'bbox_label': label,
        'bbox_label_3d': label,
        'category': box.type,
        'num_lidar_pts': box.points,
        'instance_token': box.token,
    }
    if box.velocity is not None:
        velocity = (vehicle2global @ LIDAR2VEHICLE)[:3, :3].T @ [*box.velocity, 0.0]
        record['velocity'] = velocity[:2].tolist()
    return record


def check_cameras(frame: Frame, cameras: Sequence[str], where: str) -> None:
    """Check that a frame has an image and a calibration of each camera.

    Raises:
        InputError: names the camera that it lacks.
    """
    for name in cameras:
        for there, what in ((frame.images, 'image'), (frame.cameras, 'calibration')):
            if name not in there:
                rest = [name for name in cameras if name in frame.images and name in frame.cameras]
                hint = f', or leave the camera out with --cameras {" ".join(rest)}' if rest else ''
                raise InputError(f'{where}: has no {what} of camera {name}; {DOWNLOAD_AGAIN}{hint}')
        if not frame.images[name].jpeg:
            raise InputError(f'{where}: the image of camera {name} is empty; {DOWNLOAD_AGAIN}')
