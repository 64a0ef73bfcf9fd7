"""Find what moves without labels: things where beams of other times go through freely."""

from __future__ import annotations

from itertools import product

import numpy as np
from scipy.ndimage import minimum_filter
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from .beams import Beams
from .evidence import MOST_TIMES, Evidence
from .evidence_kernels import count_bits, same_stay
from .surfaces import group_by_voxel

# A voxel must be seen to be free at so many other times (a third of all, if these are few, but two), and at so many
# times as often as something else is seen in it.
FREE_TIMES, FREE_SHARE = 3, 3.0
# So many of the 8 voxels beside it must have been seen to be free, too, and the one below. Inside of walls and below
# roofs nothing is ever free, even where beams along them go through the voxels of their surface.
FREE_BESIDE = 7
# Moving points nearer to each other than this are one thing, meters, and more per meter of range, as beams diverge.
GAP, GAP_PER_METER = 0.6, 0.015
# So many times must the points of a thing have been seen to be free, all together.
LEAST_EVIDENCE = 12
# Points of which nothing else is known move with what is so near, meters, unless they lie so low above the ground, or
# something was there when that was gone; it comes and goes within so many times.
GROWTH, GROWTH_PER_METER, GROUND, COMING = 0.6, 0.015, 0.15, 2


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
    moving[moving] = _free_around(beams.ends[moving], evidence, stays[moving])
    very_hits, very_passes = evidence.bits(beams.ends)
    may_grow = (very_hits & ~same_stay(very_hits, very_passes, own) == 0) & (_heights(beams.ends) > GROUND)
    reach = beams.lengths
    for time in range(len(evidence.times)):
        at = np.flatnonzero(own == time)
        points, kept = beams.ends[at], moving[at]
        kept[kept] = _evident_groups(points[kept], reach[at][kept], times_free[at][kept])
        others = ~_times_around(time)
        moving[at] = _grown(points, reach[at], kept, may_grow[at] & ~kept, very_hits[at] & others, passes[at])
    return moving


def _free_around(points: np.ndarray, evidence: Evidence, stays: np.ndarray) -> np.ndarray:
    """Tell for points ``(n, 3)`` whether the voxels beside and below were ever free but during the stay ``(n,)``."""

    def free(*step: int) -> np.ndarray:
        _, passes = evidence.bits(points + np.float32(step) * np.float32(evidence.voxel))
        return (passes & ~stays) > 0

    beside = sum(free(x, y, 0).astype(np.int64) for x, y in product((-1, 0, 1), repeat=2) if x or y)
    return (beside >= FREE_BESIDE) & free(0, 0, -1)


def _times_around(time: int) -> np.uint64:
    """Return the bits of a time and of those in which what is there then comes and goes."""
    return np.uint64(sum(1 << t for t in range(max(time - COMING, 0), min(time + COMING, MOST_TIMES - 1) + 1)))


def _heights(points: np.ndarray, cell: float = 0.5) -> np.ndarray:
    """Return how many meters points ``(n, 3)`` are above the lowest of all in the cells around."""
    columns = np.floor(points[:, :2] / cell).astype(np.int64)
    columns -= columns.min(0)
    lowest = np.full(columns.max(0) + 1, np.inf, np.float32)
    np.minimum.at(lowest.reshape(-1), np.ravel_multi_index(tuple(columns.T), lowest.shape), points[:, 2])
    return points[:, 2] - minimum_filter(lowest, 3)[tuple(columns.T)]


def group_nearby(points: np.ndarray, reach: np.ndarray) -> np.ndarray:
    """Number the things ``(n,)`` that moving points ``(n, 3)`` of one time are of: groups with gaps between them.

    Args:
        points: at least one.
        reach: ``(n,)`` meters from the LiDAR.
    """
    cells = group_by_voxel(points, GAP / 3)
    counts = np.bincount(cells)
    centers = np.stack([np.bincount(cells, points[:, axis]) / counts for axis in range(3)], axis=1)
    gaps = GAP + GAP_PER_METER * np.bincount(cells, reach) / counts
    pairs = cKDTree(centers).query_pairs(gaps.max(), output_type='ndarray')
    apart = np.linalg.norm(centers[pairs[:, 0]] - centers[pairs[:, 1]], axis=1)
    pairs = pairs[apart <= np.minimum(gaps[pairs[:, 0]], gaps[pairs[:, 1]])]
    links = coo_array((np.ones(len(pairs), bool), tuple(pairs.T)), shape=(len(centers),) * 2)
    return connected_components(links, directed=False)[1][cells]


def _evident_groups(points: np.ndarray, reach: np.ndarray, times_free: np.ndarray) -> np.ndarray:
    """Tell which points ``(n, 3)`` of one time, all moving, are in groups with evidence enough."""
    if not len(points):
        return np.zeros(0, bool)
    group = group_nearby(points, reach)
    return np.bincount(group, times_free)[group] >= LEAST_EVIDENCE


def _grown(
    points: np.ndarray,
    reach: np.ndarray,
    moving: np.ndarray,
    may_grow: np.ndarray,
    hits: np.ndarray,
    passes: np.ndarray,
) -> np.ndarray:
    """Add the points ``(n, 3)`` of one time that may and lie beside moving ones, unless hit when these were gone.

    Args:
        points, reach, moving: of that time.
        may_grow: which may be added.
        hits, passes: ``(n,)`` bits, when something else was there, and when nothing was.
    """
    if not moving.any() or not may_grow.any():
        return moving
    distances, near = cKDTree(points[moving]).query(points[may_grow])
    added = distances <= GROWTH + GROWTH_PER_METER * reach[may_grow]
    added &= hits[may_grow] & passes[moving][near] == 0
    grown = moving.copy()
    grown[may_grow] = added
    return grown
