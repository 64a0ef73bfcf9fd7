"""Cameras of simple geometry. World and ego frame: x right, y forward, z up."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from projects.DistillNeRF.geometry.cameras import Cameras


def pinhole(focal: float | tuple[float, float], center: tuple[float, float], count: int = 1) -> Tensor:
    """Return intrinsics ``(count, 3, 3)`` without skew; all in pixels.

    Args:
        focal: focal length, or that in x and that in y.
        center: principal point ``(x, y)``.
        count: how many equal matrices.
    """
    fx, fy = focal if isinstance(focal, tuple) else (focal, focal)
    return torch.tensor([[fx, 0, center[0]], [0, fy, center[1]], [0, 0, 1]], dtype=torch.float32).repeat(count, 1, 1)


def facing(yaw: float = 0.0) -> Tensor:
    """Return the rotation ``(3, 3)`` of an upright camera that looks ``yaw`` degrees to the right of forward."""
    sine, cosine = math.sin(math.radians(yaw)), math.cos(math.radians(yaw))
    right, down, forward = (cosine, -sine, 0.0), (0.0, 0.0, -1.0), (sine, cosine, 0.0)
    return torch.tensor([right, down, forward]).T.contiguous()


def unit_cameras(count: int, height: int, width: int) -> Cameras:
    """Return cameras whose intrinsics and poses are identities: a pixel is a meter at z = 1 m."""
    return Cameras(torch.eye(3).repeat(count, 1, 1), torch.eye(4).repeat(count, 1, 1), height, width)


def level_cameras(yaws: tuple[float, ...], height: int, width: int) -> Cameras:
    """Return upright cameras at the origin, about 90 degrees wide, one per yaw (degrees to the right of forward)."""
    poses = torch.eye(4).repeat(len(yaws), 1, 1)
    for pose, yaw in zip(poses, yaws, strict=True):
        pose[:3, :3] = facing(yaw)
    return Cameras(pinhole(width / 2, ((width - 1) / 2, (height - 1) / 2), len(yaws)), poses, height, width)


def random_cameras(
    count: int,
    height: int,
    width: int,
    generator: torch.Generator,
    *,
    focal: float | None = None,
    center: tuple[float, float] | None = None,
    apart: bool = True,
    dtype: torch.dtype = torch.float64,
) -> Cameras:
    """Return cameras that look in random directions.

    Args:
        count: how many.
        height, width: size of their images, pixels.
        generator: where the directions come from.
        focal: in pixels; ``None`` for the width.
        center: principal point; ``None`` for half the width and height.
        apart: whether each stands about a meter away from the origin, or at it.
        dtype: of intrinsics and poses.
    """
    poses = torch.eye(4, dtype=dtype).repeat(count, 1, 1)
    for pose in poses:
        pose[:3, :3] = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=generator)).Q
        if apart:
            pose[:3, 3] = torch.randn(3, dtype=torch.float64, generator=generator)
    intrinsics = pinhole(focal or width, center or (width / 2, height / 2), count).to(dtype)
    return Cameras(intrinsics, poses, height, width)
