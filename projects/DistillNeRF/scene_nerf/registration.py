"""Lay sets of LiDAR points of one thing over each other: shift, and turn about z."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from .surfaces import fit_surfaces, group_by_voxel

# Points are averaged in voxels of this side, meters; of more than this many, some are left out.
THIN, MOST_POINTS = 0.1, 250
# Heights count so much when the nearest point is looked for: rings of the LiDAR do not move with a thing.
HEIGHT_SHARE = 0.5
# This share of the points must find a partner; the others may lie on a side that the other set does not show.
OVERLAP = 0.7
# Along a surface points are held so much less than across.
ALONG = 0.02
ITERATIONS = 20
# Points that fit scatter so many meters, and this share of their distance from each other.
SCATTER, SCATTER_SHARE = 0.06, 0.4


@dataclass(frozen=True)
class Shape:
    """Some points of a thing, for registration.

    Attributes:
        points: ``(n, 3)`` float64.
        normals: ``(n, 3)`` unit vectors, zeros where there is none.
        tree: of the points, with heights scaled.
        center: ``(3,)`` middle of the extent of all points.
        size: ``(3,)`` the extent along x, y, z.
        spacing: meters to the next points.
    """

    points: np.ndarray
    normals: np.ndarray
    tree: cKDTree
    center: np.ndarray
    size: np.ndarray
    spacing: float

    @property
    def tolerance(self) -> float:
        """Return how many meters the points may miss those of the same thing at another time."""
        return SCATTER + SCATTER_SHARE * self.spacing

    def nearest(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return distances, with heights scaled, and indices ``(m,)`` of the nearest to points ``(m, 3)``."""
        return self.tree.query(_flat(points))


def thinned(points: np.ndarray) -> np.ndarray:
    """Average points ``(n, 3)``, at least one, in voxels, and leave out some if there are still many."""
    cells = group_by_voxel(points, THIN)
    counts = np.bincount(cells)
    thin = np.stack([np.bincount(cells, points[:, axis]) / counts for axis in range(3)], axis=1)
    return thin[:: -(-len(thin) // MOST_POINTS)]


def make_shape(points: np.ndarray) -> Shape:
    """Thin points ``(n, 3)``, at least one, and find normals and neighbors."""
    points = points.astype(np.float64)
    low, high = points.min(0), points.max(0)
    thin = thinned(points)
    normals = np.zeros_like(thin)
    surfaces = fit_surfaces(thin, THIN / 2)
    normals = np.nan_to_num(surfaces.normals[surfaces.pieces].astype(np.float64))
    tree = cKDTree(_flat(thin))
    spacing = 1.0
    if len(thin) > 2:
        spacing = float(np.median(tree.query(_flat(thin), 3)[0][:, 1:]))
    return Shape(thin, normals, tree, (low + high) / 2, high - low, spacing)


def register(source: Shape, target: Shape, shift: np.ndarray, turn_error: float) -> tuple[np.ndarray, float]:
    """Move a set of points onto another.

    Args:
        source, target: of one thing, if it is one.
        shift: ``(3,)`` where the search begins, meters.
        turn_error: radians that the turn is expected to be off from zero.

    Returns:
        motion: ``(4,)`` shift of the center of ``source`` in x, y, z, and turn about z around it.
        misfit: mean distance of what overlaps, as a share of what is tolerated; above 1 it is not the same.
    """
    motion = np.append(shift, 0.0)
    local = source.points - source.center
    # The centers of extents agree about so well; this holds what the points leave open.
    held = np.diag([*(1 / (0.1 + 0.25 * np.maximum(source.size, target.size)) ** 2), 1 / turn_error**2])
    expected = np.append(target.center - source.center, 0.0)
    weight = 1 / source.tolerance**2
    for _ in range(ITERATIONS):
        turned = local @ turn(motion[3]).T
        moved = turned + source.center + motion[:3]
        distances, near = target.nearest(moved)
        kept = distances <= _largest_kept(distances)
        system, right = normal_equations(
            turned[kept], target.points[near[kept]] - moved[kept], target.normals[near[kept]], weight
        )
        step = np.linalg.solve(system + held, right + held @ (expected - motion))
        motion = motion + step
        if np.abs(step).max() < 1e-3:
            break
    return motion, misfit(source, target, motion)


def misfit(source: Shape, target: Shape, motion: np.ndarray) -> float:
    """Return the mean distance of what overlaps after a motion ``(4,)``, as a share of what is tolerated."""
    rotation, tolerance = turn(motion[3]), max(source.tolerance, target.tolerance)
    moved = (source.points - source.center) @ rotation.T + source.center + motion[:3]
    back = (target.points - source.center - motion[:3]) @ rotation + source.center
    ways = [np.sort(target.nearest(moved)[0]), np.sort(source.nearest(back)[0])]
    means = [way[: max(1, int(np.ceil(OVERLAP * len(way))))].mean() for way in ways]
    # One set may show much more of the thing than the other.
    return (0.7 * min(means) + 0.3 * max(means)) / tolerance


def _largest_kept(distances: np.ndarray) -> float:
    """Return up to which distance points overlap: those below :data:`OVERLAP`'s quantile."""
    rank = int(OVERLAP * (len(distances) - 1))
    return np.partition(distances, rank)[rank]


def turn(angle: float) -> np.ndarray:
    """Return the rotation ``(3, 3)`` about z by an angle in radians."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])


def normal_equations(
    levers: np.ndarray, misses: np.ndarray, normals: np.ndarray, weights: np.ndarray | float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the system ``(4, 4)`` and its right side ``(4,)`` for a step in x, y, z and turn about z.

    Args:
        levers: ``(n, 3)`` points from the center of the turn.
        misses: ``(n, 3)`` from the points to where they should be.
        normals: ``(n, 3)`` of the surfaces there, zeros where unknown.
        weights: of the points, ``(n,)`` or one.
    """
    along = np.where(normals.any(1), ALONG, 0.5)
    plain, across = (weights * along)[:, None], (weights * (1 - along))[:, None] * normals
    # How a turn moves the points, and what the metric ``plain + across normal^T`` makes of that.
    turning = np.stack([-levers[:, 1], levers[:, 0], np.zeros(len(levers))], 1)
    pulled = plain * turning + across * (normals * turning).sum(1, keepdims=True)
    system = np.empty((4, 4))
    system[:3, :3] = plain.sum() * np.eye(3) + across.T @ normals
    system[:3, 3] = system[3, :3] = pulled.sum(0)
    system[3, 3] = (pulled * turning).sum()
    shifts = plain * misses + across * (normals * misses).sum(1, keepdims=True)
    return system, np.append(shifts.sum(0), (pulled * misses).sum())


def _flat(points: np.ndarray) -> np.ndarray:
    return points * [1.0, 1.0, HEIGHT_SHARE]
