"""LiDAR sweeps of the town by ray casting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .rig import Lidar, transform

if TYPE_CHECKING:
    from .world import Town


@dataclass(frozen=True)
class Sweep:
    """One turn of the LiDAR; only rays that came back.

    Attributes:
        points: float32 ``(n, 5)`` x, y, z in the LiDAR frame (meters), intensity 0-255, ring: a row of a nuScenes file.
        instances: ``(n,)`` position of the object in ``Town.boxes``, -1 for anything else.
    """

    points: np.ndarray
    instances: np.ndarray


def scan(town: Town, lidar: Lidar, lidar2town: np.ndarray, time: float, rng: np.random.Generator) -> Sweep:
    """Turn ``lidar`` once at the pose ``lidar2town`` ``(4, 4)``; the world stands still during the turn."""
    directions = lidar.directions()
    origins = np.broadcast_to(lidar2town[:3, 3], directions.shape)
    distance, _, instances, intensity = town.cast(origins, directions @ lidar2town[:3, :3].T, time)
    # The noise is drawn for all rays, so that one ray more or less does not change that of the others.
    noisy = distance + rng.normal(0.0, lidar.noise, len(distance))
    back = distance < lidar.reach
    rings = np.repeat(np.arange(lidar.beams), lidar.azimuths)
    rows = [directions[back] * noisy[back, None], 255.0 * intensity[back, None], rings[back, None]]
    return Sweep(np.concatenate(rows, axis=1).astype(np.float32), np.asarray(instances)[back])


def in_town(sweep: Sweep, lidar2town: np.ndarray) -> np.ndarray:
    """Return the points ``(n, 3)`` of ``sweep`` in the frame of the town."""
    return transform(lidar2town, sweep.points[:, :3].astype(np.float64))
