"""The grid of Occ3D-nuScenes labels: ``(200, 200, 16)`` voxels of 0.4 m along x, y, z of the ego frame."""

from __future__ import annotations

import numpy as np

from .classes import OCC3D_CLASSES

# Corners (x, y, z), meters in the ego frame: x forward, y left, z up.
LOWER = np.array([-40.0, -40.0, -1.0])
UPPER = np.array([40.0, 40.0, 5.4])
# Edge of a voxel, meters.
VOXEL = 0.4
SHAPE = (200, 200, 16)
FREE = OCC3D_CLASSES.index('free')


def voxel_indices(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return voxel indices ``(m, 3)`` of points inside the grid, and which points those are ``(n,)``.

    Args:
        points: ``(n, 3)`` in the ego frame, meters.
    """
    indices = np.floor((points - LOWER) / VOXEL).astype(np.int32)
    inside = np.all((indices >= 0) & (indices < SHAPE), axis=-1)
    return indices[inside], inside
