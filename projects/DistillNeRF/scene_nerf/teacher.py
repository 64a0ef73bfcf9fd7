"""What every teacher can do: render depth, sky and color of a drive from any camera at any time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from ..geometry.cameras import Cameras
from ..geometry.tensors import TensorFields
from .drive import DriveImage


@dataclass(frozen=True)
class TeacherRendering(TensorFields):
    """What a teacher knows of views; NaN where it knows nothing.

    Attributes:
        depth: ``(V, h, w)`` z in meters, NaN in the sky and where nothing was observed.
        sky: ``(V, h, w)`` 1 where the sky is seen, between 0 and 1 where it shines through.
        image: ``(V, 3, h, w)`` RGB in [0, 1], NaN where it is not known; None for teachers without color.
        moving: ``(V, h, w)`` share of the color that moving things make; None for teachers that do not tell.
        features: ``(V, C, h', w')`` of a foundation model, in the size of the maps that they were learned from; also of
            what is behind the own car; None for teachers that learned none.
    """

    depth: Tensor
    sky: Tensor
    image: Tensor | None = None
    moving: Tensor | None = None
    features: Tensor | None = None


class Teacher(Protocol):
    """A model of one drive."""

    def render(
        self, cameras: Cameras, timestamp: float, recorded: Sequence[DriveImage | None] = ()
    ) -> TeacherRendering:
        """Render all pixels of cameras ``(V,)``, whose world is the scene frame, at a time in seconds.

        Args:
            cameras: the views.
            timestamp: the time.
            recorded: for each view the image of the drive that shows the same, or None; empty: all None. Such views
                show the own car where the image does, with neither depth nor sky there; others see what is behind it.
                A field shows no sky where an image that it was trained on is known to be solid.
        """
        ...


@runtime_checkable
class CorrectsPoses(Protocol):
    """A teacher that found where images were taken, a little beside where their records say."""

    def corrected(self, image: DriveImage) -> DriveImage:
        """Return an image of the drive with the pose that fits the teacher."""
        ...


def corrected(teacher: Teacher, image: DriveImage) -> DriveImage:
    """Return an image with the pose that fits a teacher; by most it is the recorded one."""
    return teacher.corrected(image) if isinstance(teacher, CorrectsPoses) else image


def own_car_masks(recorded: Sequence[DriveImage | None], height: int, width: int) -> Tensor | None:
    """Return where views of recorded images show the own car, ``(V, h, w)`` bool; None if nowhere.

    Args:
        recorded: the image of each view; None for a view that is none.
        height, width: of the masks.
    """
    if all(image is None or image.own_car is None for image in recorded):
        return None
    masks = [
        np.zeros((height, width), bool) if image is None else image.own_car_mask(height, width) for image in recorded
    ]
    return torch.from_numpy(np.stack(masks))


def hide_own_car(rendering: TeacherRendering, recorded: Sequence[DriveImage | None]) -> TeacherRendering:
    """Forget what is behind the own car in views of recorded images: neither depth nor sky."""
    masks = own_car_masks(recorded, *rendering.depth.shape[-2:])
    if masks is None:
        return rendering
    masks = masks.to(rendering.depth.device)
    return replace(
        rendering,
        depth=rendering.depth.masked_fill(masks, math.nan),
        sky=rendering.sky.masked_fill(masks, 0.0),
        moving=None if rendering.moving is None else rendering.moving.masked_fill(masks, math.nan),
    )
