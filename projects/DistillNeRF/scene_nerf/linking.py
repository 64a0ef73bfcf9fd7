"""Link groups of moving LiDAR points of successive sweeps that may be one thing, and choose chains of links."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .beams import Beams
from .movers import group_nearby
from .registration import Shape, make_shape, register

# Groups of fewer points are dropped.
FEWEST_POINTS = 3
# Nothing goes faster, m/s; or speeds up or slows down more, m/s per second.
MOST_SPEED, MOST_ACCELERATION = 25.0, 5.0
# What a change of speed as large as expected takes from the worth of a chain.
UNSTEADY = 0.1
# Things are looked for in the next sweep, and in some after that, if they are not later than this, seconds.
LINKED_SWEEPS, LONGEST_GAP = 3, 0.35
# Radians that a thing may have turned between sweeps, and more per second.
TURN, TURN_RATE = 0.05, 0.5
# Tops of things differ by no more than this, meters, and their extents by no more than so many meters and this share.
TOP, EXTENT, EXTENT_SHARE = 0.6, 1.5, 0.5
# Groups farther apart than this, meters, are only linked if both have so many points that they can be told apart.
FAR, FAR_POINTS = 2.0, 20
# So many meters is a registration off, and more by this share of the distance between points.
OFF, OFF_SHARE = 0.1, 0.5
# A link that stands alone must be better than others of its groups by so much, of 1.
CLEAR = 0.15
# It goes no farther than this, in lengths of the thing.
FAR_ALONE = 1.5


@dataclass(frozen=True)
class Group:
    """Moving points of one sweep: its position in time, the beams, and their ends for registration."""

    sweep: int
    beams: np.ndarray
    shape: Shape


@dataclass(frozen=True)
class Link:
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


def find_groups(beams: Beams, moving: np.ndarray) -> list[Group]:
    """Group the moving points of each sweep; small groups are left out."""
    groups = []
    for sweep in range(len(beams.times)):
        own = beams.of_sweep(sweep)
        at = own.start + np.flatnonzero(moving[own])
        if not len(at):
            continue
        numbers = group_nearby(beams.ends[at], beams[at].lengths)
        for number in np.flatnonzero(np.bincount(numbers) >= FEWEST_POINTS):
            chosen = at[numbers == number]
            groups.append(Group(sweep, chosen, make_shape(beams.ends[chosen])))
    return groups


def find_links(groups: list[Group], times: np.ndarray) -> list[Link]:
    """Register all groups of successive sweeps that may be one thing, in order of the second."""
    of_sweep = defaultdict(list)
    for position, group in enumerate(groups):
        of_sweep[group.sweep].append(position)
    links = []
    for second, group in enumerate(groups):
        for sweep in range(group.sweep - 1, max(group.sweep - 1 - LINKED_SWEEPS, -1), -1):
            passed = times[group.sweep] - times[sweep]
            if sweep < group.sweep - 1 and passed > LONGEST_GAP:
                break
            for first in of_sweep[sweep]:
                link = _link(groups, first, second, passed)
                if link is not None:
                    links.append(link)
    return links


def _link(groups: list[Group], first: int, second: int, passed: float) -> Link | None:
    """Register two groups with so many seconds between them; None if they are not one thing."""
    a, b = groups[first].shape, groups[second].shape
    shift = b.center - a.center
    larger = np.maximum(a.size, b.size)
    way = np.linalg.norm(shift[:2])
    if way > MOST_SPEED * passed + 0.5 * np.linalg.norm(larger[:2]):
        return None
    if way > FAR and min(len(groups[i].beams) for i in (first, second)) < FAR_POINTS:
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
    return Link(first, second, motion, 1 - misfit, motion[:2] / passed, error)


def choose_chains(groups: list[Group], links: list[Link], times: np.ndarray) -> Iterator[tuple[list[int], list[Link]]]:
    """Choose chains of links, the best first, and then what is left: positions of groups and the links between."""
    free = np.ones(len(groups), bool)
    middles = np.array([(times[groups[x.first].sweep] + times[groups[x.second].sweep]) / 2 for x in links])
    links = list(links)
    while links:
        chain = _best_chain(links, middles)
        usable = len(chain) > 1 or _is_clear(chain[0], links, groups)
        if usable:
            members = [chain[0].first] + [link.second for link in chain]
            free[members] = False
            yield members, chain
        kept = [i for i, x in enumerate(links) if free[x.first] and free[x.second] and (usable or x is not chain[0])]
        links, middles = [links[i] for i in kept], middles[kept]
    for position in np.flatnonzero(free):
        yield [int(position)], []


def _best_chain(links: list[Link], middles: np.ndarray) -> list[Link]:
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
            kept = best[j] - UNSTEADY * change**2
            if change < 2 and kept > best[i]:
                best[i], before[i] = kept, j
        best[i] += link.worth
        into[link.second].append(i)
    chain = [int(best.argmax())]
    while before[chain[-1]] >= 0:
        chain.append(int(before[chain[-1]]))
    return [links[i] for i in reversed(chain)]


def _is_clear(link: Link, links: list[Link], groups: list[Group]) -> bool:
    """Tell whether a link that stands alone is better than all others of its groups, and goes not too far."""
    size = max(np.linalg.norm(groups[i].shape.size[:2]) for i in (link.first, link.second))
    if np.linalg.norm(link.motion[:2]) > FAR_ALONE * size:
        return False
    others = (x for x in links if x is not link and (x.first == link.first or x.second == link.second))
    return all(x.worth < link.worth - CLEAR for x in others)
