"""Motions of cameras for new views.

A motion is a rigid 4 x 4 matrix in the world (the LiDAR frame: metres, x right, y forward, z up), applied to all
cameras of a rig at once. The paths are the published ones (parity notes, section 12 and quirk 22).
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from ..errors import InputError
from ..modules.cameras import Cameras

AXES = ('x', 'y', 'z')


def shifts(offsets: Tensor) -> Tensor:
    """Offsets ``(n, 3)`` in metres to motions ``(n, 4, 4)`` that only shift (float64)."""
    motions = torch.eye(4, dtype=torch.float64).repeat(len(offsets), 1, 1)
    motions[:, :3, 3] = offsets
    return motions


def translation(axis: str = 'x', start: float = 0.0, step: float = 1.0, count: int = 3) -> Tensor:
    """``count`` motions along one axis: ``start``, ``start + step``, ... metres. ``(count, 4, 4)``."""
    if axis not in AXES:
        raise InputError(f'axis {axis!r}: no such axis; choose one of {", ".join(AXES)}')
    offsets = torch.zeros(count, 3, dtype=torch.float64)
    offsets[:, AXES.index(axis)] = start + step * torch.arange(count, dtype=torch.float64)
    return shifts(offsets)


def left_right(steps: int = 12, step: float = 0.1) -> Tensor:
    """To the right, back, to the left and back, ``steps`` of ``step`` metres each way: ``(4 * (steps + 1), 4, 4)``.

    By default 1.2 m in 52 poses, as published. Both turning points and the middle come twice.
    """
    out = step * torch.arange(steps + 1, dtype=torch.float64)
    x = torch.cat([out, out.flip(0), -out, -out.flip(0)])
    return shifts(torch.stack([x, torch.zeros_like(x), torch.zeros_like(x)], dim=1))


def circle(radius: float = 1.0, step: float = 0.1, arc_steps: int = 30) -> Tensor:
    """Out to the right, over an upper half circle to the left, and back: ``(n, 4, 4)``.

    By default 50 poses, as published: x from 0 to 0.9 m, 31 poses of the half circle, x from -0.9 to -0.1 m.
    """
    straight = round(radius / step)
    out = step * torch.arange(straight, dtype=torch.float64)
    angle = torch.pi * torch.arange(arc_steps + 1, dtype=torch.float64) / arc_steps
    x = torch.cat([out, radius * angle.cos(), -out[1:].flip(0)])
    z = torch.cat([torch.zeros_like(out), radius * angle.sin(), torch.zeros_like(out[1:])])
    return shifts(torch.stack([x, torch.zeros_like(x), z], dim=1))


TRAJECTORIES = {'left_right': left_right, 'circle': circle, 'translation': translation}


def trajectory(name: str) -> Tensor:
    """All motions of the trajectory of that name, ``(n, 4, 4)``.

    Raises:
        InputError: no such trajectory.
    """
    if name not in TRAJECTORIES:
        raise InputError(f'trajectory {name!r}: no such trajectory; choose one of {", ".join(TRAJECTORIES)}')
    return TRAJECTORIES[name]()


def three_from(motions: Tensor, index: int) -> Tensor:
    """Three motions from ``index`` on, fewer at the end, none behind it (the published command shows three)."""
    return motions[index : index + 3]


def move_cameras(cameras: Cameras, motions: Tensor, published_rotation: bool = False) -> Cameras:
    """Every camera under every motion, motion by motion: camera c under motion m is number ``m * C + c``.

    Args:
        cameras: ``(C,)`` cameras.
        motions: ``(n, 4, 4)`` motions in the world.
        published_rotation: rotate the direction of a camera but not its position, like the published code (quirk 23
            of the parity notes); without it the rig moves as a rigid body around the world's origin. The same for
            motions that only shift, as all trajectories here do.

    Returns:
        ``(n * C,)`` cameras.
    """
    motions = motions.to(cameras.cam2world)
    moved = motions[:, None] @ cameras.cam2world
    if published_rotation:
        moved[..., :3, 3] = motions[:, None, :3, 3] + cameras.cam2world[:, :3, 3]
    return dataclasses.replace(
        cameras,
        intrinsics=cameras.intrinsics.repeat(len(motions), 1, 1),
        cam2world=moved.flatten(0, 1),
    )
