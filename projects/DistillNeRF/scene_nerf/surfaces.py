"""Small pieces of surface that LiDAR points lie on: centers, normals, and how far the next ones are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

# A piece is flat if its points scatter less than this along the normal, as a share of their second largest scatter,
# and no line if the second largest is more than this share of the largest.
FLAT, NO_LINE = 0.3, 0.15


@dataclass(frozen=True)
class Surfaces:
    """Pieces of surface, one per voxel that has points.

    Attributes:
        centers: ``(m, 3)`` float32, mean of the points.
        normals: ``(m, 3)`` float32 unit vectors of any sign; NaN where the points around tell of none.
        spacing: ``(m,)`` float32, meters to the neighbors around.
        pieces: ``(n,)`` int64, the piece that each point belongs to.
    """

    centers: np.ndarray
    normals: np.ndarray
    spacing: np.ndarray
    pieces: np.ndarray


def fit_surfaces(points: np.ndarray, voxel: float, neighbors: int = 12) -> Surfaces:
    """Average the points of each voxel, and fit a plane to the nearest averages.

    Args:
        points: ``(n, 3)``, meters.
        voxel: side of the voxels, meters.
        neighbors: how many averages a plane is fitted to.
    """
    if not len(points):
        nothing = np.empty((0, 3), np.float32)
        return Surfaces(nothing, nothing, np.empty(0, np.float32), np.empty(0, np.int64))
    pieces = group_by_voxel(points, voxel)
    counts = np.bincount(pieces)
    centers = np.stack([np.bincount(pieces, points[:, axis]) / counts for axis in range(3)], axis=1)
    distances, near = cKDTree(centers).query(centers, min(neighbors, len(centers)))
    distances, near = distances.reshape(len(centers), -1), near.reshape(len(centers), -1)
    around = centers[near] - centers[near].mean(1, keepdims=True)
    scatter, axes = np.linalg.eigh(np.einsum('mki,mkj->mij', around, around))
    known = (scatter[:, 0] < FLAT**2 * scatter[:, 1]) & (scatter[:, 1] > NO_LINE**2 * scatter[:, 2])
    normals = np.where(known[:, None], axes[:, :, 0], np.nan)
    spacing = distances[:, distances.shape[1] // 2]
    return Surfaces(*(x.astype(np.float32) for x in (centers, normals, spacing)), pieces)


def group_by_voxel(points: np.ndarray, voxel: float) -> np.ndarray:
    """Return for points ``(n, 3)`` the number ``(n,)`` of their voxel, counted over the voxels that have points."""
    cells = np.floor(points / voxel).astype(np.int64)
    cells -= cells.min(0)
    shape = tuple(cells.max(0) + 1)
    return np.unique(np.ravel_multi_index(tuple(cells.T), shape), return_inverse=True)[1].reshape(-1)
