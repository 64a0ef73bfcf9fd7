"""Scenes for the viewer, each with the cameras of its input images."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from ...geometry.cameras import Cameras
from ...models.scene import Scene
from .viewpoints import Viewpoint, look_from

# The ring of cameras for a scene without any: their number, field of view (degrees) and rows of rays.
RING_CAMERAS, RING_FOV, RING_ROWS = 6, 45.0, 28


class Viewed(Protocol):
    """What is looked at, with its cameras; see :class:`ViewerScene`."""

    title: str
    cameras: Cameras
    names: tuple[str, ...]
    images: np.ndarray | None
    front: Viewpoint


@dataclass(frozen=True)
class ViewerScene:
    """One scene with the cameras of its input images.

    Attributes:
        title: a short title.
        scene: the scene.
        cameras: ``(V,)`` cameras.
        names: names of the cameras.
        images: ``(V, H, W, 3)`` uint8 RGB; ``None`` where only the scene is known, and :func:`ring` made the cameras.
    """

    title: str
    scene: Scene
    cameras: Cameras
    names: tuple[str, ...]
    images: np.ndarray | None

    @property
    def front(self) -> Viewpoint:
        """Return the camera that looks most to the front."""
        forward = self.cameras.cam2world[:, 1, 2]
        return Viewpoint.of_cameras(self.cameras, int(forward.argmax()))


class SceneSource(Protocol):
    """A sequence of scenes that are made on demand."""

    def __len__(self) -> int:
        """Return the number of scenes."""

    def load(self, number: int) -> Viewed:
        """Make one of the scenes; takes a while."""


def without_cameras(title: str, scene: Scene) -> ViewerScene:
    """Show a scene without known cameras: a ring of level cameras takes their place."""
    names = tuple(f'{round(360 * i / RING_CAMERAS)} degrees' for i in range(RING_CAMERAS))
    return ViewerScene(title, scene, ring(scene), names, None)


def ring(scene: Scene) -> Cameras:
    """Place level cameras at the origin that look to all sides, clockwise from the front."""
    fov = np.radians(RING_FOV)
    views = []
    for i in range(RING_CAMERAS):
        angle = 2 * np.pi * i / RING_CAMERAS
        view = look_from((0, 0, 0), (np.sin(angle), np.cos(angle), 0), float(fov))
        views.append(view.cameras(RING_ROWS, scene.downscale, scene.fine))
    return dataclasses.replace(
        views[0],
        intrinsics=torch.cat([view.intrinsics for view in views]),
        cam2world=torch.cat([view.cam2world for view in views]),
    )
