"""Whether cameras can be those of a car, beyond what every calibration must fulfil (``datasets/poses.py``)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ...errors import InputError
from ...modules.cameras import Cameras

# Metres between a camera and the origin of the vehicle.
FARTHEST = 20.0
# Degrees above or below the horizon, and about the line of sight.
STEEPEST = 50.0
MOST_TURNED = 45.0
# Poses as close as this, in metres and in entries of the rotation, are the same.
SAME = 1e-3
# Two cameras overlap if one sees a point that lies before the other at one of these distances, metres.
OVERLAP_DISTANCES = (5.0, 10.0, 20.0, 40.0)


def check_rig(
    intrinsics: np.ndarray,
    cam2world: np.ndarray,
    sizes: Sequence[tuple[int, int]],
    origin_height: float,
    labels: Sequence[str],
    cure: str,
) -> None:
    """Check cameras that are rigid, finite and of plausible focal lengths.

    Args:
        intrinsics: ``(n, 3, 3)``.
        cam2world: ``(n, 4, 4)``; the world is x right, y forward, z up.
        sizes: (height, width) of each image.
        origin_height: of the world's origin above the road, metres.
        labels: file and name of each camera, for messages.
        cure: what to do.

    Raises:
        InputError: names the first bad camera, what is wrong with it and the cure.
    """
    for matrix, (height, width), where in zip(intrinsics, sizes, labels, strict=True):
        cx, cy = matrix[0, 2], matrix[1, 2]
        if not (0 <= cx < width and 0 <= cy < height):
            raise InputError(
                f'{where}: the principal point ({cx:g}, {cy:g}) lies outside the image of {width}x{height}; {cure}'
            )
    for pose, where in zip(cam2world, labels, strict=True):
        _check_attitude(pose, where, cure)
        _check_position(pose, origin_height, where)
    for number, (pose, where) in enumerate(zip(cam2world, labels, strict=True)):
        for other in range(number):
            if np.abs(pose - cam2world[other]).max() < SAME:
                name = labels[other].rpartition('camera ')[2]
                raise InputError(f'{where}: cam2vehicle is the same as that of camera {name}; {cure}')


def _check_attitude(pose: np.ndarray, where: str, cure: str) -> None:
    """Upright and near the horizon."""
    right, down, forward = pose[2, 0], pose[2, 1], pose[2, 2]
    pitch = np.degrees(np.arcsin(np.clip(forward, -1, 1)))
    if abs(pitch) > STEEPEST:
        direction = 'up' if pitch > 0 else 'down'
        raise InputError(
            f'{where}: looks {direction}, {abs(pitch):.0f} degrees from the horizon; cam2vehicle maps a camera that '
            f'looks along +z, x right, y down (OpenCV) to the vehicle: {cure}'
        )
    turned = np.degrees(np.arctan2(right, -down))
    if abs(turned) > MOST_TURNED:
        raise InputError(
            f'{where}: is turned by {abs(turned):.0f} degrees about its line of sight; cam2vehicle maps a camera that '
            f'looks along +z, x right, y down (OpenCV) to the vehicle: {cure}'
        )


def _check_position(pose: np.ndarray, origin_height: float, where: str) -> None:
    distance = np.linalg.norm(pose[:3, 3])
    if distance > FARTHEST:
        raise InputError(
            f'{where}: is {distance:.6g} m from the origin of the vehicle; give cam2vehicle in metres, '
            'relative to the vehicle and not to a map'
        )
    if pose[2, 3] < -origin_height:
        raise InputError(
            f'{where}: is {-origin_height - pose[2, 3]:.2f} m below the road; correct cam2vehicle, or origin_height: '
            "the height of the vehicle's origin above the road"
        )


def lonely_cameras(cameras: Cameras) -> list[int]:
    """Those of ``(V,)`` cameras that see nothing that another sees, if there are others."""
    if len(cameras) < 2:
        return []
    overlap = overlaps(cameras)
    return (~(overlap | overlap.T).any(1)).nonzero()[:, 0].tolist()


def overlaps(cameras: Cameras) -> Tensor:
    """``(V, V)`` bool: whether camera j sees anything at :data:`OVERLAP_DISTANCES` before camera i (i is not j)."""
    origins, directions = cameras.rays(9, 17)
    distances = directions.new_tensor(OVERLAP_DISTANCES)
    points = origins[:, None, None, None] + distances[:, None] * directions[..., None, :]
    pixels, z = cameras.project(points.reshape(-1, 3))
    u, v = pixels.unbind(-1)
    inside = (z > 0) & (u >= 0) & (u <= cameras.width - 1) & (v >= 0) & (v <= cameras.height - 1)
    count = len(cameras)
    seen = inside.view(count, count, -1).any(-1).T
    return seen & ~torch.eye(count, dtype=torch.bool, device=seen.device)
