"""A street of boxes that a LiDAR drives through, with exact answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from projects.DistillNeRF.scene_nerf.drive import Drive, DriveImage, DriveSweep

# The ground is this much below the LiDAR, meters; sweeps are so far apart, seconds; the car drives so fast, m/s.
GROUND, STEP, SPEED = -1.8, 0.1, 4.0
HOUSE = ((6.0, -10.0, GROUND), (9.0, 30.0, 8.0))
PARKED = ((-4.0, 8.0, GROUND), (-2.2, 12.0, GROUND + 1.5))
Boxes = tuple[tuple[tuple[float, ...], tuple[float, ...]], ...]


def moving_car(time: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the box, lowest and highest corner, of a car that comes towards the LiDAR on the left."""
    y = 20.0 - 9.0 * time
    return (-1.9, y, GROUND + 0.1), (-0.2, y + 4.0, GROUND + 1.5)


@dataclass(frozen=True)
class Street:
    """Level ground and boxes.

    Attributes:
        boxes: what stands there at a time.
    """

    boxes: Callable[[float], Boxes]

    def cast(self, origin: np.ndarray, directions: np.ndarray, time: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the distance ``(n,)`` to what rays ``(n, 3)`` meet, and which: 0 ground, 1 first box, -1 sky."""
        with np.errstate(divide='ignore', invalid='ignore'):
            ground = np.where(directions[:, 2] < 0, (GROUND - origin[2]) / directions[:, 2], np.inf)
            distance, what = ground, np.where(np.isfinite(ground), 0, -1)
            for number, (low, high) in enumerate(self.boxes(time), start=1):
                sides = np.stack([(np.array(corner) - origin) / directions for corner in (low, high)])
                enter, leave = sides.min(0).max(1), sides.max(0).min(1)
                nearer = (enter <= leave) & (enter > 0) & (enter < distance)
                distance, what = np.where(nearer, enter, distance), np.where(nearer, number, what)
        return distance, what


def directions(rings: int = 40, azimuths: int = 540, ceiling: float = 15.0) -> np.ndarray:
    """Return the unit directions ``(n, 3)`` of a spinning LiDAR."""
    up, around = np.meshgrid(
        np.radians(np.linspace(-25, ceiling, rings)), np.linspace(0, 2 * np.pi, azimuths, endpoint=False)
    )
    return np.stack([np.cos(up) * np.sin(around), np.cos(up) * np.cos(around), np.sin(up)], axis=-1).reshape(-1, 3)


def drive_through(street: Street, folder: Path, sweeps: int, reach: float = 60.0) -> Drive:
    """Write the sweeps of a drive along y, each of a keyframe, and return the drive with a camera that looks ahead."""
    made = []
    for number in range(sweeps):
        time, pose = number * STEP, np.eye(4)
        pose[1, 3] = SPEED * time
        distance, _ = street.cast(pose[:3, 3], directions(), time)
        back = distance < reach
        path = folder / f'{number}.bin'
        (directions()[back] * distance[back, None]).astype(np.float32).tofile(path)
        made.append(DriveSweep(str(path), 3, number, time, pose, np.zeros((1, 3))))
    images = tuple(camera_ahead(sweep.lidar2scene, sweep.timestamp, sweep.frame) for sweep in made)
    return Drive('street', ('FRONT',), images, tuple(made), np.eye(4))


def camera_ahead(
    lidar2scene: np.ndarray, time: float, frame: int | None, height: int = 96, width: int = 160
) -> DriveImage:
    """Return an image, of no file, of a camera that looks along y, .2 m before the LiDAR and .3 m below."""
    cam2lidar = np.array([[1.0, 0, 0, 0], [0, 0, 1, 0.2], [0, -1, 0, -0.3], [0, 0, 0, 1]])
    intrinsics = np.array([[width / 2, 0, (width - 1) / 2], [0, width / 2, (height - 1) / 2], [0, 0, 1]])
    return DriveImage('', 'FRONT', frame, time, height, width, intrinsics, lidar2scene @ cam2lidar, {}, {})


def true_depth(street: Street, image: DriveImage) -> tuple[np.ndarray, np.ndarray]:
    """Return z and what is seen, ``(h, w)`` each; z is infinite and what is -1 in the sky."""
    v, u = np.mgrid[: image.height, : image.width]
    rays = np.stack([u, v, np.ones_like(u)], axis=-1).reshape(-1, 3) @ np.linalg.inv(image.intrinsics).T
    depth, what = street.cast(image.cam2scene[:3, 3], rays @ image.cam2scene[:3, :3].T, image.timestamp)
    return depth.reshape(v.shape), what.reshape(v.shape)
