"""Small pieces of surface that LiDAR points lie on: centers, normals, and how far the next ones are."""

from __future__ import annotations

from collections.abc import Iterator
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
    tree, count = cKDTree(centers), min(neighbors, len(centers))
    normals, spacing = np.empty((len(centers), 3), np.float32), np.empty(len(centers), np.float32)
    for part in chunks(len(centers)):
        normals[part], spacing[part] = _planes(centers, *tree.query(centers[part], np.arange(1, count + 1)))
    return Surfaces(centers.astype(np.float32), normals, spacing, pieces)


def _planes(centers: np.ndarray, distances: np.ndarray, near: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fit planes to the centers that are nearest, ``(m, k)``; return normals ``(m, 3)`` and spacing ``(m,)``."""
    around = centers[near] - centers[near].mean(1, keepdims=True)
    scatter, axes = np.linalg.eigh(np.einsum('mki,mkj->mij', around, around))
    known = (scatter[:, 0] < FLAT**2 * scatter[:, 1]) & (scatter[:, 1] > NO_LINE**2 * scatter[:, 2])
    return np.where(known[:, None], axes[:, :, 0], np.nan), distances[:, distances.shape[1] // 2]


def chunks(count: int, size: int = 2**18) -> Iterator[slice]:
    """Cut ``count`` items into parts: what is computed of all of them at once would not fit into memory."""
    yield from (slice(first, min(first + size, count)) for first in range(0, count, size))


def group_by_voxel(points: np.ndarray, voxel: float) -> np.ndarray:
    """Return for points ``(n, 3)`` the number ``(n,)`` of their voxel, counted over the voxels that have points."""
    cells = np.floor(points / voxel).astype(np.int64)
    cells -= cells.min(0)
    shape = tuple(cells.max(0) + 1)
    return np.unique(np.ravel_multi_index(tuple(cells.T), shape), return_inverse=True)[1].reshape(-1)
