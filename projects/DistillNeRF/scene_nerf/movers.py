"""Find what moves without labels: things where beams of other times go through freely."""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from .beams import Beams
from .evidence import Evidence
from .evidence_kernels import count_bits, same_stay
from .surfaces import group_by_voxel

# A voxel must be seen to be free at so many other times, and at so many times as often as something else is seen in it.
FREE_TIMES, FREE_SHARE = 2, 2.0
# Moving points nearer to each other than this are one thing, meters; things have so many points at one time at least.
GAP, LEAST_POINTS = 0.6, 6
# Points of which nothing else is known move with what is so near, meters.
GROWTH = 0.4


def find_moving(beams: Beams, evidence: Evidence) -> np.ndarray:
    """Tell which ends of beams ``(n,)`` lie on things that were not there all the time.

    A point moves if beams of other times went freely through its voxel, and nothing was hit in the voxels around at
    these times. Times before it came and after it left count, while it stood do not: a car that waits and then drives
    off moves. Small groups are dropped; points beside a moving one that nothing speaks against move with it.

    Args:
        beams: of one drive.
        evidence: what these beams say.
    """
    own = evidence.time_of_sweep[beams.sweeps]
    hits, passes = evidence.bits(beams.ends, around=1)
    stays = same_stay(hits, passes, own)
    returns = count_bits(hits & ~stays)
    times_free = count_bits(passes)
    moving = (times_free >= FREE_TIMES) & (times_free >= FREE_SHARE * returns)
    for time in range(len(evidence.times)):
        at = np.flatnonzero(own == time)
        moving[at] = _large_groups(beams.ends[at], moving[at])
    doubtful = ~moving & ~_seen_at_other_times(beams, evidence, own)
    for time in range(len(evidence.times)):
        at = np.flatnonzero(own == time)
        moving[at] = _grown(beams.ends[at], moving[at], doubtful[at])
    return moving


def _seen_at_other_times(beams: Beams, evidence: Evidence, own: np.ndarray) -> np.ndarray:
    """Tell for the ends of beams ``(n,)`` whether something was seen in the very voxel before it came or after."""
    hits, passes = evidence.bits(beams.ends)
    return (hits & ~same_stay(hits, passes, own)) > 0


def _large_groups(points: np.ndarray, moving: np.ndarray) -> np.ndarray:
    """Keep the moving points ``(n,)`` of one time that form groups of some size."""
    where = np.flatnonzero(moving)
    if not len(where):
        return moving
    cells = group_by_voxel(points[where], GAP / 3)
    counts = np.bincount(cells)
    centers = np.stack([np.bincount(cells, points[where, axis]) / counts for axis in range(3)], axis=1)
    pairs = cKDTree(centers).query_pairs(GAP, output_type='ndarray')
    links = coo_array((np.ones(len(pairs), bool), tuple(pairs.T)), shape=(len(centers),) * 2)
    group = connected_components(links, directed=False)[1][cells]
    kept = np.zeros_like(moving)
    kept[where] = np.bincount(group)[group] >= LEAST_POINTS
    return kept


def _grown(points: np.ndarray, moving: np.ndarray, doubtful: np.ndarray) -> np.ndarray:
    """Add the doubtful points ``(n,)`` of one time that lie beside moving ones."""
    if not moving.any() or not doubtful.any():
        return moving
    distances, _ = cKDTree(points[moving]).query(points[doubtful], distance_upper_bound=GROWTH)
    grown = moving.copy()
    grown[np.flatnonzero(doubtful)[np.isfinite(distances)]] = True
    return grown
