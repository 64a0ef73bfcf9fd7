"""Viewpoints: the camera of a browser, converted to cameras of the renderer.

Both use the same frame for a camera (it looks along +z, x right, y down) and the same world (z up), so poses pass as
they are. The browser names a vertical field of view for its whole window; the renderer wants pinhole matrices of
images whose pixel (0, 0) is the center of the top left pixel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from viser.transforms import SO3

from ...geometry.cameras import Cameras

UP = (0.0, 0.0, 1.0)
# The browser orbits around a point this far ahead of the camera, meters.
LOOK_DISTANCE = 5.0
# Windows are rendered up to this ratio of width to height, and of height to width.
LARGEST_ASPECT = 4.0


class BrowserCamera(Protocol):
    """The attributes of ``viser.CameraHandle`` that are read."""

    wxyz: np.ndarray
    position: np.ndarray
    fov: float
    aspect: float


@dataclass(frozen=True)
class Viewpoint:
    """A camera of any image size whose principal point is the middle of the image.

    Attributes:
        cam2world: ``(4, 4)`` float64, meters.
        fov: vertical field of view, radians.
        aspect: width over height.
    """

    cam2world: np.ndarray
    fov: float
    aspect: float

    @classmethod
    def of_browser(cls, camera: BrowserCamera) -> Viewpoint:
        """Make the viewpoint of a browser's camera."""
        pose = np.eye(4)
        pose[:3, :3] = SO3(np.asarray(camera.wxyz)).as_matrix()
        pose[:3, 3] = camera.position
        return cls(pose, float(camera.fov), float(camera.aspect))

    @classmethod
    def of_cameras(cls, cameras: Cameras, index: int) -> Viewpoint:
        """Make the viewpoint of one of ``(V,)`` cameras; its principal point is taken to be the center."""
        focal = float(cameras.intrinsics[index, 1, 1])
        fov = 2 * math.atan(cameras.height / (2 * focal))
        return cls(cameras.cam2world[index].double().cpu().numpy(), fov, cameras.width / cameras.height)

    @property
    def position(self) -> np.ndarray:
        """Return the camera center ``(3,)``, meters."""
        return self.cam2world[:3, 3]

    @property
    def look_at(self) -> np.ndarray:
        """Return the point ``(3,)`` ahead around which the browser orbits, meters."""
        return self.position + LOOK_DISTANCE * self.cam2world[:3, 2]

    @property
    def wxyz(self) -> np.ndarray:
        """Return the rotation from camera to world as a quaternion ``(4,)``."""
        return SO3.from_matrix(self.cam2world[:3, :3]).wxyz

    def cameras(self, rows: int, downscale: int, like: torch.Tensor) -> Cameras:
        """Make a camera that renders ``rows`` rows of rays and as many columns as the aspect asks for.

        Args:
            downscale: image size over render size.
            like: gives dtype and device.
        """
        aspect = min(max(self.aspect, 1 / LARGEST_ASPECT), LARGEST_ASPECT)
        height, width = rows * downscale, max(1, round(rows * aspect)) * downscale
        vertical = height / (2 * math.tan(self.fov / 2))
        # Columns are whole numbers, the window is not: pixels are as wide as it takes to fill it.
        horizontal = vertical * width / (height * aspect)
        matrix = [[horizontal, 0, (width - 1) / 2], [0, vertical, (height - 1) / 2], [0, 0, 1]]
        return Cameras(
            like.new_tensor(matrix)[None],
            torch.from_numpy(self.cam2world).to(like)[None],
            height,
            width,
        )


def look_from(position: tuple[float, float, float], target: tuple[float, float, float], fov: float) -> Viewpoint:
    """Make a viewpoint at ``position`` that looks at ``target`` without roll; not straight up or down."""
    forward = np.subtract(target, position)
    forward = forward / np.linalg.norm(forward)
    right = np.cross(forward, UP)
    right = right / np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, :3] = np.stack([right, np.cross(forward, right), forward], axis=1)
    pose[:3, 3] = position
    return Viewpoint(pose, fov, 16 / 9)
