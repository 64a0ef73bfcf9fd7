"""Find what moves without labels: things where beams of other times go through freely."""

from __future__ import annotations

from itertools import product

import numpy as np
from scipy.ndimage import minimum_filter
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from .beams import Beams
from .evidence import Evidence
from .evidence_kernels import count_bits, same_stay
from .surfaces import group_by_voxel

# A voxel must be seen to be free at so many other times (a third of all, if these are few, but two), and at so many
# times as often as something else is seen in it.
FREE_TIMES, FREE_SHARE = 3, 3.0
# So many of the 8 voxels beside it must have been seen to be free, too. Inside of walls nothing is ever free, even
# where beams along the wall go through the voxels of its surface.
FREE_BESIDE = 7
# Moving points nearer to each other than this are one thing, meters, and more per meter of range, as beams diverge.
GAP, GAP_PER_METER = 0.6, 0.015
# So many times must the points of a thing have been seen to be free, all together.
LEAST_EVIDENCE = 12
# Points of which nothing else is known move with what is so near, meters, unless they lie so low above the ground.
GROWTH, GROWTH_PER_METER, GROUND = 0.4, 0.015, 0.2


def find_moving(beams: Beams, evidence: Evidence) -> np.ndarray:
    """Tell which ends of beams ``(n,)`` lie on things that were not there all the time.

    A point moves if beams of other times went freely through its voxel, and nothing was hit in the voxels around at
    these times. Times before it came and after it left count, while it stood do not: a car that waits and then drives
    off moves. Small groups are dropped; points beside a moving one that nothing speaks against move with it. What is
    at the same place all the time does not move, whatever it is; of one time alone nothing can be told.

    Args:
        beams: of one drive.
        evidence: what these beams say.
    """
    own = evidence.time_of_sweep[beams.sweeps]
    hits, passes = evidence.bits(beams.ends, around=1)
    stays = same_stay(hits, passes, own)
    times_free = count_bits(passes)
    moving = times_free >= max(2, min(FREE_TIMES, len(evidence.times) // 3))
    moving &= times_free >= FREE_SHARE * count_bits(hits & ~stays)
    moving[moving] = _free_beside(beams.ends[moving], evidence, stays[moving]) >= FREE_BESIDE
    may_grow = ~_seen_at_other_times(beams, evidence, own) & (_heights(beams.ends) > GROUND)
    reach = beams.lengths
    for time in range(len(evidence.times)):
        at = np.flatnonzero(own == time)
        points, kept = beams.ends[at], moving[at]
        kept[kept] = _evident_groups(points[kept], reach[at][kept], times_free[at][kept])
        moving[at] = _grown(points, reach[at], kept, may_grow[at] & ~kept)
    return moving


def _free_beside(points: np.ndarray, evidence: Evidence, stays: np.ndarray) -> np.ndarray:
    """Count the voxels beside points ``(n, 3)``, at their height, that were ever free but during the stay: 0 to 8."""
    counts = np.zeros(len(points), np.int64)
    for x, y in product((-1, 0, 1), repeat=2):
        if x or y:
            _, passes = evidence.bits(points + np.float32([x, y, 0]) * np.float32(evidence.voxel))
            counts += (passes & ~stays) > 0
    return counts


def _seen_at_other_times(beams: Beams, evidence: Evidence, own: np.ndarray) -> np.ndarray:
    """Tell for the ends of beams ``(n,)`` whether something was seen in the very voxel before it came or after."""
    hits, passes = evidence.bits(beams.ends)
    return (hits & ~same_stay(hits, passes, own)) > 0


def _heights(points: np.ndarray, cell: float = 0.5) -> np.ndarray:
    """Return how many meters points ``(n, 3)`` are above the lowest of all in the cells around."""
    columns = np.floor(points[:, :2] / cell).astype(np.int64)
    columns -= columns.min(0)
    lowest = np.full(columns.max(0) + 1, np.inf, np.float32)
    np.minimum.at(lowest.reshape(-1), np.ravel_multi_index(tuple(columns.T), lowest.shape), points[:, 2])
    return points[:, 2] - minimum_filter(lowest, 3)[tuple(columns.T)]


def _evident_groups(points: np.ndarray, reach: np.ndarray, times_free: np.ndarray) -> np.ndarray:
    """Tell which points ``(n, 3)`` of one time, all moving, are in groups with evidence enough."""
    if not len(points):
        return np.zeros(0, bool)
    cells = group_by_voxel(points, GAP / 3)
    counts = np.bincount(cells)
    centers = np.stack([np.bincount(cells, points[:, axis]) / counts for axis in range(3)], axis=1)
    gaps = GAP + GAP_PER_METER * np.bincount(cells, reach) / counts
    pairs = cKDTree(centers).query_pairs(gaps.max(), output_type='ndarray')
    apart = np.linalg.norm(centers[pairs[:, 0]] - centers[pairs[:, 1]], axis=1)
    pairs = pairs[apart <= np.minimum(gaps[pairs[:, 0]], gaps[pairs[:, 1]])]
    links = coo_array((np.ones(len(pairs), bool), tuple(pairs.T)), shape=(len(centers),) * 2)
    group = connected_components(links, directed=False)[1][cells]
    return np.bincount(group, times_free)[group] >= LEAST_EVIDENCE


def _grown(points: np.ndarray, reach: np.ndarray, moving: np.ndarray, may_grow: np.ndarray) -> np.ndarray:
    """Add the points ``(n, 3)`` of one time that may and lie beside moving ones."""
    if not moving.any() or not may_grow.any():
        return moving
    distances, _ = cKDTree(points[moving]).query(points[may_grow])
    grown = moving.copy()
    grown[may_grow] = distances <= GROWTH + GROWTH_PER_METER * reach[may_grow]
    return grown
