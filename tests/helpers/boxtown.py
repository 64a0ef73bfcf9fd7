"""A town of boxes on a plane, with exact answers: what the export of MiniTown is tested against."""

from __future__ import annotations

import numpy as np

from projects.DistillNeRF.semantics.classes import CLASS_ID, SKY
from projects.MiniTown.world import Box, Render

CATEGORIES = {'vehicle.car': 'car', 'vehicle.truck': 'truck', 'human.pedestrian.adult': 'pedestrian'}
WALL = 10.2
# Settings of a small data set, for ``generate``.
SMALL = {'scenes': 2, 'seed': 3, 'workers': 1, 'keyframes': 3, 'height': 56, 'width': 100, 'samples': 1}


class BoxTown:
    """A road along x at z = 0, walls 10.2 m to both sides up to 6 m, and some boxes; the car drives along x."""

    def __init__(self, seed: int = 0, duration: float = 2.0, speed: float = 5.0) -> None:
        self.speed = speed

    def ego_pose(self, time: float) -> np.ndarray:
        pose = np.eye(4)
        pose[0, 3] = self.speed * time
        return pose

    def boxes(self, time: float) -> list[Box]:
        return [
            box('ahead', 'vehicle.car', (15.0 + 2.0 * time, 0.5, 0.8), (1.9, 4.5, 1.6), 0.2, (2.0, 0.0)),
            box('behind', 'vehicle.truck', (-14.0, -2.0, 1.45), (2.5, 8.0, 2.9), 0.0, (0.0, 0.0)),
            box('hidden', 'human.pedestrian.adult', (20.0 + 2.0 * time, 0.5, 1.1), (0.6, 0.6, 2.2), 0.0, (2.0, 0.0)),
            box('left', 'vehicle.car', (3.0, 6.0, 0.8), (1.8, 4.2, 1.6), np.pi / 2, (0.0, 0.0)),
        ]

    def cast(self, origins, directions, time):
        distance = np.full(len(origins), np.inf)
        classes = np.full(len(origins), SKY, np.uint8)
        instances = np.full(len(origins), -1, np.int32)

        def nearer(candidate, kind, instance=-1):
            better = (candidate > 1e-9) & (candidate < distance)
            distance[better], classes[better], instances[better] = candidate[better], CLASS_ID[kind], instance

        with np.errstate(divide='ignore', invalid='ignore'):
            nearer(-origins[:, 2] / directions[:, 2], 'road')
            for side in (-WALL, WALL):
                wall = (side - origins[:, 1]) / directions[:, 1]
                nearer(np.where(origins[:, 2] + wall * directions[:, 2] < 6.0, wall, np.inf), 'building')
            for index, item in enumerate(self.boxes(time)):
                cosine, sine = np.cos(item.yaw), np.sin(item.yaw)
                to_box = np.array([[cosine, sine, 0.0], [-sine, cosine, 0.0], [0.0, 0.0, 1.0]])
                half = item.size[[1, 0, 2]] / 2
                start, along = (origins - item.center) @ to_box.T, directions @ to_box.T
                first, second = (-half - start) / along, (half - start) / along
                near, far = np.minimum(first, second).max(axis=-1), np.maximum(first, second).min(axis=-1)
                through = near <= far
                for face in (near, far):
                    nearer(np.where(through, face, np.inf), CATEGORIES[item.category], index)
        return distance, classes, instances, np.full(len(origins), 0.2)

    def render(self, intrinsics, cam2global, height, width, time, samples=1) -> Render:
        columns, lines = np.meshgrid(np.arange(width), np.arange(height))
        pixels = np.stack([columns, lines, np.ones_like(lines)], axis=-1).reshape(-1, 3)
        directions = pixels @ np.linalg.inv(intrinsics).T @ cam2global[:3, :3].T
        origins = np.broadcast_to(cam2global[:3, 3], directions.shape)
        z, classes, instances, _ = self.cast(origins, directions, time)
        depth = np.where(np.isfinite(z), z, np.nan).astype(np.float32).reshape(height, width)
        palette = np.linspace(40, 240, 32).astype(np.uint8)
        rgb = np.repeat(palette[classes].reshape(height, width, 1), 3, axis=-1)
        return Render(rgb, depth, classes.reshape(height, width), instances.reshape(height, width))

    def drivable(self, points: np.ndarray) -> np.ndarray:
        return np.abs(points[:, 1]) < 4.0

    bounds = (-100.0, -100.0, 100.0, 100.0)


def box(token, category, center, size, yaw, velocity) -> Box:
    return Box(token, category, np.array(center), np.array(size), yaw, np.array(velocity))
