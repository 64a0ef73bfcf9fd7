"""Grids of Occ3D-nuScenes made by hand, and files of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from projects.DistillNeRF.semantics.classes import OCC3D_CLASSES
from projects.DistillNeRF.semantics.occ3d import FREE, LOWER, SHAPE, VOXEL

CAR, TRUCK, BUS, ROAD, WALL = map(OCC3D_CLASSES.index, ('car', 'truck', 'bus', 'driveable_surface', 'manmade'))


def empty(shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """Nothing occupied."""
    return np.full(shape, FREE, np.uint8)


def block(low: tuple[int, int, int], high: tuple[int, int, int], kind: int = CAR) -> np.ndarray:
    """One box of voxels, from ``low`` to before ``high``, in an empty grid."""
    grid = empty()
    grid[tuple(map(slice, low, high))] = kind
    return grid


def street() -> np.ndarray:
    """A road, a car, a truck and walls on either side."""
    grid = empty()
    grid[:, 60:140, 0] = ROAD
    grid[120:132, 96:102, 1:5] = CAR
    grid[40:60, 104:111, 1:9] = TRUCK
    grid[:, 50:52, :12] = WALL
    grid[::3, 150:152, :14] = WALL
    return grid


def at(*position: float) -> np.ndarray:
    """Return the place in the ego frame, meters, of a position in voxels from the lower corner of the grid."""
    return LOWER + VOXEL * np.array(position)


def write_labels(path: Path, semantics: np.ndarray, **more: np.ndarray) -> Path:
    """Write ``labels.npz`` in which all voxels are seen; ``more`` replaces or adds arrays."""
    seen = np.ones(semantics.shape, np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **{'semantics': semantics, 'mask_lidar': seen, 'mask_camera': seen} | more)
    return path


def write_prediction(path: Path, semantics: np.ndarray) -> Path:
    """Write a prediction alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, semantics=semantics)
    return path
