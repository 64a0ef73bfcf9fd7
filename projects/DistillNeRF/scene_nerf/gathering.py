"""Gather what belongs to one thing: pieces that its points fell into, and points that nobody took for moving."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree
from typing_extensions import Self

from .beams import Beams
from .registration import make_shape
from .trajectories import refine, to_thing

# A piece is as far from the box of its thing at most, meters, and shifts against it by no more than this.
BESIDE, SHIFTS = 0.5, 0.4
# So much of a piece must be there.
MOST = 0.8
# Points that nobody took for moving are nearer to those of a thing than this, meters, and higher above its lowest.
CLOSE, ABOVE = 0.25, 0.1
# Things that were seen at fewer times get no such points, and after so many seconds without a sweep none either.
TIMES_KNOWN, LONGEST_GAP = 4, 0.35


@dataclass(frozen=True)
class Track:
    """A thing on its way.

    Attributes:
        sweeps: ``(k,)`` int64 ascending, when it was seen.
        beams: ``(m,)`` int64, its beams.
        poses: ``(k, 4)`` x, y, z, and turn about z from its frame to the scene.
    """

    sweeps: np.ndarray
    beams: np.ndarray
    poses: np.ndarray

    def local_points(self, beams: Beams) -> np.ndarray:
        """Return its points ``(m, 3)`` float64 in its frame."""
        at = np.searchsorted(self.sweeps, beams.sweeps[self.beams])
        return to_thing(beams.ends[self.beams].astype(np.float64), self.poses[at])

    def poses_at(self, times: np.ndarray, own: np.ndarray) -> np.ndarray:
        """Return poses ``(n, 4)`` at ``times`` (n,), given the times ``(k,)`` of its own; held before and after."""
        return np.stack([np.interp(times, own, self.poses[:, column]) for column in range(4)], axis=-1)

    def refined(self, beams: Beams) -> Self:
        """Return it with better poses."""
        parts = [self.beams[beams.sweeps[self.beams] == sweep] for sweep in self.sweeps]
        shapes = [make_shape(beams.ends[part]).points for part in parts]
        return type(self)(self.sweeps, self.beams, refine(shapes, self.poses, beams.times[self.sweeps]))


def join_pieces(tracks: list[Track], beams: Beams) -> list[Track]:
    """Let things take smaller ones that stay beside them or in them; return what is left, the largest first.

    Args:
        tracks: of which no two have a beam in common.
        beams: of the drive.
    """
    tracks = sorted(tracks, key=lambda track: (len(track.sweeps) > 1, len(track.beams)), reverse=True)
    joined = []
    while tracks:
        whole, *others = tracks
        if len(whole.sweeps) > 1:
            pieces = [other for other in others if _rides_along(whole, other, beams)]
            if pieces:
                taken = {id(piece) for piece in pieces}
                others = [other for other in others if id(other) not in taken]
                whole = _with_beams(whole, [piece.beams for piece in pieces], beams)
        joined.append(whole)
        tracks = others
    return joined


def claim_points(tracks: list[Track], beams: Beams, taken: np.ndarray) -> list[Track]:
    """Let things take points in their boxes that lie beside their own of other times.

    Args:
        tracks: things.
        beams: of the drive.
        taken: ``(n,)`` beams that cannot be claimed; those that are claimed are added.
    """
    result = []
    for track in tracks:
        if len(track.sweeps) >= TIMES_KNOWN:
            found = _unclaimed(track, beams, taken)
            taken[found] = True
            if len(found):
                track = _with_beams(track, [found], beams)
        result.append(track)
    return result


def _rides_along(whole: Track, piece: Track, beams: Beams) -> bool:
    """Tell whether a piece stays in or beside the box of a thing."""
    own, when = beams.times[whole.sweeps], beams.times[piece.sweeps]
    if when[0] < own[0] - LONGEST_GAP or when[-1] > own[-1] + LONGEST_GAP:
        return False
    sweeps = beams.sweeps[piece.beams]
    if not np.isin(piece.sweeps, np.arange(whole.sweeps[0], whole.sweeps[-1] + 1)).all():
        return False
    ends = beams.ends[piece.beams].astype(np.float64)
    # Far from it, nothing need be computed.
    if np.linalg.norm(ends[0, :2] - whole.poses_at(when[:1], own)[0, :2]) > 20:
        return False
    local = to_thing(ends, whole.poses_at(beams.times[sweeps], own))
    points = whole.local_points(beams)
    inside = ((local >= points.min(0) - BESIDE) & (local <= points.max(0) + BESIDE)).all(1)
    if inside.mean() < MOST:
        return False
    numbers = np.searchsorted(piece.sweeps, sweeps)
    middles = np.stack([np.bincount(numbers, local[:, axis]) / np.bincount(numbers) for axis in range(2)], axis=1)
    return bool(np.linalg.norm(middles - np.median(middles, axis=0), axis=1).mean() <= SHIFTS)


def _with_beams(track: Track, more: list[np.ndarray], beams: Beams) -> Track:
    """Return a track with more beams, and better poses."""
    together = np.concatenate([track.beams, *more])
    sweeps = np.unique(beams.sweeps[together])
    poses = track.poses_at(beams.times[sweeps], beams.times[track.sweeps])
    return Track(sweeps.astype(np.int64), together, poses).refined(beams)


def _unclaimed(track: Track, beams: Beams, taken: np.ndarray) -> np.ndarray:
    """Return beams ``(m,)`` that a thing may claim."""
    own = beams.times[track.sweeps]
    known = np.arange(track.sweeps[0], track.sweeps[-1] + 1)
    apart = np.abs(beams.times[known][:, None] - own).min(1)
    known = known[apart <= LONGEST_GAP]
    poses = track.poses_at(beams.times[known], own)
    points = track.local_points(beams)
    low, high = points.min(0), points.max(0)
    radius = np.linalg.norm(np.maximum(np.abs(low), np.abs(high))[:2])
    at = np.flatnonzero(~taken & np.isin(beams.sweeps, known))
    centers = poses[np.searchsorted(known, beams.sweeps[at])]
    near = np.linalg.norm(beams.ends[at][:, :2] - centers[:, :2], axis=1) <= radius
    at, centers = at[near], centers[near]
    local = to_thing(beams.ends[at].astype(np.float64), centers)
    inside = ((local >= low) & (local <= high)).all(1) & (local[:, 2] > low[2] + ABOVE)
    at, local = at[inside], local[inside]
    if not len(at):
        return at
    return at[cKDTree(points).query(local)[0] <= CLOSE]
