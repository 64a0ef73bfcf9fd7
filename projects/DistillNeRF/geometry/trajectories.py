"""Trajectories of cameras for novel views.

A motion is a rigid 4 x 4 matrix in the world (the LiDAR frame: meters, x right, y forward, z up), applied to all
cameras of a rig at once. The named paths are the published ones (docs/NETWORK.md#novel-views).
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..utils.errors import InputError
from ..utils.files import read_json
from .cameras import Cameras
from .matrices import multiply

AXES = ('x', 'y', 'z')
POSE_FORMATS = '4 x 4 matrices, or {"x": 1.0, "y": 0.0, "z": 0.0, "yaw": 10.0} (meters, degrees)'


def shifts(offsets: Tensor) -> Tensor:
    """Make motions ``(n, 4, 4)`` (float64) that only shift, of offsets ``(n, 3)`` in meters."""
    motions = torch.eye(4, dtype=torch.float64).repeat(len(offsets), 1, 1)
    motions[:, :3, 3] = offsets
    return motions


def translation(axis: str = 'x', start: float = 0.0, step: float = 1.0, count: int = 3) -> Tensor:
    """Make motions ``(count, 4, 4)`` along one axis: ``start``, ``start + step``, ... meters."""
    if axis not in AXES:
        raise InputError(f'axis {axis!r}: no such axis; choose one of {", ".join(AXES)}')
    offsets = torch.zeros(count, 3, dtype=torch.float64)
    offsets[:, AXES.index(axis)] = start + step * torch.arange(count, dtype=torch.float64)
    return shifts(offsets)


def left_right(steps: int = 12, step: float = 0.1) -> Tensor:
    """Move to the right, back, to the left and back: ``(4 * (steps + 1), 4, 4)``, ``steps`` of ``step`` meters each.

    By default 1.2 m in 52 poses, as published. Both turning points and the middle come twice.
    """
    out = step * torch.arange(steps + 1, dtype=torch.float64)
    x = torch.cat([out, out.flip(0), -out, -out.flip(0)])
    return shifts(torch.stack([x, torch.zeros_like(x), torch.zeros_like(x)], dim=1))


def circle(radius: float = 1.0, step: float = 0.1, arc_steps: int = 30) -> Tensor:
    """Move out to the right, over an upper half circle to the left, and back: ``(n, 4, 4)``.

    By default 50 poses, as published: x from 0 to 0.9 m, 31 poses of the half circle, x from -0.9 to -0.1 m.
    """
    straight = round(radius / step)
    out = step * torch.arange(straight, dtype=torch.float64)
    angle = torch.pi * torch.arange(arc_steps + 1, dtype=torch.float64) / arc_steps
    x = torch.cat([out, radius * angle.cos(), -out[1:].flip(0)])
    z = torch.cat([torch.zeros_like(out), radius * angle.sin(), torch.zeros_like(out[1:])])
    return shifts(torch.stack([x, torch.zeros_like(x), z], dim=1))


TRAJECTORIES: dict[str, Callable[[], Tensor]] = {'left_right': left_right, 'circle': circle, 'translation': translation}


def trajectory(name: str) -> Tensor:
    """Return the motions ``(n, 4, 4)`` of a named trajectory, or of a JSON file (:func:`read_trajectory`).

    Args:
        name: one of :data:`TRAJECTORIES`, or a path that ends with ``.json``.

    Raises:
        InputError: no such trajectory, or a bad file.
    """
    if name.endswith('.json'):
        return read_trajectory(name)
    if name not in TRAJECTORIES:
        raise InputError(
            f'trajectory {name!r}: no such trajectory; choose one of {", ".join(TRAJECTORIES)}, or give a .json file'
        )
    return TRAJECTORIES[name]()


def read_trajectory(path: str | os.PathLike) -> Tensor:
    """Read motions ``(n, 4, 4)`` (float64) from a JSON list of poses.

    A pose is a rigid 4 x 4 matrix, or ``{"x": .., "y": .., "z": .., "yaw": ..}``: meters to the right, forward and up,
    and degrees to the left around the LiDAR; what is left out is 0.

    Raises:
        InputError: names the file, and the pose that is wrong.
    """
    poses = read_json(path, 'give a JSON list of poses')
    if not isinstance(poses, list) or not poses:
        raise InputError(f'{path}: holds no list of poses; give {POSE_FORMATS}')
    return torch.stack([_motion(pose, f'{path}: pose {number}') for number, pose in enumerate(poses)])


def _motion(pose: Any, place: str) -> Tensor:
    """Read one pose of a file as a motion ``(4, 4)``; ``place`` names it in messages."""
    if isinstance(pose, dict):
        if unknown := sorted(set(pose) - {*AXES, 'yaw'}):
            raise InputError(f'{place} has {", ".join(unknown)}; give {POSE_FORMATS}')
        x, y, z, yaw = (pose.get(key, 0.0) for key in (*AXES, 'yaw'))
        pose = _shift_and_turn(x, y, z, yaw, place)
    try:
        motion = torch.tensor(pose, dtype=torch.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f'{place} is no pose ({error}); give {POSE_FORMATS}') from error
    if motion.shape != (4, 4) or not motion.isfinite().all():
        raise InputError(f'{place} is no finite 4 x 4 matrix; give {POSE_FORMATS}')
    rotation, last = motion[:3, :3], motion.new_tensor([0.0, 0.0, 0.0, 1.0])
    straight = torch.allclose(rotation @ rotation.T, torch.eye(3, dtype=motion.dtype), atol=1e-4)
    if not straight or torch.linalg.det(rotation) < 0 or not torch.equal(motion[3], last):
        raise InputError(f'{place} is not rigid: a rotation and a shift, last row 0 0 0 1; give {POSE_FORMATS}')
    return motion


def _shift_and_turn(x: Any, y: Any, z: Any, yaw: Any, place: str) -> list[list[float]]:
    """Return the ``(4, 4)`` matrix of a shift in meters and a yaw in degrees."""
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in (x, y, z, yaw)):
        raise InputError(f'{place} holds something else than numbers; give {POSE_FORMATS}')
    c, s = math.cos(math.radians(yaw)), math.sin(math.radians(yaw))
    return [[c, -s, 0.0, x], [s, c, 0.0, y], [0.0, 0.0, 1.0, z], [0.0, 0.0, 0.0, 1.0]]


def distinct(motions: Tensor) -> Tensor:
    """Return motions ``(n, 4, 4)`` without repetitions, in the order of x, then y, then z: ``(m, 4, 4)``."""
    order = [(motion[:3, 3].tolist(), motion.flatten().tolist()) for motion in (motions * 1e6).round() / 1e6 + 0.0]
    first = {key: number for number, key in reversed(list(enumerate(map(str, order))))}
    return motions[sorted(first.values(), key=lambda number: order[number])]


def three_from(motions: Tensor, index: int) -> Tensor:
    """Return three motions from ``index`` on, as the published command shows; fewer at the end, none behind it."""
    return motions[index : index + 3]


def move_cameras(cameras: Cameras, motions: Tensor, published_rotation: bool = False) -> Cameras:
    """Move every camera by every motion, motion by motion: camera c under motion m is number ``m * C + c``.

    Args:
        cameras: ``(C,)`` cameras.
        motions: ``(n, 4, 4)`` motions in the world.
        published_rotation: rotate the direction of a camera but not its position, like the published code
            (rotation-about-itself in docs/NETWORK.md#oddities-of-the-published-code); without it the rig moves as a
            rigid body around the world's origin. The same for motions that only shift, as all trajectories here do.

    Returns:
        ``(n * C,)`` cameras.
    """
    motions = motions.to(cameras.cam2world)
    moved = multiply(motions[:, None], cameras.cam2world)
    if published_rotation:
        moved[..., :3, 3] = motions[:, None, :3, 3] + cameras.cam2world[:, :3, 3]
    return dataclasses.replace(
        cameras,
        intrinsics=cameras.intrinsics.repeat(len(motions), 1, 1),
        cam2world=moved.flatten(0, 1),
    )
