"""Whether what we make of the lasers agrees with what Waymo says of the same frame in other words.

Two things are published twice: where points of the top laser are in the images, and how fast the vehicle is.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from ....geometry.poses import inverse_pose
from ....utils.errors import warn
from .frames import CAMERAS, Frame
from .range_images import frame_points, measured_pixels
from .records import CAMERA_AXES

# The camera that looks where the vehicle drives: what moves it sees nearly where it would see it an instant later.
CAMERA = 'FRONT'
# Share of the width of the image by which projections may differ: the shutter runs while the vehicle turns.
LARGEST_OFFSET = 0.02
# From this speed on, m/s, the velocity of the laser must be that of the vehicle, but for so much of it.
SLOWEST, LARGEST_DIFFERENCE = 2.0, 0.3
HINT = 'look at LiDAR points drawn into the images before anything else'


def check_lasers(frame: Frame, where: str) -> None:
    """Warn if the points of a frame are not where Waymo projects them, or not at the times that its speed says.

    Args:
        frame: with the image of :data:`CAMERA`, and camera projections of the top laser; what lacks is not checked.
        where: file and record, for messages.
    """
    offset = projection_offset(frame, where)
    if offset is not None and offset > LARGEST_OFFSET * frame.cameras[CAMERA].width:
        warn(f'{where}: half of the LiDAR points are {offset:.0f} or more pixels off where Waymo projects them; {HINT}')
    velocities = laser_and_vehicle_velocity(frame, where)
    if velocities is None or np.linalg.norm(velocities[1]) < SLOWEST:
        return
    laser, vehicle = velocities
    if np.linalg.norm(laser - vehicle) > LARGEST_DIFFERENCE * np.linalg.norm(vehicle):
        warn(
            f'{where}: by its poses the top laser moves with {laser.round(1).tolist()} m/s, the vehicle with '
            f'{vehicle.round(1).tolist()}: the times of the points may be wrong, which teachers use; {HINT}'
        )


def projection_offset(frame: Frame, where: str) -> float | None:
    """Return the median distance between our projections of points and Waymo's, pixels; None if there are none."""
    top = frame.returns.get('TOP')
    if top is None or top.camera_projections is None or CAMERA not in frame.images or CAMERA not in frame.cameras:
        return None
    image, camera = frame.images[CAMERA], frame.cameras[CAMERA]
    camera2global = image.vehicle2global @ camera.camera2vehicle @ CAMERA_AXES
    only = replace(frame, returns={'TOP': top})
    points = frame_points(only, 1, where, inverse_pose(camera2global) @ frame.vehicle2global).values[:, :3]
    number, *pixels = top.camera_projections.reshape(-1, 6)[measured_pixels(top.range_images[0])][:, :3].T
    seen = (number == CAMERAS.index(CAMERA) + 1) & (points[:, 2] > 1)
    if not seen.any():
        return None
    still = np.zeros(3)
    found = cv2.projectPoints(points[seen].astype(np.float64), still, still, camera.intrinsics, camera.distortion)[0]
    return float(np.median(np.linalg.norm(found[:, 0] - np.stack(pixels, axis=1)[seen], axis=1)))


def laser_and_vehicle_velocity(frame: Frame, where: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the velocity of the top laser by the poses of its pixels, and of the vehicle, m/s in the vehicle's frame.

    Neither is known where the laser measured nothing, or there is no image of :data:`CAMERA`.
    """
    top, image = frame.returns.get('TOP'), frame.images.get(CAMERA)
    if top is None or top.pixel_poses is None or image is None or image.velocity is None:
        return None
    laser = frame_points(replace(frame, returns={'TOP': top}), 1, where).velocities[0]
    return laser, frame.vehicle2global[:3, :3].T @ image.velocity[:3]
