"""Which recorded images to look up the colors of a view in."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch

from ..geometry.cameras import Cameras
from .drive import DriveImage
from .warping import Warping, project, quality

# A coarse grid of points stands for what a view may see: rows, columns, and z in meters.
GRID = (5, 9)
DEPTHS = (4.0, 12.0, 40.0)
# Views that are shifted see past the sides of the image: the grid is so much wider, and what lies there counts less.
WIDER = 1.4
BESIDE = 0.25
# Seconds; longer than what makes a source count half: some must look from elsewhere.
SPREAD = 1.0
# The more sources see a point, the less one more of them adds: the logarithm of 1 + this * what they count.
PLENTY = 3.0


def choose_sources(
    images: Sequence[DriveImage], target: DriveImage, count: int, how: Warping | None = None
) -> list[DriveImage]:
    """Choose the images that show most of what views around an image may see.

    One after the other, that which adds most: near images of the same camera first, then those that look from
    elsewhere, past what hides things. The image itself comes first if it is among them.

    Args:
        images: to choose from.
        target: the image at whose place, more or less, and at whose time the views are.
        count: how many; fewer if there are no more that see anything.
        how: what sources count.
    """
    how = how or Warping()
    if not images:
        return []
    camera, importance = _wider(target.camera_at(*GRID)[0])
    sources = _coarse_cameras(images)
    values = []
    for depth in DEPTHS:
        near = torch.full(GRID, 1 / depth, dtype=torch.float64)
        u, v, z = project(camera, near, sources)
        inside = (z > 0) & (u >= -0.5) & (u <= GRID[1] - 0.5) & (v >= -0.5) & (v <= GRID[0] - 0.5)
        values.append((quality(camera, near, sources, how) * inside).flatten(1))
    seconds = torch.tensor([image.timestamp - target.timestamp for image in images], dtype=torch.float64)
    value = torch.cat(values, 1) / (1 + (seconds / SPREAD) ** 2)[:, None]
    return [images[index] for index in _greedy(value, importance.flatten().repeat(len(DEPTHS)), count)]


def _coarse_cameras(images: Sequence[DriveImage]) -> Cameras:
    """Return the cameras ``(n,)`` of images of the size of the grid; one by one they take longer than all the rest."""
    scales = np.array([[GRID[1] / image.width, GRID[0] / image.height, 1.0] for image in images])
    intrinsics = scales[..., None] * np.stack([image.intrinsics for image in images])
    poses = np.stack([image.cam2scene for image in images])
    return Cameras(torch.from_numpy(intrinsics), torch.from_numpy(poses), *GRID)


def _wider(camera: Cameras) -> tuple[Cameras, torch.Tensor]:
    """Widen a camera; return it and what its pixels ``(h, w)`` count."""
    scale = camera.intrinsics.new_tensor([1 / WIDER, 1 / WIDER, 1.0])
    intrinsics = camera.intrinsics * scale[:, None]
    intrinsics[:2, 2] = camera.intrinsics[:2, 2]
    size = scale.new_tensor([camera.width, camera.height])
    place = (camera.pixel_grid(camera.height, camera.width) - intrinsics[:2, 2]) * WIDER + intrinsics[:2, 2]
    beside = ((place < -0.5) | (place > size - 0.5)).any(-1)
    importance = torch.ones_like(place[..., 0]).masked_fill(beside, BESIDE)
    return dataclasses.replace(camera, intrinsics=intrinsics), importance


def _greedy(value: torch.Tensor, importance: torch.Tensor, count: int) -> list[int]:
    """Return up to ``count`` rows of ``(n, points)`` that show most points, and most points more than once."""
    chosen: list[int] = []
    total = torch.zeros_like(value[0])
    left = value.clone()
    while len(chosen) < min(count, len(value)):
        gain = (torch.log1p(PLENTY * (total + left)) - torch.log1p(PLENTY * total)) @ importance
        best = int(gain.argmax())
        if not gain[best] > 0:
            break
        chosen.append(best)
        total = total + left[best]
        left[best] = 0
    return chosen
