"""What the readers of both formats share: names of segments and sensors, lists of numbers to poses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ....geometry.poses import check_poses
from ....utils.errors import InputError
from ..common import DOWNLOAD_AGAIN


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
