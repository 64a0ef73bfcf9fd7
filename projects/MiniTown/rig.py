"""The sensors of the ego car: six cameras and a LiDAR, mounted as on the nuScenes cars.

Frames of reference: *ego* has its origin on the ground below the rear axle, x forward, y left, z up. *Cameras* look
along +z, x right, y down; pixel (0, 0) is the center of the top left pixel. *LiDAR*: x right, y forward, z up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial.transform import Rotation

if TYPE_CHECKING:
    from .world import Box

# Focal lengths and principal points are given for nuScenes' images and scaled to those of the data set.
REFERENCE_WIDTH = 1600
REFERENCE_HEIGHT = 900

_CAMERA_AXES_IN_EGO = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])


@dataclass(frozen=True)
class Camera:
    """A camera on the car.

    Attributes:
        name: nuScenes channel.
        lead: how long before the LiDAR it fires, microseconds.
        position: in the ego frame, meters.
        yaw, pitch, roll: of the viewing direction in the ego frame, degrees (z-y-x order; pitch > 0 looks down).
        focal: focal length in pixels of a reference image of 1600 x 900.
        center: principal point (u, v) in pixels of a reference image.
    """

    name: str
    lead: int
    position: tuple[float, float, float]
    yaw: float
    pitch: float
    roll: float
    focal: float
    center: tuple[float, float]

    @property
    def cam2ego(self) -> np.ndarray:
        """Return ``(4, 4)`` camera to ego."""
        mounting = Rotation.from_euler('ZYX', [self.yaw, self.pitch, self.roll], degrees=True).as_matrix()
        return rigid(mounting @ _CAMERA_AXES_IN_EGO, self.position)

    def intrinsics(self, height: int, width: int) -> np.ndarray:
        """Return the pinhole matrix ``(3, 3)`` for an image of ``height`` x ``width``; pixels stay square."""
        focal = self.focal * width / REFERENCE_WIDTH
        u = self.center[0] * width / REFERENCE_WIDTH
        v = self.center[1] * height / REFERENCE_HEIGHT
        return np.array([[focal, 0.0, u], [0.0, focal, v], [0.0, 0.0, 1.0]])


CAMERAS = (
    Camera('CAM_FRONT', 35_500, (1.70, 0.02, 1.51), 0.3, 0.3, 0.1, 1266.0, (816.0, 491.0)),
    Camera('CAM_FRONT_RIGHT', 27_600, (1.55, -0.49, 1.50), -55.6, 0.8, -0.5, 1261.0, (808.0, 495.0)),
    Camera('CAM_BACK_RIGHT', 20_100, (1.01, -0.48, 1.56), -110.8, 0.9, 0.6, 1259.5, (807.0, 501.0)),
    Camera('CAM_BACK', 10_400, (0.03, 0.00, 1.58), 180.0, -0.9, 0.3, 809.0, (829.0, 482.0)),
    Camera('CAM_BACK_LEFT', 500, (1.04, 0.48, 1.59), 108.7, 0.9, -0.3, 1257.0, (792.0, 493.0)),
    Camera('CAM_FRONT_LEFT', 43_100, (1.52, 0.49, 1.51), 55.2, -0.1, 0.2, 1272.5, (827.0, 480.0)),
)


@dataclass(frozen=True)
class Lidar:
    """A spinning LiDAR with the beams of nuScenes' HDL-32E.

    Attributes:
        name: nuScenes channel.
        position: in the ego frame, meters.
        yaw, pitch, roll: of its forward direction in the ego frame, degrees, like those of :class:`Camera`.
        beams: number of rings; ring 0 looks down most.
        lowest, highest: elevation of the first and last ring, degrees.
        azimuths: rays per ring and turn.
        reach: largest measured distance, meters.
        noise: standard deviation of the distance, meters.
    """

    name: str = 'LIDAR_TOP'
    position: tuple[float, float, float] = (0.94, 0.0, 1.84)
    yaw: float = -0.1
    pitch: float = 1.4
    roll: float = -0.3
    beams: int = 32
    lowest: float = -30.67
    highest: float = 10.67
    azimuths: int = 540
    reach: float = 75.0
    noise: float = 0.01

    @property
    def lidar2ego(self) -> np.ndarray:
        """Return ``(4, 4)`` LiDAR to ego."""
        mounting = Rotation.from_euler('ZYX', [self.yaw - 90.0, self.roll, -self.pitch], degrees=True).as_matrix()
        return rigid(mounting, self.position)

    def directions(self) -> np.ndarray:
        """Return unit directions ``(beams * azimuths, 3)`` in the LiDAR frame, ring by ring."""
        elevation = np.radians(np.linspace(self.lowest, self.highest, self.beams))[:, None]
        azimuth = np.linspace(0.0, 2.0 * np.pi, self.azimuths, endpoint=False)[None]
        horizontal = np.cos(elevation)
        x, y = horizontal * np.sin(azimuth), horizontal * np.cos(azimuth)
        z = np.broadcast_to(np.sin(elevation), x.shape)
        return np.stack([x, y, z], axis=-1).reshape(-1, 3)


def rigid(rotation: np.ndarray, translation: np.ndarray | tuple[float, float, float]) -> np.ndarray:
    """Return the rigid motion ``(4, 4)`` of a rotation ``(3, 3)`` and a translation ``(3,)``."""
    motion = np.eye(4)
    motion[:3, :3] = rotation
    motion[:3, 3] = translation
    return motion


def box2world(box: Box) -> np.ndarray:
    """Return ``(4, 4)`` from the frame of a box (origin in its center, x along its length, z up) to the world."""
    cosine, sine = np.cos(box.yaw), np.sin(box.yaw)
    rotation = np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])
    return rigid(rotation, box.center)


def moved(cam2world: np.ndarray, offset: tuple[float, float, float]) -> np.ndarray:
    """Return the pose ``(4, 4)`` of a camera moved by ``offset`` meters along its own axes."""
    return cam2world @ rigid(np.eye(3), offset)


def transform(motion: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Apply a rigid motion ``(4, 4)`` to points ``(..., 3)``."""
    return points @ motion[:3, :3].T + motion[:3, 3]


def quaternion(rotation: np.ndarray) -> list[float]:
    """Return the rotation ``(3, 3)`` as a unit quaternion (w, x, y, z), the form of the nuScenes tables."""
    x, y, z, w = Rotation.from_matrix(rotation).as_quat()
    return [float(w), float(x), float(y), float(z)]
