"""What a viewer shows: one scene and the cameras that saw it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from ...geometry.cameras import Cameras
from ...models.scene import Scene
from .viewpoints import Viewpoint, looking

# Cameras around a scene that comes without any: so many, each so wide (degrees), at so many rows of rays.
RING_CAMERAS, RING_FOV, RING_ROWS = 6, 45.0, 28


@dataclass(frozen=True)
class ViewerScene:
    """One scene and the cameras that saw it.

    Attributes:
        title: what it is, in a few words.
        scene: what was made of it.
        cameras: ``(V,)``.
        names: of the cameras.
        images: ``(V, H, W, 3)`` uint8 RGB; ``None`` where nothing but the scene is known, and the cameras are a ring
            that was put there to draw by.
    """

    title: str
    scene: Scene
    cameras: Cameras
    names: tuple[str, ...]
    images: np.ndarray | None

    @property
    def front(self) -> Viewpoint:
        """The camera that looks most to the front."""
        forward = self.cameras.cam2world[:, 1, 2]
        return Viewpoint.of_cameras(self.cameras, int(forward.argmax()))


class Source(Protocol):
    """Some scenes, by number."""

    def __len__(self) -> int:
        """How many."""

    def load(self, number: int) -> ViewerScene:
        """Make one of them; takes a while."""


def without_cameras(title: str, scene: Scene) -> ViewerScene:
    """Show a scene of which no cameras are known: a ring of level cameras is put there to draw by."""
    names = tuple(f'{round(360 * i / RING_CAMERAS)} degrees' for i in range(RING_CAMERAS))
    return ViewerScene(title, scene, ring(scene), names, None)


def ring(scene: Scene) -> Cameras:
    """Level cameras at the origin that look everywhere, the first one to the front, clockwise."""
    fov = np.radians(RING_FOV)
    views = []
    for i in range(RING_CAMERAS):
        angle = 2 * np.pi * i / RING_CAMERAS
        view = looking((0, 0, 0), (np.sin(angle), np.cos(angle), 0), float(fov))
        views.append(view.cameras(RING_ROWS, scene.downscale, scene.fine))
    return dataclasses.replace(
        views[0],
        intrinsics=torch.cat([view.intrinsics for view in views]),
        cam2world=torch.cat([view.cam2world for view in views]),
    )
