"""Checks of the cameras of a car, beyond what every calibration must fulfill (``geometry/poses.py``).

Own folders (``datasets/custom_rig``), converters and info files (``datasets/info_checks.py``) use the same.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..geometry.cameras import Cameras
from ..geometry.poses import first_true
from ..utils.errors import InputError, warn

# Meters between a camera and the origin of the vehicle.
FARTHEST = 20.0
# Degrees above or below the horizon, and about the line of sight.
STEEPEST = 50.0
MOST_TURNED = 45.0
# Height of the LiDAR, the origin of the network's world, above the road: that of nuScenes, MiniTown and our PandaSet.
ORIGIN_HEIGHT = 1.84
# Poses as close as this, in meters and in entries of the rotation, are the same.
SAME = 1e-3
# Two cameras overlap if one sees a point that lies before the other at one of these distances, meters.
OVERLAP_DISTANCES = (5.0, 10.0, 20.0, 40.0)
# Degrees between where a camera looks and where its name says; front_left may look 0 to 90 degrees to the left.
MOST_MISNAMED = 50.0
# Sine of the angle from which on a camera looks to one side rather than straight.
ONE_SIDED = 0.3
OVERLAP_SIZE = 100
# Share of the image's size between its middle and the principal point beyond which that is doubtful.
OFF_CENTER = 0.3

_DIRECTIONS = {'front': (0, 1), 'back': (0, -1), 'rear': (0, -1), 'left': (-1, 0), 'right': (1, 0)}
_DIRECTION = '|'.join(_DIRECTIONS)
_WORD = re.compile(f'(?:{_DIRECTION}|cam|camera|image|side)+')


@dataclass(frozen=True)
class Wording:
    """Words of the messages.

    Attributes:
        pose: name of the pose of a camera on the vehicle.
        too_low: what to do about a camera below the road.
    """

    pose: str = 'cam2vehicle'
    too_low: str = "correct cam2vehicle, or origin_height: the height of the vehicle's origin above the road"


def check_rig(
    intrinsics: np.ndarray,
    cam2world: np.ndarray,
    sizes: np.ndarray,
    origin_height: float,
    labels: Sequence[str],
    hint: str,
    wording: Wording | None = None,
) -> None:
    """Check each of n cameras whose poses are rigid and whose focal lengths are plausible.

    Args:
        intrinsics: ``(n, 3, 3)`` pinhole matrices.
        cam2world: ``(n, 4, 4)`` poses, meters; the world is x right, y forward, z up.
        sizes: ``(n, 2)`` height and width of each image, pixels.
        origin_height: height of the world's origin above the road, meters.
        labels: file and name of each camera, for messages.
        hint: what to do.
        wording: what messages call things; None takes the words of ``cameras.json``.

    Raises:
        InputError: names the first bad camera, what is wrong with it and the hint.
    """
    wording = wording or Wording()
    sizes = np.asarray(sizes)
    points = intrinsics[:, :2, 2]
    outside = ~((points >= 0) & (points < sizes[:, ::-1])).all(1)
    if (number := first_true(outside)) is not None:
        (cx, cy), (height, width) = points[number], sizes[number].astype(int)
        raise InputError(
            f'{labels[number]}: the principal point ({cx:g}, {cy:g}) lies outside the image of {width}x{height}; {hint}'
        )
    _warn_of_off_center(intrinsics, sizes, labels)
    _check_attitude(cam2world, labels, hint, wording)
    _check_position(cam2world, origin_height, labels, wording)


def _warn_of_off_center(intrinsics: np.ndarray, sizes: np.ndarray, labels: Sequence[str]) -> None:
    """Warn of principal points near the border, as cropped images have them, and calibrations in another unit."""
    off = np.abs(intrinsics[:, :2, 2] / sizes[:, ::-1] - 0.5).max(axis=1)
    bad = off > OFF_CENTER
    if (number := first_true(bad)) is not None:
        (cx, cy), (height, width) = intrinsics[number, :2, 2], sizes[number].astype(int)
        warn(
            f'{labels[number]}: the principal point ({cx:g}, {cy:g}) is near the border of the image of '
            f'{width}x{height} (in {bad.sum()} of {len(bad)} images); if this is no cut image, correct the calibration'
        )


def _check_attitude(poses: np.ndarray, labels: Sequence[str], hint: str, wording: Wording) -> None:
    """Check that cameras are upright and look near the horizon."""
    axes = f'{wording.pose} maps a camera that looks along +z, x right, y down (OpenCV) to the vehicle: {hint}'
    pitch = np.degrees(np.arcsin(np.clip(poses[:, 2, 2], -1, 1)))
    if (number := first_true(np.abs(pitch) > STEEPEST)) is not None:
        direction = 'up' if pitch[number] > 0 else 'down'
        degrees = abs(pitch[number])
        raise InputError(f'{labels[number]}: looks {direction}, {degrees:.0f} degrees from the horizon; {axes}')
    turned = np.abs(np.degrees(np.arctan2(poses[:, 2, 0], -poses[:, 2, 1])))
    if (number := first_true(turned > MOST_TURNED)) is not None:
        raise InputError(f'{labels[number]}: is turned by {turned[number]:.0f} degrees about its line of sight; {axes}')


def _check_position(poses: np.ndarray, origin_height: float, labels: Sequence[str], wording: Wording) -> None:
    """Check that cameras are on the vehicle, and above the road."""
    distances = np.linalg.norm(poses[:, :3, 3], axis=1)
    if (number := first_true(distances > FARTHEST)) is not None:
        raise InputError(
            f'{labels[number]}: is {distances[number]:.6g} m from the origin of the vehicle; give {wording.pose} in '
            'meters, relative to the vehicle and not to a map'
        )
    depths = -origin_height - poses[:, 2, 3]
    if (number := first_true(depths > 0)) is not None:
        raise InputError(f'{labels[number]}: is {depths[number]:.2f} m below the road; {wording.too_low}')


def check_distinct(
    cam2world: np.ndarray, labels: Sequence[Sequence[str]], names: Sequence[str], hint: str, pose: str = 'cam2vehicle'
) -> None:
    """Refuse two cameras of one rig that have one pose.

    Args:
        cam2world: ``(n, cameras, 4, 4)`` poses of n rigs.
        labels: file and name of each camera of each rig, for messages.
        names: names of the cameras.
        hint: what to do.
        pose: what the message calls the pose of a camera.

    Raises:
        InputError: names the second camera of the first such pair.
    """
    for number in range(len(names)):
        for other in range(number):
            same = np.abs(cam2world[:, number] - cam2world[:, other]).max(axis=(1, 2)) < SAME
            if (rig := first_true(same)) is not None:
                raise InputError(f'{labels[rig][number]}: {pose} is the same as that of camera {names[other]}; {hint}')


def direction_of_name(name: str) -> np.ndarray | None:
    """Return where a camera of this name looks: ``(2,)`` unit vector (right, forward), None if it does not say."""
    words = [word for word in re.findall('[a-z]+', name.lower()) if _WORD.fullmatch(word)]
    parts = [_DIRECTIONS[part] for word in words for part in re.findall(_DIRECTION, word)]
    total = np.sum(parts, axis=0, dtype=np.float64) if parts else np.zeros(2)
    length = np.linalg.norm(total)
    return total / length if length else None


def degrees_off_name(name: str, axis: np.ndarray) -> float:
    """Return the degrees between where a camera looks and what its name says; 0 if it says nothing.

    Args:
        name: name of the camera.
        axis: ``(3,)`` its optical axis, x right, y forward.
    """
    direction = direction_of_name(name)
    length = np.linalg.norm(axis[:2])
    if direction is None or not length:
        return 0.0
    return float(np.degrees(np.arccos(np.clip(direction @ axis[:2] / length, -1, 1))))


def lonely_cameras(cameras: Cameras) -> list[int]:
    """Return which of ``(V,)`` cameras see nothing that another one sees; none if there is only one camera."""
    if len(cameras) < 2:
        return []
    overlap = overlaps(cameras)
    return (~(overlap | overlap.T).any(1)).nonzero()[:, 0].tolist()


def lonely_in_rig(intrinsics: np.ndarray, cam2world: np.ndarray, sizes: np.ndarray) -> list[int]:
    """Return :func:`lonely_cameras` of V cameras whose images may have different sizes.

    Args:
        intrinsics: ``(V, 3, 3)`` pinhole matrices.
        cam2world: ``(V, 4, 4)`` poses, meters.
        sizes: ``(V, 2)`` height and width of each image, pixels.
    """
    scale = np.ones((len(sizes), 3, 1))
    scale[:, :2, 0] = OVERLAP_SIZE / np.asarray(sizes)[:, ::-1]
    matrices = torch.from_numpy(scale * intrinsics)
    return lonely_cameras(Cameras(matrices, torch.from_numpy(cam2world), OVERLAP_SIZE, OVERLAP_SIZE))


def overlaps(cameras: Cameras) -> Tensor:
    """Return ``(V, V)`` bool: camera j sees something at :data:`OVERLAP_DISTANCES` before camera i (i is not j)."""
    origins, directions = cameras.rays(9, 17)
    distances = directions.new_tensor(OVERLAP_DISTANCES)
    points = origins[:, None, None, None] + distances[:, None] * directions[..., None, :]
    pixels, z = cameras.project(points.reshape(-1, 3))
    u, v = pixels.unbind(-1)
    inside = (z > 0) & (u >= 0) & (u <= cameras.width - 1) & (v >= 0) & (v <= cameras.height - 1)
    count = len(cameras)
    seen = inside.view(count, count, -1).any(-1).T
    return seen & ~torch.eye(count, dtype=torch.bool, device=seen.device)
