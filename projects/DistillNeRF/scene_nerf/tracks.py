"""Link moving LiDAR points over time into rigid things, without labels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from .beams import Beams
from .movers import group_nearby
from .registration import Shape, make_shape, register, turn
from .trajectories import forward, matrices, refine, to_thing

# Groups of fewer points are dropped.
FEWEST_POINTS = 3
# Nothing goes faster, m/s; or speeds up or slows down more, m/s per second.
MOST_SPEED, MOST_ACCELERATION = 25.0, 5.0
# Things are looked for in the next sweep, and in all that are not later than this, seconds.
LONGEST_GAP = 0.35
# Radians that a thing may have turned between sweeps, and more per second.
TURN, TURN_RATE = 0.05, 0.5
# Tops of things differ by no more than this, meters, and their extents by no more than so many meters and this share.
TOP, EXTENT, EXTENT_SHARE = 0.6, 1.5, 0.5
# So many meters is a registration off, and more by this share of the distance between points.
OFF, OFF_SHARE = 0.1, 0.5
# A link that stands alone must be better than others of its groups by so much, of 1.
CLEAR = 0.15
# Boxes are larger than the points by this, meters.
MARGIN = 0.1
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


@dataclass(frozen=True)
class _Group:
    """Moving points of one sweep: its position in time, the beams, and their ends for registration."""

    sweep: int
    beams: np.ndarray
    shape: Shape


@dataclass(frozen=True)
class _Link:
    """Two groups that may be one thing.

    Attributes:
        first, second: positions of the groups.
        motion: ``(4,)`` as :func:`.registration.register`.
        worth: 1 for a perfect fit, 0 for the worst that is tolerated.
        velocity: ``(2,)`` m/s.
        error: of the velocity, m/s.
    """

    first: int
    second: int
    motion: np.ndarray
    worth: float
    velocity: np.ndarray
    error: float


def track_things(beams: Beams, moving: np.ndarray) -> list[Thing]:
    """Find rigid things and how they move.

    The moving points of each sweep fall into groups (:func:`.movers.group_nearby`). Two groups of successive sweeps
    are linked if one can be laid over the other; of all chains of links those of steady motion are taken, the best
    first. What is left are things of one time. A group is of one thing at most.

    Args:
        beams: of one drive.
        moving: ``(n,)`` which of them end on what moves (:func:`.movers.find_moving`).

    Returns:
        The things, those with the most points first.
    """
    groups = _groups(beams, moving)
    links = _links(groups, beams.times)
    steps = np.diff(beams.times)
    reach = EXTRAPOLATED * float(np.median(steps)) if len(steps) else SEEN_ONCE
    things = [_thing(groups, chain, beams, reach) for chain in _chains(len(groups), links, groups, beams.times)]
    return sorted(things, key=lambda thing: -len(thing.points))


def _groups(beams: Beams, moving: np.ndarray) -> list[_Group]:
    groups = []
    lengths = beams.lengths
    for sweep in range(len(beams.times)):
        at = np.flatnonzero(moving & (beams.sweeps == sweep))
        if not len(at):
            continue
        numbers = group_nearby(beams.ends[at], lengths[at])
        for number in np.flatnonzero(np.bincount(numbers) >= FEWEST_POINTS):
            chosen = at[numbers == number]
            groups.append(_Group(sweep, chosen, make_shape(beams.ends[chosen])))
    return groups


def _links(groups: list[_Group], times: np.ndarray) -> list[_Link]:
    """Register all groups of successive sweeps that may be one thing, in order of the second."""
    of_sweep = defaultdict(list)
    for position, group in enumerate(groups):
        of_sweep[group.sweep].append(position)
    links = []
    for second, group in enumerate(groups):
        for sweep in range(group.sweep - 1, -1, -1):
            passed = times[group.sweep] - times[sweep]
            if sweep < group.sweep - 1 and passed > LONGEST_GAP:
                break
            for first in of_sweep[sweep]:
                link = _link(groups, first, second, passed)
                if link is not None:
                    links.append(link)
    return links


def _link(groups: list[_Group], first: int, second: int, passed: float) -> _Link | None:
    """Register two groups with so many seconds between them; None if they are not one thing."""
    a, b = groups[first].shape, groups[second].shape
    shift = b.center - a.center
    larger = np.maximum(a.size, b.size)
    way = np.linalg.norm(shift[:2])
    if way > MOST_SPEED * passed + 0.5 * np.linalg.norm(larger[:2]):
        return None
    if abs(b.center[2] + b.size[2] / 2 - a.center[2] - a.size[2] / 2) > TOP + 0.05 * way:
        return None
    extents = np.linalg.norm(a.size[:2]), np.linalg.norm(b.size[:2])
    if abs(extents[0] - extents[1]) > EXTENT + EXTENT_SHARE * max(extents):
        return None
    # The middle of what is seen shifts as a thing shows another side.
    along = shift * [1, 1, 0] / max(way, 1e-6) * 0.3 * np.linalg.norm(larger[:2])
    starts = [shift] if extents[0] < EXTENT else [shift, shift + along, shift - along]
    found = [register(a, b, start, TURN + TURN_RATE * passed) for start in starts]
    motion, misfit = min(found, key=lambda result: result[1])
    if misfit > 1 or np.linalg.norm(motion[:2]) > MOST_SPEED * passed:
        return None
    error = (OFF + OFF_SHARE * max(a.spacing, b.spacing)) / passed
    return _Link(first, second, motion, 1 - misfit, motion[:2] / passed, error)


def _chains(
    count: int, links: list[_Link], groups: list[_Group], times: np.ndarray
) -> Iterable[tuple[list[int], list[_Link]]]:
    """Choose chains of links, the best first, and then what is left: positions of groups and the links between."""
    free = np.ones(count, bool)
    middles = np.array([(times[groups[x.first].sweep] + times[groups[x.second].sweep]) / 2 for x in links])
    links = list(links)
    while links:
        chain = _best_chain(links, middles)
        usable = len(chain) > 1 or _is_clear(chain[0], links)
        if usable:
            members = [chain[0].first] + [link.second for link in chain]
            free[members] = False
            yield members, chain
        dropped = {id(link) for link in chain}
        kept = [i for i, x in enumerate(links) if free[x.first] and free[x.second] and (usable or id(x) not in dropped)]
        links, middles = [links[i] for i in kept], middles[kept]
    for position in np.flatnonzero(free):
        yield [int(position)], []


def _best_chain(links: list[_Link], middles: np.ndarray) -> list[_Link]:
    """Return the chain of links of the largest worth, less what it speeds up; links are in order of the second."""
    into: dict[int, list[int]] = defaultdict(list)
    best, before = np.zeros(len(links)), np.full(len(links), -1)
    order = sorted(range(len(links)), key=lambda i: links[i].first)
    for i in order:
        link = links[i]
        for j in into[link.first]:
            other = links[j]
            allowed = np.hypot(MOST_ACCELERATION * (middles[i] - middles[j]) / 2, np.hypot(link.error, other.error))
            change = np.linalg.norm(link.velocity - other.velocity) / allowed
            if change < 2 and best[j] - 0.25 * change**2 > best[i]:
                best[i], before[i] = best[j] - 0.25 * change**2, j
        best[i] += link.worth
        into[link.second].append(i)
    chain = [int(best.argmax())]
    while before[chain[-1]] >= 0:
        chain.append(int(before[chain[-1]]))
    return [links[i] for i in reversed(chain)]


def _is_clear(link: _Link, links: list[_Link]) -> bool:
    """Tell whether a link that stands alone is better than all others of its groups."""
    others = (x for x in links if x is not link and (x.first == link.first or x.second == link.second))
    return all(x.worth < link.worth - CLEAR for x in others)


def _thing(groups: list[_Group], chain: tuple[list[int], list[_Link]], beams: Beams, reach: float) -> Thing:
    """Put the points of groups together."""
    members, links = chain
    times = beams.times[[groups[i].sweep for i in members]]
    poses = np.zeros((len(members), 4))
    poses[0, :3] = groups[members[0]].shape.center
    for i, link in enumerate(links):
        center = groups[link.first].shape.center
        poses[i + 1, :3] = turn(link.motion[3]) @ (poses[i, :3] - center) + center + link.motion[:3]
        poses[i + 1, 3] = poses[i, 3] + link.motion[3]
    poses = refine([groups[i].shape.points for i in members], poses, times)
    if len(members) > 1:
        poses[:, 3] += forward(poses, times) - np.pi / 2
    chosen = np.concatenate([groups[i].beams for i in members])
    ends = beams.ends[chosen].astype(np.float64)
    owners = np.repeat(np.arange(len(members)), [len(groups[i].beams) for i in members])
    middle = _middle(to_thing(ends, poses[owners]))
    poses[:, :3] += np.stack([turn(angle) @ middle for angle in poses[:, 3]])
    points = to_thing(ends, poses[owners])
    if len(members) == 1:
        reach = min(reach, SEEN_ONCE)
    lower, upper = points.min(0) - MARGIN, points.max(0) + MARGIN
    return Thing(times, matrices(poses), lower, upper, points.astype(np.float32), chosen.astype(np.int64), reach)


def _middle(points: np.ndarray) -> np.ndarray:
    return (points.min(0) + points.max(0)) / 2
