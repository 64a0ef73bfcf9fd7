"""Gather what belongs to one thing: pieces that its points fell into, and points that nobody took for moving."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree
from typing_extensions import Self

from .beams import Beams
from .registration import thinned, turn
from .trajectories import refine, to_thing

# A piece is as far from the box of its thing at most, meters, and shifts against it by no more than this.
BESIDE, SHIFTS = 0.5, 0.4
# So much of a piece must be there, in so many common sweeps if it has as many.
MOST, COMMON = 0.8, 3
# So often a thing that got larger may take more.
ROUNDS = 3
# Points that nobody took for moving are nearer to those of a thing than this, meters, and higher above its lowest.
CLOSE, ABOVE = 0.2, 0.2
# Of things that were seen at fewer times it is not known where they are else, nor longer than so many seconds after.
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

    def box(self, beams: Beams) -> tuple[np.ndarray, np.ndarray]:
        """Return the lower and upper corner ``(3,)`` of its points in its frame."""
        points = self.local_points(beams)
        return points.min(0), points.max(0)

    def poses_at(self, times: np.ndarray, own: np.ndarray) -> np.ndarray:
        """Return poses ``(n, 4)`` at ``times`` (n,), given the times ``(k,)`` of its own; before and after, too."""
        if len(own) == 1:
            return np.repeat(self.poses, len(times), axis=0)
        after = np.clip(np.searchsorted(own, times), 1, len(own) - 1)
        shares = (times - own[after - 1]) / (own[after] - own[after - 1])
        return self.poses[after - 1] + shares[:, None] * (self.poses[after] - self.poses[after - 1])

    def refined(self, beams: Beams) -> Self:
        """Return it with better poses."""
        parts = [self.beams[beams.sweeps[self.beams] == sweep] for sweep in self.sweeps]
        points = [thinned(beams.ends[part].astype(np.float64)) for part in parts]
        return type(self)(self.sweeps, self.beams, refine(points, self.poses, beams.times[self.sweeps]))


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
        for _ in range(ROUNDS if len(whole.sweeps) > 1 else 0):
            box = whole.box(beams)
            pieces = [other for other in others if _rides_along(whole, box, other, beams)]
            if not pieces:
                break
            taken = {id(piece) for piece in pieces}
            others = [other for other in others if id(other) not in taken]
            whole = _with_pieces(whole, pieces, beams)
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


def _rides_along(whole: Track, box: tuple[np.ndarray, np.ndarray], piece: Track, beams: Beams) -> bool:
    """Tell whether a piece stays in or beside the box of a thing, while it is known where that is."""
    own = beams.times[whole.sweeps]
    common = _common(whole, piece, beams)
    if not len(common) or len(common) < min(len(piece.sweeps), COMMON):
        return False
    chosen = piece.beams[np.isin(beams.sweeps[piece.beams], common)]
    sweeps, ends = beams.sweeps[chosen], beams.ends[chosen].astype(np.float64)
    local = to_thing(ends, whole.poses_at(beams.times[sweeps], own))
    low, high = box
    inside = ((local >= low - BESIDE) & (local <= high + BESIDE)).all(1)
    if inside.mean() < MOST:
        return False
    numbers = np.searchsorted(common, sweeps)
    middles = np.stack([np.bincount(numbers, local[:, axis]) / np.bincount(numbers) for axis in range(2)], axis=1)
    return bool(np.linalg.norm(middles - np.median(middles, axis=0), axis=1).mean() <= SHIFTS)


def _common(whole: Track, piece: Track, beams: Beams) -> np.ndarray:
    """Return the sweeps of a piece in which it is known where a thing is: between its own, and shortly after."""
    own, when = beams.times[whole.sweeps], beams.times[piece.sweeps]
    beyond = LONGEST_GAP if len(own) >= TIMES_KNOWN else 0.0
    return piece.sweeps[(when >= own[0] - beyond) & (when <= own[-1] + beyond)]


def _with_beams(track: Track, more: list[np.ndarray], beams: Beams) -> Track:
    """Return a track with more beams, of times at which its poses are known, and better poses."""
    together = np.concatenate([track.beams, *more])
    sweeps = np.unique(beams.sweeps[together]).astype(np.int64)
    return Track(sweeps, together, track.poses_at(beams.times[sweeps], beams.times[track.sweeps])).refined(beams)


def _with_pieces(whole: Track, pieces: list[Track], beams: Beams) -> Track:
    """Return a thing with its pieces, longer by the times at which only a piece was seen, and better poses."""
    known = {int(sweep): pose for sweep, pose in zip(whole.sweeps, whole.poses, strict=True)}
    own = beams.times[whole.sweeps]
    for piece in pieces:
        common = _common(whole, piece, beams)
        at = whole.poses_at(beams.times[common], own)
        for sweep, pose in zip(common, at, strict=True):
            known.setdefault(int(sweep), pose)
        # Elsewhere it goes on as the piece does.
        for sweep, pose in zip(piece.sweeps, piece.poses, strict=True):
            nearest = np.abs(common - sweep).argmin()
            there = piece.poses[np.searchsorted(piece.sweeps, common[nearest])]
            known.setdefault(int(sweep), _moved_alike(at[nearest], there, pose))
    sweeps = np.array(sorted(known), np.int64)
    together = np.concatenate([whole.beams, *(piece.beams for piece in pieces)])
    return Track(sweeps, together, np.stack([known[int(sweep)] for sweep in sweeps])).refined(beams)


def _moved_alike(pose: np.ndarray, before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Move a pose ``(4,)`` as another thing moved, from one pose to the other."""
    rotation = turn(after[3] - before[3])
    return np.append(rotation @ (pose[:3] - before[:3]) + after[:3], pose[3] + after[3] - before[3])


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
    claimed = []
    for sweep, pose in zip(known, poses, strict=True):
        of_sweep = beams.of_sweep(sweep)
        near = np.linalg.norm(beams.ends[of_sweep][:, :2] - pose[:2], axis=1) <= radius
        at = of_sweep.start + np.flatnonzero(near & ~taken[of_sweep])
        local = to_thing(beams.ends[at].astype(np.float64), pose)
        inside = ((local >= low) & (local <= high)).all(1) & (local[:, 2] > low[2] + ABOVE)
        claimed.append((at[inside], local[inside]))
    at, local = (np.concatenate(part) for part in zip(*claimed, strict=True))
    if not len(at):
        return at
    return at[cKDTree(points).query(local)[0] <= CLOSE]
