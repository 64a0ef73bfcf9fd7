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
# Meters; no laser of Waymo sees a fifth of it.
LONGEST_RANGE = 400.0
# The origin of a turning laser is known to so many columns at most.
ORIGIN_COLUMNS = 64


@dataclass(frozen=True)
class Points:
    """Points of one turn of all lasers, in a frame that is fixed to the vehicle at the pose of the turn.

    Attributes:
        values: ``(n, 7)`` float32 with the columns of :data:`POINT_COLUMNS`: meters; number of the laser in
            :data:`LASERS`; seconds since the middle of the turn (0 for all lasers but the top one, of which no time is
            published).
        origins: ``(5, 3)`` where the beams of each laser begin in the middle of the turn, meters; the origin of the
            frame for lasers that measured nothing.
        velocities: ``(5, 3)`` how fast these move, m/s.
    """

    values: np.ndarray
    origins: np.ndarray
    velocities: np.ndarray


def frame_points(frame: Frame, returns: int, where: str, vehicle2target: np.ndarray | None = None) -> Points:
    """Decode the points of all lasers of a frame, without those in no-label zones.

    Args:
        frame: a frame that has ``returns``.
        returns: 1 takes the first return of each beam, 2 the second one as well (after all first ones of its laser).
        where: file and record, for messages.
        vehicle2target: ``(4, 4)`` to the frame that the points are wanted in; None: that of the vehicle.

    Raises:
        InputError: a laser without calibration, or measurements whose shapes do not fit.
    """
    vehicle2target = np.eye(4) if vehicle2target is None else vehicle2target
    parts, origins, velocities = [], np.zeros((len(LASERS), 3)), np.zeros((len(LASERS), 3))
    for name, measured in frame.returns.items():
        if name not in frame.lasers:
            raise InputError(f'{where}: laser {name} has no calibration; {DOWNLOAD_AGAIN}')
        number, laser = LASERS.index(name), frame.lasers[name]
        check_returns(measured, laser, f'{where}: laser {name}')
        poses = measured.pixel_poses
        moves = None if poses is None else _Moves(poses.reshape(-1, POSE_NUMBERS), frame.vehicle2global, vehicle2target)
        for image in measured.range_images[:returns]:
            parts.append((number, *_measured(image, laser, moves, vehicle2target)))
        origins[number], velocities[number] = _beam_origin(measured, laser, moves, vehicle2target)
    values, start = np.empty((sum(len(part[1]) for part in parts), len(POINT_COLUMNS)), np.float32), 0
    for number, points, pixels, times in parts:
        chosen = values[start : (start := start + len(points))]
        chosen[:, :3], chosen[:, 3:5] = points, pixels[:, 1:3]
        chosen[:, LASER_COLUMN], chosen[:, TIME_COLUMN] = number, times
    return Points(values, origins, velocities)


def check_returns(measured: LaserReturns, laser: LaserCalibration, where: str) -> None:
    """Check that range images, poses and inclinations of a laser fit, and that ranges are meters.

    Raises:
        InputError: names what does not.
    """
    for image in measured.range_images:
        if image.ndim != 3 or image.shape[2] != CHANNELS or 0 in image.shape:
            raise InputError(f'{where}: a range image of shape {image.shape}, not (H, W, 4); {DOWNLOAD_AGAIN}')
        if not image[..., 0].max() <= LONGEST_RANGE:
            raise InputError(
                f'{where}: a range of {image[..., 0].max():g} m (up to {LONGEST_RANGE:g} can be); {DOWNLOAD_AGAIN}'
            )
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


@dataclass(frozen=True)
class _Moves:
    """The poses of the pixels of a laser, relative to that of the frame.

    Attributes:
        poses: ``(H * W, 6)`` float32 vehicle to global (:class:`LaserReturns`).
        vehicle2global: ``(4, 4)`` pose of the frame.
        vehicle2target: ``(4, 4)`` to the frame that points are wanted in.
    """

    poses: np.ndarray
    vehicle2global: np.ndarray
    vehicle2target: np.ndarray

    def apply(self, points: np.ndarray, index: np.ndarray) -> np.ndarray:
        """Bring points ``(n, 3)`` of pixels ``(n,)`` from the vehicle at their own poses to the target at the frame's.

        Poses on the map are good to some millimeters, as they are float32; differences are small, and as good.
        """
        poses = self.poses[index]
        shifts = (poses[:, 3:] - self.vehicle2global[:3, 3]).astype(np.float32)
        global2target = self.vehicle2target[:3, :3] @ self.vehicle2global[:3, :3].T
        turned = (_rotated(points, poses[:, :3]) + shifts) @ global2target.T.astype(np.float32)
        return turned + self.vehicle2target[:3, 3].astype(np.float32)


def _measured(
    image: np.ndarray, laser: LaserCalibration, moves: _Moves | None, vehicle2target: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray | float]:
    """Decode one range image.

    Returns:
        points ``(n, 3)`` float32 in the target frame, their pixels ``(n, 4)`` and times ``(n,)``, seconds.
    """
    index = measured_pixels(image)
    pixels = image.reshape(-1, CHANNELS)[index]
    rows, columns = image.shape[:2]
    up, around = inclinations(laser, rows), azimuths(laser, columns)
    laser2frame = laser.laser2vehicle if moves is not None else vehicle2target @ laser.laser2vehicle
    directions = _directions(laser2frame[:3, :3].tobytes(), up.tobytes(), around.tobytes())
    points = directions[index] * pixels[:, :1] + laser2frame[:3, 3].astype(np.float32)
    if moves is None:
        return points, pixels, 0.0
    return moves.apply(points, index), pixels, column_times(columns)[index % columns]


def measured_pixels(image: np.ndarray) -> np.ndarray:
    """Return the numbers ``(n,)`` of the pixels of a range image ``(H, W, 4)`` that measured something to be used."""
    with np.errstate(invalid='ignore'):
        return np.flatnonzero((image[..., 0] > 0) & (image[..., 3] != 1))


@lru_cache(maxsize=len(LASERS))
def _directions(rotation: bytes, up: bytes, around: bytes) -> np.ndarray:
    """Return the unit directions ``(H * W, 3)`` float32 of all pixels of a laser in another frame.

    Args:
        rotation: from the laser to that frame, ``(3, 3)`` float64.
        up: inclination of each row, float64 radians.
        around: azimuth of each column, float64 radians.
    """
    inclination, azimuth = np.frombuffer(up)[:, None], np.frombuffer(around)[None]
    flat = np.cos(inclination)
    parts = np.broadcast_arrays(flat * np.cos(azimuth), flat * np.sin(azimuth), np.sin(inclination))
    directions = np.stack(parts, axis=-1).reshape(-1, 3)
    return (directions @ np.frombuffer(rotation).reshape(3, 3).T).astype(np.float32)


def _rotated(points: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """Turn points ``(n, 3)`` by roll, pitch and yaw ``(n, 3)``: about x first, then about y, then about z."""
    x, y, z = points.T
    (sin_roll, sin_pitch, sin_yaw), (cos_roll, cos_pitch, cos_yaw) = np.sin(angles.T), np.cos(angles.T)
    y, z = cos_roll * y - sin_roll * z, sin_roll * y + cos_roll * z
    x, z = cos_pitch * x + sin_pitch * z, cos_pitch * z - sin_pitch * x
    return np.stack([cos_yaw * x - sin_yaw * y, sin_yaw * x + cos_yaw * y, z], axis=1)


def _beam_origin(
    measured: LaserReturns, laser: LaserCalibration, moves: _Moves | None, vehicle2target: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return where the beams of a laser begin in the middle of the turn ``(3,)``, and their velocity ``(3,)``.

    A straight line through the origins at some of the columns, in the target frame.
    """
    still = (vehicle2target @ laser.laser2vehicle)[:3, 3]
    seen = measured.range_images[0][..., 0] > 0
    # Pixels that measured nothing may have no pose.
    known = np.flatnonzero(seen.any(0))
    if moves is None or not len(known):
        return still, np.zeros(3)
    columns = seen.shape[1]
    chosen = known[np.linspace(0, len(known) - 1, min(len(known), ORIGIN_COLUMNS)).round().astype(int)]
    pixels = seen[:, chosen].argmax(0) * columns + chosen
    origin = np.broadcast_to(laser.laser2vehicle[:3, 3].astype(np.float32), (len(chosen), 3))
    origins, times = moves.apply(origin, pixels).astype(np.float64), column_times(columns)[chosen]
    if np.ptp(times) < TURN / 10:
        return origins.mean(0), np.zeros(3)
    start, velocity = np.polynomial.polynomial.polyfit(times, origins, 1)
    return start, velocity
