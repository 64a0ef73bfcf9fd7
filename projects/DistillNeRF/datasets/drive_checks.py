"""Checks of the motion of the vehicle: which way is up, how fast it is, whether it drives forwards, in what units.

Quaternions written x y z w where w x y z is expected, millimeters and microseconds are rigid and finite; only what a
car can do tells them from right ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..geometry.poses import first_true, inverse_pose
from ..utils.errors import InputError, warn
from .rig_checks import FARTHEST

# Degrees between the vehicle's up and that of the map. The steepest streets have 20 degrees.
MOST_TILTED = 25.0
# Meters per second; 250 km/h.
FASTEST = 70.0
# Degrees per second; a hard turn at a crossing has 60.
FASTEST_TURN = 120.0
# What errors of localization may add to the motion from frame to frame: meters, degrees.
SLACK = 0.5
TURN_SLACK = 10.0
# A vehicle moves, so that its direction says something, from so many meters per second on.
MOVING = 1.0
# Cosine between heading and motion below which it drives sideways, below minus which backwards.
SIDEWAYS = 0.5
# Seconds between keyframes. A median outside is no number of seconds.
PLAUSIBLE_STEP = (1e-3, 100.0)
# No time in seconds is beyond: the year 5138 counted from 1970.
LATEST = 1e11
QUATERNION_HINT = 'a quaternion x y z w that is read as w x y z looks like this'


@dataclass(frozen=True)
class Drive:
    """Motion of the vehicle: the keyframes of a file, one after the other.

    Attributes:
        ego2global, lidar2global: ``(n, 4, 4)`` poses, meters. The LiDAR frame is x right, y forward, z up.
        times: ``(n,)`` seconds.
        scenes: ``(n,)`` scene of each keyframe.
        frames: ``(n,)`` number of each keyframe in its scene.
        labels: file and keyframe of each, for messages.
    """

    ego2global: np.ndarray
    lidar2global: np.ndarray
    times: np.ndarray
    scenes: Sequence[str]
    frames: np.ndarray
    labels: Sequence[str]

    def steps(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the m pairs of keyframes that follow one another in a scene.

        Returns:
            ``(m,)`` index of the first of each pair, of the second, and of their scene among the sorted scenes.
        """
        _, scene = np.unique(np.asarray(self.scenes, dtype=str), return_inverse=True)
        order = np.lexsort((self.frames, scene))
        first, second = order[:-1], order[1:]
        together = scene[first] == scene[second]
        return first[together], second[together], scene[first[together]]


def check_drive(drive: Drive, where: str, hint: str) -> None:
    """Check how the vehicle stands and moves.

    Args:
        drive: the keyframes.
        where: the info file, for messages.
        hint: what to do, for messages.

    Raises:
        InputError: names the first keyframe that cannot be right, or the file; what is wrong and the hint.
    """
    _check_up(drive, hint)
    _check_lidar_place(drive, hint)
    first, second, scene = drive.steps()
    _check_times(drive, first, second, where, hint)
    if not len(first):
        if len(drive.times) > 1:
            warn(
                f'{where}: each of its {len(drive.times)} scenes has one keyframe only, so that none has neighbors; '
                'if they belong together, correct scenes and time stamps'
            )
        return
    _check_speed(drive, first, second, hint)
    _check_heading(drive, first, second, scene, where, hint)


def _check_up(drive: Drive, hint: str) -> None:
    """Check that z is up."""
    lowest = np.cos(np.radians(MOST_TILTED))
    for name, poses in {'ego2global': drive.ego2global, 'lidar2global': drive.lidar2global}.items():
        tilted = ~(poses[:, 2, 2] > lowest)
        if (number := first_true(tilted)) is not None:
            degrees = np.degrees(np.arccos(np.clip(poses[number, 2, 2], -1, 1)))
            raise InputError(
                f'{drive.labels[number]}: {name}: its up is tilted by {degrees:.0f} degrees against that of the map '
                f'(z up in both; no road is steeper than {MOST_TILTED:.0f}); {QUATERNION_HINT}: {hint}'
            )


def _check_lidar_place(drive: Drive, hint: str) -> None:
    """Check that the LiDAR is on the vehicle."""
    distances = np.linalg.norm(drive.lidar2global[:, :3, 3] - drive.ego2global[:, :3, 3], axis=1)
    if (number := first_true(distances > FARTHEST)) is not None:
        raise InputError(
            f'{drive.labels[number]}: the LiDAR is {distances[number]:.6g} m from the origin of the vehicle; give its '
            f'position in meters, relative to the vehicle and not to a map: {hint}'
        )


def _check_times(drive: Drive, first: np.ndarray, second: np.ndarray, where: str, hint: str) -> None:
    """Check that times are seconds, and rise from frame to frame."""
    latest = int(np.abs(drive.times).argmax())
    if abs(drive.times[latest]) > LATEST:
        raise InputError(
            f'{drive.labels[latest]}: timestamp {drive.times[latest]:.6g} is no number of seconds (milli-, micro- or '
            f'nanoseconds?): {hint}'
        )
    if not len(first):
        return
    durations = drive.times[second] - drive.times[first]
    if (number := first_true(~(durations > 0))) is not None:
        raise InputError(
            f'{drive.labels[second[number]]}: is not later than the frame before it in its scene '
            f'(timestamp {drive.times[second[number]]:.6f} after {drive.times[first[number]]:.6f}); {hint}'
        )
    step = float(np.median(durations))
    low, high = PLAUSIBLE_STEP
    if not low < step < high:
        raise InputError(
            f'{where}: its keyframes are {step:.3g} s apart, so its time stamps are no seconds (milli-, micro- or '
            f'nanoseconds?): {hint}'
        )


def _check_speed(drive: Drive, first: np.ndarray, second: np.ndarray, hint: str) -> None:
    """Check how fast the vehicle moves and turns from frame to frame."""
    durations = drive.times[second] - drive.times[first]
    relative = inverse_pose(drive.ego2global[first]) @ drive.ego2global[second]
    distances, angles = motion(relative)
    for amounts, limits, what in (
        (distances, FASTEST * durations + SLACK, 'moves {:.6g} m in {:.3g} s: give positions in meters and'),
        (angles, FASTEST_TURN * durations + TURN_SLACK, 'turns by {:.0f} degrees in {:.3g} s: correct ego2global and'),
    ):
        if (number := first_true(~(amounts <= limits))) is not None:
            raise InputError(
                f'{drive.labels[second[number]]}: the vehicle '
                f'{what.format(amounts[number], durations[number])} times in seconds; {hint}'
            )


def motion(relative: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the meters ``(n,)`` and the degrees ``(n,)`` by which relative poses ``(n, 4, 4)`` move and turn."""
    cosines = (np.trace(relative[:, :3, :3], axis1=1, axis2=2) - 1) / 2
    return np.linalg.norm(relative[:, :3, 3], axis=1), np.degrees(np.arccos(np.clip(cosines, -1, 1)))


def _check_heading(
    drive: Drive, first: np.ndarray, second: np.ndarray, scene: np.ndarray, where: str, hint: str
) -> None:
    """Check that the vehicle moves to where it looks, and warn of single scenes in which it does not."""
    moved = drive.ego2global[second, :3, 3] - drive.ego2global[first, :3, 3]
    distances = np.linalg.norm(moved, axis=1)
    heading = drive.lidar2global[first, :3, 1] + drive.lidar2global[second, :3, 1]
    heading /= np.maximum(np.linalg.norm(heading, axis=1, keepdims=True), 1e-9)
    moving = distances > MOVING * (drive.times[second] - drive.times[first])
    if not moving.any():
        return
    along = np.bincount(scene[moving], (moved * heading).sum(1)[moving])
    total = np.bincount(scene[moving], distances[moving])
    names = np.unique(np.asarray(drive.scenes, dtype=str))[: len(total)][total > 0]
    cosines = along[total > 0] / total[total > 0]
    backwards, sideways = names[cosines < -SIDEWAYS], names[np.abs(cosines) <= SIDEWAYS]
    if len(backwards) == len(names):
        raise InputError(
            f'{where}: in {"its only moving scene" if len(names) == 1 else f"all its {len(names)} moving scenes"} the '
            f'vehicle drives backwards ({first_few(backwards)}); a LiDAR frame with y to the back, or '
            f'{QUATERNION_HINT}: {hint}'
        )
    for chosen, how in ((backwards, 'backwards'), (sideways, 'sideways')):
        if len(chosen):
            warn(
                f'{where}: the vehicle drives {how} in {len(chosen)} of {len(names)} moving scenes '
                f'({first_few(chosen)}); the LiDAR frame must be x right, y forward: if it is, and the car really '
                'drove so, nothing is wrong'
            )


def first_few(names: Sequence[str], most: int = 3) -> str:
    """List the first few of many names, and say how many more there are."""
    return ', '.join(map(str, names[:most])) + (f' and {len(names) - most} more' if len(names) > most else '')
