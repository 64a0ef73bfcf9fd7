"""Small turns of cameras: recorded poses are a little off, as the car pitches and rolls.

A turn is a rotation vector in the scene, radians: its direction is the axis, its length the angle.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from .drive import DriveImage


def rotate(turns: Tensor, vectors: Tensor) -> Tensor:
    """Rotate vectors ``(..., 3)`` by rotation vectors ``(..., 3)``."""
    turns, vectors = torch.broadcast_tensors(turns, vectors)
    angles = turns.norm(dim=-1, keepdim=True) / torch.pi
    across = torch.linalg.cross(turns, vectors)
    # sinc(x) is sin(pi x) / (pi x): Rodrigues' formula, without a division by zero.
    return vectors + angles.sinc() * across + 0.5 * (angles / 2).sinc().square() * torch.linalg.cross(turns, across)


def turn_image(image: DriveImage, turn: Tensor) -> DriveImage:
    """Return an image whose camera is turned ``(3,)`` where it stands."""
    cam2scene = torch.from_numpy(image.cam2scene).clone()
    turn = turn.detach().cpu().double()
    cam2scene[:3, :3] = rotate(turn.expand(3, 3), cam2scene[:3, :3].T).T
    return replace(image, cam2scene=cam2scene.numpy())


def turn_images(images: Sequence[DriveImage], turns: Tensor | None) -> tuple[DriveImage, ...]:
    """Turn the cameras of images by ``(n, 3)``; None: they stay."""
    if turns is None:
        return tuple(images)
    return tuple(turn_image(image, turn) for image, turn in zip(images, turns, strict=True))


def turn_between(image: DriveImage, images: Sequence[DriveImage], turns: Tensor) -> Tensor:
    """Return the turn ``(3,)`` float64 of an image, from those of the nearest images of its camera in time.

    Of one of these it is its own. In between it changes evenly, as seen by the camera; it is zero if there are none.

    Args:
        image: any image of the drive.
        images: those whose turns are known, in order of time, before or after they are turned.
        turns: ``(n, 3)``.
    """
    same = [number for number, one in enumerate(images) if one.camera == image.camera]
    if not same:
        return torch.zeros(3, dtype=torch.float64)
    times = [images[number].timestamp for number in same]
    axes = np.stack([images[number].cam2scene[:3, :3] for number in same])
    seen = np.einsum('nij,ni->nj', axes, turns.detach().cpu().double().numpy()[same])
    own = [np.interp(image.timestamp, times, values) for values in seen.T]
    return torch.from_numpy(image.cam2scene[:3, :3] @ np.array(own))
