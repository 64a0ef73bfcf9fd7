"""What the readers of both formats share: names of segments and sensors, poses, and what numbers cannot be."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ....geometry.poses import check_poses
from ....utils.errors import InputError
from ..common import DOWNLOAD_AGAIN
from .frames import OBJECT_TYPES, Box, ImageBox, LaserCalibration, Shutter

# Radians, with some room for rounding.
STEEPEST_BEAM = np.pi / 2 + 1e-3
# Seconds between the pose of an image and the beginning or end of its shutter's run (seen: 0.027).
LONGEST_RUN = 0.3
# Meters from the origin of the vehicle to a laser.
FARTHEST_LASER = 20.0


def checked_name(name: str, where: str) -> str:
    """Return the name of a segment if it can name a folder, too.

    Raises:
        InputError: a name that cannot.
    """
    if not name or '/' in name or name.startswith('.'):
        raise InputError(f'{where}: its segment is named {name!r}; {DOWNLOAD_AGAIN}')
    return name


def sensor_name(names: Sequence[str], number: int, what: str, where: str) -> str:
    """Return the name of a camera or laser from its number, which counts from 1.

    Raises:
        InputError: a number that is none.
    """
    if not 1 <= number <= len(names):
        raise InputError(f'{where}: has an unknown {what} (known are {", ".join(names)}); {DOWNLOAD_AGAIN}')
    return names[number - 1]


def rigid_pose(values: Sequence[float], where: str) -> np.ndarray:
    """Return ``(4, 4)`` float64 of the 16 numbers of a pose, row by row.

    Raises:
        InputError: another count of numbers, or no rigid pose.
    """
    if len(values) != 16:
        what = f'has {len(values)} numbers, not 16' if len(values) else 'is missing'
        raise InputError(f'{where} {what}; {DOWNLOAD_AGAIN}')
    pose = np.array(values, np.float64).reshape(4, 4)
    check_poses(pose[None], [where], DOWNLOAD_AGAIN)
    return pose


def kind_name(names: Sequence[str], number: int, where: str) -> str:
    """Return the name of a number that counts from 0.

    Raises:
        InputError: a number that is none.
    """
    if not 0 <= number < len(names):
        raise InputError(f'{where}: is of unknown kind {number}, not 0 to {len(names) - 1}; {DOWNLOAD_AGAIN}')
    return names[number]


def check_finite(values: np.ndarray, what: str) -> None:
    """Check that all numbers are finite.

    Raises:
        InputError: some are not.
    """
    if not np.isfinite(values).all():
        raise InputError(f'{what} holds NaN or infinity; {DOWNLOAD_AGAIN}')


def laser_calibration(
    laser2vehicle: np.ndarray, borders: tuple[float, float], given: Sequence[float], where: str
) -> LaserCalibration:
    """Make the calibration of a laser.

    Args:
        laser2vehicle: ``(4, 4)``.
        borders: the lowest and highest inclination, radians.
        given: the inclination of each row, the lowest first; empty where they are spread evenly.
        where: file, record and laser, for messages.

    Raises:
        InputError: inclinations that cannot be, or a place that is not on the vehicle.
    """
    if (away := np.linalg.norm(laser2vehicle[:3, 3])) > FARTHEST_LASER:
        raise InputError(f'{where}: is {away:.0f} m from the origin of the vehicle, not on it; {DOWNLOAD_AGAIN}')
    inclinations = np.array(given, np.float64)
    rising = inclinations if len(inclinations) else np.array(borders)
    if not (np.abs(rising) <= STEEPEST_BEAM).all() or not (np.diff(rising) > 0).all():
        raise InputError(f'{where}: the inclinations of its beams are no rising angles in radians; {DOWNLOAD_AGAIN}')
    return LaserCalibration(laser2vehicle, borders, inclinations if len(inclinations) else None)


def check_shutter(shutter: Shutter, timestamp: float, where: str) -> None:
    """Check the times of a shutter's run against that of its image, seconds.

    Raises:
        InputError: they contradict each other.
    """
    runs = (timestamp - shutter.trigger_time, shutter.readout_done_time - timestamp, shutter.exposure)
    if not all(0 <= run <= LONGEST_RUN for run in runs):
        raise InputError(f'{where}: the times of its shutter contradict that of its image; {DOWNLOAD_AGAIN}')


def image_box(center: tuple[float, float], size: tuple[float, float], kind: int, token: str, where: str) -> ImageBox:
    """Make a box in an image.

    Raises:
        InputError: numbers that are not finite, or an unknown kind of object.
    """
    check_finite(np.array([*center, *size]), f'{where}: a box in its image')
    return ImageBox(center, size, kind_name(OBJECT_TYPES, kind, f'{where}: a box in its image'), token)


def checked_box(box: Box, where: str) -> Box:
    """Return a box in space.

    Raises:
        InputError: numbers that are not finite, or a heading that is not in radians.
    """
    check_finite(np.array([*box.center, *box.size, box.heading]), f'{where}: box {box.token}')
    if abs(box.heading) > 2 * np.pi:
        raise InputError(f'{where}: box {box.token} has heading {box.heading:.4g}, not radians; {DOWNLOAD_AGAIN}')
    return box
