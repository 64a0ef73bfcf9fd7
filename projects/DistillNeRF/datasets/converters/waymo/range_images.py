"""From range images to points.

Row and column of a pixel are an inclination and an azimuth of the laser; column 0 looks to the back of the vehicle, the
middle one to the front, clockwise as seen from above, which is the order of time, too: the cameras to the left of the
vehicle are triggered before that ahead, those to the right after it.

The top laser turns while the vehicle drives: each of its pixels has the pose of the vehicle at its own time. Points are
brought into the frame of the vehicle at the pose of the frame by these poses. Those of the other four lasers are
published without poses, as if all had been measured at the pose of the frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ....utils.errors import InputError
from ..common import DOWNLOAD_AGAIN
from .frames import LASERS, Frame, LaserCalibration, LaserReturns

# Seconds that a turn takes.
TURN = 0.1
POINT_COLUMNS = ('x', 'y', 'z', 'intensity', 'elongation', 'laser', 'time')
LASER_COLUMN, TIME_COLUMN = POINT_COLUMNS.index('laser'), POINT_COLUMNS.index('time')
CHANNELS, POSE_NUMBERS = 4, 6
# The origin of a turning laser is known to so many columns at most.
ORIGIN_COLUMNS = 64


@dataclass(frozen=True)
class Points:
    """Points of one turn of all lasers.

    Attributes:
        values: ``(n, 7)`` float32 with the columns of :data:`POINT_COLUMNS`: meters in the frame of the vehicle at the
            pose of the frame; number of the laser in :data:`LASERS`; seconds since the middle of the turn (0 for all
            lasers but the top one, of which no time is published).
        origins: ``(5, 3)`` where the beams of each laser begin in the middle of the turn, meters; zeros for lasers
            that measured nothing.
        velocities: ``(5, 3)`` how fast these move in the frame of the vehicle at the pose of the frame, m/s.
    """

    values: np.ndarray
    origins: np.ndarray
    velocities: np.ndarray


def frame_points(frame: Frame, returns: int, where: str) -> Points:
    """Decode the points of all lasers of a frame, without those in no-label zones.

    Args:
        frame: a frame that has ``returns``.
        returns: 1 takes the first return of each beam, 2 the second one as well (after all first ones of its laser).
        where: file and record, for messages.

    Raises:
        InputError: a laser without calibration, or measurements whose shapes do not fit.
    """
    parts, origins, velocities = [], np.zeros((len(LASERS), 3)), np.zeros((len(LASERS), 3))
    for name, measured in frame.returns.items():
        if name not in frame.lasers:
            raise InputError(f'{where}: laser {name} has no calibration; {DOWNLOAD_AGAIN}')
        label, number, laser = f'{where}: laser {name}', LASERS.index(name), frame.lasers[name]
        check_shapes(measured, laser, label)
        for image in measured.range_images[:returns]:
            parts.append(_points(image, measured.pixel_poses, laser, number, frame.vehicle2global))
        origins[number], velocities[number] = _beam_origin(measured, laser, frame.vehicle2global)
    values = np.concatenate(parts) if parts else np.zeros((0, len(POINT_COLUMNS)), np.float32)
    return Points(values, origins, velocities)


def check_shapes(measured: LaserReturns, laser: LaserCalibration, where: str) -> None:
    """Check that range images, poses and inclinations of a laser fit.

    Raises:
        InputError: names what does not.
    """
    for image in measured.range_images:
        if image.ndim != 3 or image.shape[2] != CHANNELS or 0 in image.shape:
            raise InputError(f'{where}: a range image of shape {image.shape}, not (H, W, 4); {DOWNLOAD_AGAIN}')
    shape = measured.range_images[0].shape[:2]
    if any(image.shape[:2] != shape for image in measured.range_images):
        raise InputError(f'{where}: its two range images differ in shape; {DOWNLOAD_AGAIN}')
    poses = measured.pixel_poses
    if poses is not None and poses.shape != (*shape, POSE_NUMBERS):
        raise InputError(f'{where}: poses of shape {poses.shape} for a range image of {shape}; {DOWNLOAD_AGAIN}')
    if laser.inclinations is not None and len(laser.inclinations) != shape[0]:
        raise InputError(
            f'{where}: {len(laser.inclinations)} inclinations for a range image of {shape[0]} rows; {DOWNLOAD_AGAIN}'
        )


def inclinations(laser: LaserCalibration, rows: int) -> np.ndarray:
    """Return the inclination ``(rows,)`` of each row, radians, the highest first."""
    if laser.inclinations is not None:
        return laser.inclinations[::-1]
    low, high = laser.inclination_range
    return high - (np.arange(rows) + 0.5) / rows * (high - low)


def azimuths(laser: LaserCalibration, columns: int) -> np.ndarray:
    """Return the azimuth ``(columns,)`` of each column in the frame of the laser, radians, from x to y.

    Seen from the vehicle, column 0 looks back, so the turn of the laser on the vehicle is taken off.
    """
    turned = np.arctan2(laser.laser2vehicle[1, 0], laser.laser2vehicle[0, 0])
    return np.pi * (1 - 2 * (np.arange(columns) + 0.5) / columns) - turned


def column_times(columns: int) -> np.ndarray:
    """Return when each column of the top laser is measured, ``(columns,)`` seconds since the middle of the turn."""
    return TURN * ((np.arange(columns) + 0.5) / columns - 0.5)


def _points(
    image: np.ndarray, poses: np.ndarray | None, laser: LaserCalibration, number: int, vehicle2global: np.ndarray
) -> np.ndarray:
    """Decode one range image to ``(n, 7)`` float32 (:class:`Points`)."""
    with np.errstate(invalid='ignore'):
        measured = (image[..., 0] > 0) & (image[..., 3] != 1)
    index = np.flatnonzero(measured)
    pixels = image.reshape(-1, CHANNELS)[index]
    rows, columns = image.shape[:2]
    up, around = inclinations(laser, rows), azimuths(laser, columns)
    key = (laser.laser2vehicle[:3, :3].tobytes(), up.tobytes(), around.tobytes())
    points = _directions(*key)[index] * pixels[:, :1] + laser.laser2vehicle[:3, 3]
    values = np.zeros((len(index), len(POINT_COLUMNS)), np.float32)
    if poses is not None:
        points = _to_frame(points, poses.reshape(-1, POSE_NUMBERS)[index], vehicle2global)
        values[:, TIME_COLUMN] = column_times(columns)[index % columns]
    values[:, :3] = points
    values[:, 3:5] = pixels[:, 1:3]
    values[:, LASER_COLUMN] = number
    return values


@lru_cache(maxsize=len(LASERS))
def _directions(rotation: bytes, up: bytes, around: bytes) -> np.ndarray:
    """Return the unit directions ``(H * W, 3)`` of all pixels of a laser in the frame of the vehicle.

    Args:
        rotation: of the laser on the vehicle, ``(3, 3)`` float64.
        up: inclination of each row, float64 radians.
        around: azimuth of each column, float64 radians.
    """
    inclination, azimuth = np.frombuffer(up)[:, None], np.frombuffer(around)[None]
    flat = np.cos(inclination)
    parts = np.broadcast_arrays(flat * np.cos(azimuth), flat * np.sin(azimuth), np.sin(inclination))
    directions = np.stack(parts, axis=-1).reshape(-1, 3)
    return directions @ np.frombuffer(rotation).reshape(3, 3).T


def _to_frame(points: np.ndarray, poses: np.ndarray, vehicle2global: np.ndarray) -> np.ndarray:
    """Bring points ``(n, 3)`` from the vehicle at their own poses ``(n, 6)`` to the vehicle at the frame's pose."""
    # In float32, poses on the map are good to some millimeters; differences are taken in float64.
    turned = _rotated(points, poses[:, :3]) + (poses[:, 3:].astype(np.float64) - vehicle2global[:3, 3])
    return turned @ vehicle2global[:3, :3]


def _rotated(points: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """Turn points ``(n, 3)`` by roll, pitch and yaw ``(n, 3)``: about x first, then about y, then about z."""
    (x, y, z), (sin_roll, sin_pitch, sin_yaw) = points.T, np.sin(angles.T, dtype=np.float64)
    cos_roll, cos_pitch, cos_yaw = np.cos(angles.T, dtype=np.float64)
    y, z = cos_roll * y - sin_roll * z, sin_roll * y + cos_roll * z
    x, z = cos_pitch * x + sin_pitch * z, cos_pitch * z - sin_pitch * x
    return np.stack([cos_yaw * x - sin_yaw * y, sin_yaw * x + cos_yaw * y, z], axis=1)


def _beam_origin(
    measured: LaserReturns, laser: LaserCalibration, vehicle2global: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return where the beams of a laser begin in the middle of the turn ``(3,)``, and their velocity ``(3,)``.

    A straight line through the origins at some of the columns; the vehicle's frame is that at the frame's pose.
    """
    origin = laser.laser2vehicle[:3, 3]
    if measured.pixel_poses is None:
        return origin, np.zeros(3)
    columns = measured.pixel_poses.shape[1]
    # Pixels that measured nothing may have no pose.
    known = (measured.range_images[0][..., 0] > 0).any(0)
    chosen = np.flatnonzero(known)
    chosen = chosen[np.linspace(0, len(chosen) - 1, min(len(chosen), ORIGIN_COLUMNS)).round().astype(int)]
    if not len(chosen):
        return origin, np.zeros(3)
    row = (measured.range_images[0][:, chosen, 0] > 0).argmax(0)
    poses = measured.pixel_poses[row, chosen]
    origins = _to_frame(np.broadcast_to(origin, (len(chosen), 3)), poses, vehicle2global)
    times = column_times(columns)[chosen]
    if np.ptp(times) < TURN / 10:
        return origins.mean(0), np.zeros(3)
    slope, start = np.polynomial.polynomial.polyfit(times, origins, 1)[::-1]
    return start, slope
