"""The trajectory of a rigid thing, from its LiDAR points at several times."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve
from scipy.spatial import cKDTree
from typing_extensions import Self

from .registration import HEIGHT_SHARE, turn

# Points attract points of other times around. In each of two stages, the width of the attraction at the beginning and
# at the end, meters, and about how many points of all times together are used; each time has so many at least.
STAGES, LEAST_POINTS = (((0.8, 0.2), 300), ((0.2, 0.1), 4000)), 30
# Steps of a stage at most, if none is smaller than this, meters and radians.
ITERATIONS, ENOUGH = 15, 5e-4
# Among so many nearest points; a point that has none of other times around weighs less by this.
NEIGHBORS, ALONE = 16, 0.5
# Steps are longer by this, as what attracts moves along.
FURTHER = 1.8
# One time tells no more than so many points.
MOST_WEIGHT = 40.0
# How things speed up along x, y, z, meters per second squared, and turn, radians per second squared.
ACCELERATION = (2.0, 2.0, 0.5, 0.5)
# What drives faster than this, m/s, looks where it goes but for so many radians; what is slower turns so fast, rad/s.
DRIVES, DRIFT, SLOW_TURN = 1.0, 0.1, 0.2
# The steps from pose to pose that are given are off by so much: meters, radians.
STEP_ERROR = (0.3, 0.3, 0.1, 0.3)
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
    smoothness = _Smoothness.of(times, np.diff(poses, axis=0))
    # The frame of the thing is at liberty: it stays as it is at one time.
    held = np.zeros_like(poses)
    held[np.argmax([len(part) for part in parts])] = 1e6
    for widths, most in STAGES:
        each = max(LEAST_POINTS, most // len(parts))
        thin = [part[:: -(-len(part) // each)] for part in parts]
        owners = np.repeat(np.arange(len(thin)), [len(part) for part in thin])
        points = np.concatenate(thin)
        for width in np.geomspace(*widths, ITERATIONS):
            system, right = smoothness.equations(poses)
            _add_points(system, right, points, owners, poses, width)
            np.einsum('ii->i', system)[:] += held.reshape(-1)
            step = solve(system, right, assume_a='pos', overwrite_a=True, check_finite=False).reshape(-1, 4)
            poses += FURTHER * step
            if np.abs(step).max() < ENOUGH:
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


def _second_differences(times: np.ndarray) -> np.ndarray:
    """Return the matrix ``(k - 2, k)`` that takes values at times ``(k,)`` to how they speed up."""
    before, after = np.diff(times)[:-1, None], np.diff(times)[1:, None]
    steps = np.diff(np.eye(len(times)), axis=0)
    return (steps[1:] / after - steps[:-1] / before) * 2 / (before + after)


@dataclass(frozen=True)
class _Smoothness:
    """That motion is steady, with steps from pose to pose as given.

    Attributes:
        times: ``(k,)`` seconds.
        given: ``(k - 1, 4)`` the steps.
        differences: ``(k - 1, k)`` and ``(k - 2, k)``, what takes values to their steps and to how they speed up.
        always: ``(4, k, k)`` the part of the equations that is the same for all poses, for x, y, z and the turn.
    """

    times: np.ndarray
    given: np.ndarray
    differences: tuple[np.ndarray, np.ndarray]
    always: np.ndarray

    @classmethod
    def of(cls, times: np.ndarray, given: np.ndarray) -> Self:
        steps, speeds_up = np.diff(np.eye(len(times)), axis=0), _second_differences(times)
        squares = steps.T @ steps, speeds_up.T @ speeds_up
        errors = zip(STEP_ERROR, ACCELERATION, strict=True)
        always = np.stack([squares[0] / step**2 + squares[1] / change**2 for step, change in errors])
        return cls(times, given, (steps, speeds_up), always)

    def equations(self, poses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the equations ``(4k, 4k)`` and ``(4k,)`` for a change to poses ``(k, 4)``."""
        count, (steps, speeds_up) = len(poses), self.differences
        system = np.zeros((count, 4, count, 4))
        for column in range(4):
            system[:, column, :, column] = self.always[column]
        right = steps.T @ ((self.given - np.diff(poses, axis=0)) / np.square(STEP_ERROR))
        right -= speeds_up.T @ (speeds_up @ poses / np.square(ACCELERATION))
        directions, speeds = _directions(poses, self.times)
        drives = speeds > DRIVES
        off = np.angle(np.exp(1j * (directions - forward(poses, self.times) - poses[:, 3])))
        first, diagonal = np.arange(count - 1), np.arange(count)
        system[diagonal, 3, diagonal, 3] += drives / DRIFT**2
        right[:, 3] += drives * off / DRIFT**2
        slow = ~drives[1:] / (SLOW_TURN * np.diff(self.times)) ** 2
        for one, other, sign in ((0, 0, 1), (1, 1, 1), (0, 1, -1), (1, 0, -1)):
            system[first + one, 3, first + other, 3] += sign * slow
        right[:, 3] -= steps.T @ (slow * np.diff(poses[:, 3]))
        return system.reshape(4 * count, -1), right.reshape(-1)


def _add_points(
    system: np.ndarray, right: np.ndarray, points: np.ndarray, owners: np.ndarray, poses: np.ndarray, width: float
) -> None:
    """Add that points ``(n, 3)`` of different times lie on one surface.

    Args:
        system, right: of the poses, ``(4k, 4k)`` and ``(4k,)``; changed.
        points: in the scene.
        owners: ``(n,)`` the time of each.
        poses: ``(k, 4)``.
        width: meters, of the weights of partners.
    """
    local = to_thing(points, poses[owners])
    first, second, weights = _partners(local, owners, width)
    if not len(first):
        return
    most = MOST_WEIGHT / np.maximum(np.bincount(owners[first], weights, minlength=len(poses)), MOST_WEIGHT)
    weights = weights * most[owners[first]] / width**2
    count = len(poses)
    pairs = owners[first] * count + owners[second]

    def total(values: np.ndarray) -> np.ndarray:
        """Sum values ``(n, d)`` over the pairs of points of each pair of times, ``(k, k, d)``."""
        sums = [np.bincount(pairs, weights * column, minlength=count**2) for column in values.T]
        return np.stack(sums, axis=-1).reshape(count, count, -1)

    def dots(left: np.ndarray, right: np.ndarray) -> np.ndarray:
        return total((left * right).sum(1, keepdims=True))[..., 0]

    # A step (shift, turn) of its pose moves a point by (-R^T, lever) in the frame of the thing.
    levers = np.stack([local[:, 1], -local[:, 0], np.zeros(len(local))], axis=1)
    misses, ours, theirs = local[second] - local[first], levers[first], levers[second]
    rotations = np.stack([turn(angle) for angle in poses[:, 3]])
    shared, our_sums, their_sums, missed = total(np.ones((len(first), 1))), total(ours), total(theirs), total(misses)
    mixed = np.empty((count, 4, count, 4))
    flat = rotations.reshape(-1, 3)
    mixed[:, :3, :, :3] = (flat @ flat.T).reshape(count, 3, count, 3) * shared[:, None]
    mixed[:, :3, :, 3] = -np.einsum('iab,ijb->iaj', rotations, their_sums)
    mixed[:, 3, :, :3] = -np.einsum('jab,ijb->ija', rotations, our_sums)
    mixed[:, 3, :, 3] = dots(ours, theirs)
    own = np.zeros((count, 4, 4))
    own[:, :3, :3] = (shared.sum(1) + shared.sum(0))[..., None] * np.eye(3)
    own[:, :3, 3] = -np.einsum('iab,ib->ia', rotations, our_sums.sum(1) + their_sums.sum(0))
    own[:, 3, :3] = own[:, :3, 3]
    own[:, 3, 3] = dots(ours, ours).sum(1) + dots(theirs, theirs).sum(0)
    cells, wanted = system.reshape(count, 4, count, 4), right.reshape(count, 4)
    cells -= mixed
    cells -= mixed.transpose(2, 3, 0, 1)
    diagonal = np.arange(count)
    cells[diagonal, :, diagonal, :] += own
    wanted[:, :3] -= np.einsum('iab,ib->ia', rotations, missed.sum(1) - missed.sum(0))
    wanted[:, 3] += dots(ours, misses).sum(1) - dots(theirs, misses).sum(0)


def _partners(local: np.ndarray, owners: np.ndarray, width: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pair points ``(n, 3)`` with points of other times around, with weights by distance that sum to less than 1."""
    flat = local * [1.0, 1.0, HEIGHT_SHARE]
    count = min(NEIGHBORS, len(flat))
    distances, near = cKDTree(flat).query(flat, count, distance_upper_bound=3 * width)
    distances, near = distances.reshape(len(flat), -1), near.reshape(len(flat), -1)
    usable = np.isfinite(distances)
    usable[usable] = owners[near[usable]] != np.broadcast_to(owners[:, None], near.shape)[usable]
    weights = np.where(usable, np.exp(-0.5 * (np.where(usable, distances, 0) / width) ** 2), 0)
    weights /= weights.sum(1, keepdims=True) + ALONE
    first, rank = np.nonzero(weights > 1e-3)
    return first, near[first, rank], weights[first, rank]
