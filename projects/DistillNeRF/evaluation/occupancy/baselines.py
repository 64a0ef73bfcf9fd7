"""Grids that need no model: what a prediction must beat, and the best one that there can be."""

from __future__ import annotations

import numpy as np

from ...semantics.occ3d import FREE, voxel_indices
from .from_scene import UNKNOWN


def guesses(truth: np.ndarray, points: np.ndarray | None) -> dict[str, np.ndarray]:
    """Return ``nothing`` occupied, ``everything``, the voxels of ``lidar_points``, and the ``oracle``: the truth.

    What is occupied is "others", but for the oracle.

    Args:
        truth: class numbers ``(X, Y, Z)``.
        points: ``(n, 3)`` of the LiDAR, meters in the ego frame; None: there is none, and no ``lidar_points``.
    """
    grids = {'nothing': np.full_like(truth, FREE), 'everything': np.full_like(truth, UNKNOWN)}
    if points is not None:
        grids['lidar_points'] = np.full_like(truth, FREE)
        grids['lidar_points'][tuple(voxel_indices(points)[0].T)] = UNKNOWN
    return {**grids, 'oracle': truth}
