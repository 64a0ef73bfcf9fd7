"""The trajectory of a rigid thing, from its LiDAR points at several times."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from .registration import HEIGHT_SHARE, turn
from .surfaces import fit_surfaces

ITERATIONS = 12
# Pieces of surface that normals are told of, meters.
PIECE = 0.15
# Partners of a point are nearer than the first at the beginning and the second at the end, meters.
FARTHEST, NEAREST = 0.4, 0.2
# The nearest points that a partner is looked for among.
NEIGHBORS = 8
# Points miss by so much, meters, along a surface by so many times more; one time tells no more than so many points.
SCATTER, ALONG, MOST_WEIGHT = 0.06, 5.0, 40.0
# How things speed up along x, y, z, meters per second squared, and turn, radians per second squared.
ACCELERATION = (2.0, 2.0, 0.5, 0.5)
# What drives faster than this, m/s, looks where it goes but for so many radians; what is slower turns so fast, rad/s.
DRIVES, DRIFT, SLOW_TURN = 1.0, 0.1, 0.2
# The steps from pose to pose that are given are off by so much: meters, radians.
STEP_ERROR = (0.1, 0.1, 0.1, 0.1)
# The direction of motion is measured over this way, meters.
WAY = 1.0


def refine(parts: list[np.ndarray], poses: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Make poses smooth and the points of all times lie on one surface.

    Args:
        parts: for each of k times points ``(n, 3)`` in the scene.
        poses: ``(k, 4)`` x, y, z and turn about z from the thing to the scene.
        times: ``(k,)`` seconds.

    Returns:
        poses ``(k, 4)``. The turn is relative: by :func:`forward` it gets to look ahead.
    """
    poses = poses.copy()
    poses[:, 3] = np.unwrap(poses[:, 3])
    if len(poses) < 2:
        return poses
    given = np.diff(poses, axis=0)
    owners = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    points = np.concatenate(parts)
    # The frame of the thing is at liberty: it stays as it is at one time.
    held = np.zeros_like(poses)
    held[np.argmax([len(part) for part in parts])] = 1e6
    for iteration in range(ITERATIONS):
        share = iteration / (ITERATIONS - 1)
        system, right = _smoothness(poses, times, given)
        _add_points(system, right, points, owners, poses, FARTHEST ** (1 - share) * NEAREST**share)
        step = np.linalg.solve(system + np.diag(held.reshape(-1)), right).reshape(-1, 4)
        poses += step
        if np.abs(step).max() < 1e-3 and share > 0.5:
            break
    return poses


def forward(poses: np.ndarray, times: np.ndarray) -> float:
    """Return the angle about z, in the frame of a thing with poses ``(k, 4)``, of the way it goes; radians."""
    directions, speeds = _directions(poses, times)
    drives = speeds >= min(DRIVES, speeds.max() / 2)
    angles = directions[drives] - poses[drives, 3]
    return float(np.angle((speeds[drives] * np.exp(1j * angles)).sum()))


def to_thing(points: np.ndarray, poses: np.ndarray) -> np.ndarray:
    """Take points ``(n, 3)`` of the scene into the frames of poses ``(4,)`` or ``(n, 4)``."""
    shifted = points - poses[..., :3]
    cos, sin = np.cos(poses[..., 3]), np.sin(poses[..., 3])
    x, y, z = shifted.T
    return np.stack([cos * x + sin * y, cos * y - sin * x, z], axis=-1)


def matrices(poses: np.ndarray) -> np.ndarray:
    """Return poses ``(k, 4)`` as ``(k, 4, 4)``."""
    made = np.tile(np.eye(4), (len(poses), 1, 1))
    made[:, :3, :3] = [turn(angle) for angle in poses[:, 3]]
    made[:, :3, 3] = poses[:, :3]
    return made


def _directions(poses: np.ndarray, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the angle ``(k,)`` of motion in the scene and the speed, measured over some way around each time."""
    way = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(poses[:, :2], axis=0), axis=1))])
    last = len(way) - 1
    before = np.minimum(np.searchsorted(way, way - WAY / 2, side='right') - 1, np.arange(last + 1) - 1).clip(0)
    after = np.maximum(np.searchsorted(way, way + WAY / 2), np.arange(last + 1) + 1).clip(None, last)
    moved = poses[after, :2] - poses[before, :2]
    speeds = np.linalg.norm(moved, axis=1) / np.maximum(times[after] - times[before], 1e-6)
    return np.arctan2(moved[:, 1], moved[:, 0]), speeds


def _smoothness(poses: np.ndarray, times: np.ndarray, given: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the equations ``(4k, 4k)`` and ``(4k,)`` for a change to poses of steady motion, with steps as given."""
    count = len(poses)
    system, right = np.zeros((count, 4, count, 4)), np.zeros((count, 4))

    def ask(rows: np.ndarray, factors: np.ndarray, column: int, wanted: float, error: float) -> None:
        """Ask that ``factors @ poses[rows, column]`` is ``wanted``."""
        miss = wanted - factors @ poses[rows, column]
        system[rows[:, None], column, rows, column] += np.outer(factors, factors) / error**2
        right[rows, column] += factors * miss / error**2

    for i in range(count - 1):
        for column in range(4):
            ask(np.array([i, i + 1]), np.array([-1.0, 1.0]), column, given[i, column], STEP_ERROR[column])
    for i in range(1, count - 1):
        before, after = times[i] - times[i - 1], times[i + 1] - times[i]
        factors = np.array([1 / before, -1 / before - 1 / after, 1 / after]) * 2 / (before + after)
        for column in range(4):
            ask(np.arange(i - 1, i + 2), factors, column, 0.0, ACCELERATION[column])
    directions, speeds = _directions(poses, times)
    ahead = forward(poses, times)
    for i in range(count):
        if speeds[i] > DRIVES:
            off = np.angle(np.exp(1j * (directions[i] - ahead - poses[i, 3])))
            ask(np.array([i]), np.ones(1), 3, poses[i, 3] + off, DRIFT)
        elif i:
            ask(np.array([i - 1, i]), np.array([-1.0, 1.0]), 3, 0.0, SLOW_TURN * (times[i] - times[i - 1]))
    return system.reshape(4 * count, -1), right.reshape(-1)


def _add_points(
    system: np.ndarray, right: np.ndarray, points: np.ndarray, owners: np.ndarray, poses: np.ndarray, farthest: float
) -> None:
    """Add that points ``(n, 3)`` of different times lie on one surface.

    Args:
        system, right: of the poses; changed.
        points: in the scene.
        owners: ``(n,)`` the time of each.
        poses: ``(k, 4)``.
        farthest: meters; points farther from each other are no partners.
    """
    local = to_thing(points, poses[owners])
    surfaces = fit_surfaces(local, PIECE)
    normals = np.nan_to_num(surfaces.normals[surfaces.pieces].astype(np.float64))
    first, second = _partners(local, owners, farthest)
    if not len(first):
        return
    misses = local[second] - local[first]
    across = np.einsum('nk,nk->n', misses, normals[second])[:, None] * normals[second]
    known = normals[second].any(1)
    apart = np.linalg.norm(np.where(known[:, None], across, misses), axis=1)
    weights = 1 / (1 + (apart / (3 * SCATTER)) ** 2)
    weights *= np.minimum(1, MOST_WEIGHT / np.maximum(np.bincount(owners[first], minlength=len(poses)), 1))[
        owners[first]
    ]
    along = np.where(known, 1 / ALONG**2, 0.25)[:, None, None]
    metric = along * np.eye(3) + (1 - along) * normals[second, :, None] * normals[second, None, :]
    metric = metric * (weights / SCATTER**2)[:, None, None]
    # How a step of its pose moves a point in the frame of the thing.
    slopes = np.zeros((len(points), 3, 4))
    slopes[:, :, :3] = -np.stack([turn(-angle) for angle in poses[:, 3]])[owners]
    slopes[:, 0, 3], slopes[:, 1, 3] = local[:, 1], -local[:, 0]
    both = np.concatenate([slopes[first], -slopes[second]], axis=2)
    weighted = both.transpose(0, 2, 1) @ metric
    unknowns = (owners[np.stack([first, second], 1)][:, :, None] * 4 + np.arange(4)).reshape(-1, 8)
    np.add.at(system, (unknowns[:, :, None], unknowns[:, None, :]), weighted @ both)
    np.add.at(right, unknowns, (weighted @ misses[:, :, None])[:, :, 0])


def _partners(local: np.ndarray, owners: np.ndarray, farthest: float) -> tuple[np.ndarray, np.ndarray]:
    """Pair points ``(n, 3)`` with points of other times: the nearest, and the one farthest in time among neighbors."""
    flat = local * [1.0, 1.0, HEIGHT_SHARE]
    count = min(NEIGHBORS, len(flat))
    distances, near = cKDTree(flat).query(flat, count)
    distances, near = distances.reshape(len(flat), -1), near.reshape(len(flat), -1)
    usable = (owners[near] != owners[:, None]) & (distances <= farthest)
    rows = np.arange(len(flat))
    closest = usable.argmax(1)
    remote = np.where(usable, np.abs(owners[near] - owners[:, None]), -1).argmax(1)
    found = usable.any(1)
    twice = found & (remote != closest)
    first = np.concatenate([rows[found], rows[twice]])
    return first, np.concatenate([near[rows, closest][found], near[rows, remote][twice]])
