"""Link moving LiDAR points over time into rigid things, without labels."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .beams import Beams
from .gathering import Track, claim_points, join_pieces
from .linking import Group, Link, choose_chains, find_groups, find_links
from .registration import turn
from .trajectories import forward, matrices

# Boxes are larger than the points by this, meters.
MARGIN = 0.15
# This share of the points at each end is not asked for.
OUTLIERS = 0.005
# Boxes of so many points and meters are turned a little if they get smaller than this share of their area.
SQUARED_POINTS, SQUARED_SIZE, SQUARED_GAIN = 100, 2.0, 0.85
# Degrees; as far as need be where the direction of motion is not known well, as it moved no more than so many meters.
TURNED, SHORT_WAY = 20.0, 2.0
# A thing is extrapolated for this share of the time between sweeps; one that was seen once for so many seconds.
EXTRAPOLATED, SEEN_ONCE = 0.5, 0.06


@dataclass(frozen=True)
class Thing:
    """A rigid thing that moves through the scene.

    Its frame: x right, y along its motion (forward), z up; it turns about z only.

    Attributes:
        times: ``(k,)`` float64 ascending, seconds, when LiDAR saw it.
        poses: ``(k, 4, 4)`` float64, thing to scene at these times.
        lower, upper: ``(3,)`` float64 corners of its box in its own frame, meters, with a margin.
        points: ``(m, 3)`` float32, its LiDAR points of all times in its own frame.
        beams: ``(m,)`` int64, the beams that ended there.
        reach: seconds before its first and after its last time that its poses are extrapolated.
    """

    times: np.ndarray
    poses: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    points: np.ndarray
    beams: np.ndarray
    reach: float = 0.05

    def pose_at(self, time: float) -> np.ndarray | None:
        """Return the pose ``(4, 4)``, thing to scene, at a time in seconds; None if it was not seen near that time.

        Between the times that LiDAR saw it, it shifts and turns evenly; before and after, as between the nearest two.
        """
        if not self.times[0] - self.reach <= time <= self.times[-1] + self.reach:
            return None
        if len(self.times) == 1:
            return self.poses[0].copy()
        after = int(np.clip(np.searchsorted(self.times, time), 1, len(self.times) - 1))
        (first, second), (start, end) = self.poses[after - 1 : after + 1], self.times[after - 1 : after + 1]
        share = (time - start) / (end - start)
        turned = first[:2, :2].T @ second[:2, :2]
        pose = np.eye(4)
        pose[:3, :3] = first[:3, :3] @ turn(share * np.arctan2(turned[1, 0], turned[0, 0]))
        pose[:3, 3] = (1 - share) * first[:3, 3] + share * second[:3, 3]
        return pose


def track_things(beams: Beams, moving: np.ndarray) -> list[Thing]:
    """Find rigid things and how they move.

    The moving points of each sweep fall into groups (:func:`.movers.group_nearby`). Two groups of successive sweeps
    are linked if one can be laid over the other; of all chains of links those of steady motion are taken, the best
    first. What is left are things of one time. Things take pieces beside them that move alike, and points in their
    boxes that were not told to move. Groups of fewer than ``linking.FEWEST_POINTS`` are dropped unless a thing has a
    place for them.

    Args:
        beams: of one drive.
        moving: ``(n,)`` which of them end on what moves (:func:`.movers.find_moving`).

    Returns:
        The things, those with the most points first.
    """
    # Sweeps of one time are one.
    times, numbers = np.unique(beams.times, return_inverse=True)
    beams = replace(beams, sweeps=numbers[beams.sweeps], times=times)
    groups = find_groups(beams, moving)
    links = find_links(groups, beams.times)
    tracks = [_track(groups, chain, beams) for chain in choose_chains(groups, links, beams.times)]
    tracks = join_pieces(tracks, beams)
    taken = np.zeros(len(beams), bool)
    for track in tracks:
        taken[track.beams] = True
    tracks = claim_points(tracks, beams, taken)
    steps = np.diff(beams.times)
    reach = EXTRAPOLATED * float(np.median(steps)) if len(steps) else SEEN_ONCE
    things = [_thing(track, beams, reach) for track in tracks]
    return sorted(things, key=lambda thing: -len(thing.points))


def _track(groups: list[Group], chain: tuple[list[int], list[Link]], beams: Beams) -> Track:
    """Put the points of groups together."""
    members, links = chain
    poses = np.zeros((len(members), 4))
    poses[0, :3] = groups[members[0]].shape.center
    for i, link in enumerate(links):
        center = groups[link.first].shape.center
        poses[i + 1, :3] = turn(link.motion[3]) @ (poses[i, :3] - center) + center + link.motion[:3]
        poses[i + 1, 3] = poses[i, 3] + link.motion[3]
    sweeps = np.array([groups[i].sweep for i in members], np.int64)
    return Track(sweeps, np.concatenate([groups[i].beams for i in members]), poses).refined(beams)


def _thing(track: Track, beams: Beams, reach: float) -> Thing:
    """Let a thing look ahead, and put its frame into the middle of its box."""
    times, poses = _times(track, beams), track.poses.copy()
    if len(times) > 1:
        poses[:, 3] += forward(poses, times) - np.pi / 2
    else:
        reach = min(reach, SEEN_ONCE)
    points = Track(track.sweeps, track.beams, poses).local_points(beams)
    way = np.linalg.norm(poses[-1, :2] - poses[0, :2])
    poses[:, 3] += (angle := _square(points, TURNED if way > SHORT_WAY else 90.0))
    points = points @ turn(angle)
    lower, upper = np.quantile(points, (OUTLIERS, 1 - OUTLIERS), axis=0)
    middle = (lower + upper) / 2
    poses[:, :3] += np.stack([turn(angle) @ middle for angle in poses[:, 3]])
    half = (upper - lower) / 2 + MARGIN
    points = (points - middle).astype(np.float32)
    return Thing(times, matrices(poses), -half, half, points, track.beams.astype(np.int64), reach)


def _times(track: Track, beams: Beams) -> np.ndarray:
    """Return when the beams of a track ended on it, on average, in each of its sweeps, ``(k,)`` seconds."""
    place = np.searchsorted(track.sweeps, beams.sweeps[track.beams])
    counts = np.bincount(place, minlength=len(track.sweeps)).clip(1)
    return beams.times[track.sweeps] + np.bincount(place, beams.delays[track.beams], len(track.sweeps)) / counts


def _square(points: np.ndarray, most: float) -> float:
    """Return the turn about z, radians, by which the box around points ``(n, 3)`` gets clearly smaller, or 0.

    Args:
        points: of a thing, which is longer than wide.
        most: degrees that it may be turned.
    """
    extent = np.ptp(points[:, :2], axis=0)
    if len(points) < SQUARED_POINTS or extent.max() < SQUARED_SIZE:
        return 0.0
    angles = np.radians(np.arange(-most, most + 1, 2.0))
    turned = points[:, :2] @ np.stack([turn(angle)[:2, :2] for angle in angles])
    widths, lengths = np.ptp(np.quantile(turned, (0.05, 0.95), axis=1), axis=0).T
    sizes = widths * lengths * np.where(widths > lengths, 1 / SQUARED_GAIN, 1)
    least = int(np.argmin(sizes))
    return float(angles[least]) if sizes[least] < SQUARED_GAIN * sizes[len(angles) // 2] else 0.0
