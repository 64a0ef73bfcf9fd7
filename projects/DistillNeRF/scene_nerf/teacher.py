"""What every teacher can do: render depth, sky and color of a drive from any camera at any time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from ..geometry.cameras import Cameras
from ..geometry.tensors import TensorFields


@dataclass(frozen=True)
class TeacherRendering(TensorFields):
    """What a teacher knows of views; NaN where it knows nothing.

    Attributes:
        depth: ``(V, h, w)`` z in meters, NaN in the sky and where nothing was observed.
        sky: ``(V, h, w)`` 1 where the sky is seen, between 0 and 1 where it shines through.
        image: ``(V, 3, h, w)`` RGB in [0, 1], NaN where it is not known; None for teachers without color.
        moving: ``(V, h, w)`` share of the color that moving things make; None for teachers that do not tell.
    """

    depth: Tensor
    sky: Tensor
    image: Tensor | None = None
    moving: Tensor | None = None


class Teacher(Protocol):
    """A model of one drive."""

    def render(self, cameras: Cameras, timestamp: float) -> TeacherRendering:
        """Render all pixels of cameras ``(V,)``, whose world is the scene frame, at a time in seconds."""
        ...
