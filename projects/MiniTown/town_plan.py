"""The plan of a town: a grid of streets, the blocks between them, where one can drive and where one can park.

Everything is axis-parallel. Street ``i`` of axis 0 runs along y at ``x = centers[0][i]``; of axis 1 along x at
``y = centers[1][i]``. The town's corner is the origin, so that a map mask starts there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

LANE_OFFSET = 1.75
"""From the middle of a street to the middle of its right lane, meters."""
LANE_EDGE = 3.5
"""From the middle of a street to the outer edge of its right lane."""
NARROW, WIDE = 3.9, 5.8
"""Half widths of a street without and with parking lanes."""
CORNER_RADIUS = 4.0
PAVEMENT_WIDTH = 3.2
CURB_HEIGHT = 0.15
ZEBRA = (CORNER_RADIUS + 0.6, CORNER_RADIUS + 3.4)
"""Where a zebra crossing begins and ends, from the edge of the crossing street."""
STOP_LINE = CORNER_RADIUS + 4.4
BORDER = 55.0
"""From the outermost street to the end of the map."""
OUTSKIRTS = 260.0
"""How far the streets go on beyond the end of the map."""

HEADINGS = ((1, 0), (-1, 0), (0, 1), (0, -1))
"""Steps (dx, dy) of the four directions of traffic."""


def heading_of_side(axis: int, side: int) -> float:
    """Return the yaw of the traffic on one side of a street; it keeps to the right.

    Args:
        axis: of the street; 0 runs along y, 1 along x.
        side: 1 for larger x or y than its middle line, -1 for smaller.
    """
    # On the right of traffic: +x of the middle drives to +y, +y of the middle drives to -x.
    return {0: np.pi / 2, 1: np.pi}[axis] + (0.0 if side > 0 else np.pi)


@dataclass(frozen=True)
class Block:
    """The land between four streets, curb to curb; ``outer`` blocks stretch into the outskirts."""

    low: np.ndarray
    high: np.ndarray
    outer: bool

    def outline(self, inset: float, radius: float, points: int = 5) -> np.ndarray:
        """Return corners ``(4 * points, 2)`` of the rounded rectangle ``inset`` meters inside, counter-clockwise."""
        low, high = self.low + inset, self.high - inset
        angle = np.linspace(0.0, np.pi / 2, points)
        corners = []
        for quarter, (x, y) in enumerate(((high[0], high[1]), (low[0], high[1]), (low[0], low[1]), (high[0], low[1]))):
            turned = angle + quarter * np.pi / 2
            sign = np.sign([np.cos(turned[points // 2]), np.sin(turned[points // 2])])
            center = np.array([x, y]) - radius * sign
            corners.append(center + radius * np.stack([np.cos(turned), np.sin(turned)], axis=-1))
        return np.concatenate(corners)


@dataclass(frozen=True)
class Plan:
    """A grid of streets.

    Attributes:
        centers: for each axis, the sorted positions of the streets across it.
        halves: for each axis, half the width of each street, curb to curb.
        size: ``(2,)`` extent of the map in x and y; it starts at (0, 0).
    """

    centers: tuple[np.ndarray, np.ndarray]
    halves: tuple[np.ndarray, np.ndarray]
    size: np.ndarray

    @classmethod
    def random(cls, rng: np.random.Generator, streets: int = 4) -> Plan:
        """Draw a town with ``streets`` streets in each direction."""
        centers, halves = [], []
        for _ in range(2):
            gaps = rng.uniform(58.0, 84.0, streets - 1)
            centers.append(BORDER + np.concatenate([[0.0], np.cumsum(gaps)]))
            halves.append(np.where(rng.random(streets) < 0.7, WIDE, NARROW))
        size = np.array([centers[0][-1], centers[1][-1]]) + BORDER
        return cls(tuple(centers), tuple(halves), size)

    def across(self, axis: int, position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the nearest street of an axis and the signed distance from its middle; both like ``position``."""
        middles = (self.centers[axis][1:] + self.centers[axis][:-1]) / 2
        index = np.searchsorted(middles, position)
        return index, position - self.centers[axis][index]

    def drivable(self, points: np.ndarray) -> np.ndarray:
        """Return ``(n,)`` whether ``points`` ``(n, 2)`` lie on a road, rounded corners of crossings included."""
        points = np.asarray(points, float)
        outside = np.empty((2, len(points)))
        for axis in range(2):
            index, offset = self.across(axis, points[:, axis])
            outside[axis] = np.abs(offset) - self.halves[axis][index]
        on_street = (outside <= 0.0).any(axis=0)
        to_arc = np.hypot(*(CORNER_RADIUS - outside))
        return on_street | ((outside < CORNER_RADIUS).all(axis=0) & (to_arc >= CORNER_RADIUS))

    def blocks(self) -> Iterator[Block]:
        """Yield the land between the streets, row by row."""
        edges = []
        for axis in range(2):
            low = np.concatenate([[-OUTSKIRTS], self.centers[axis] + self.halves[axis]])
            high = np.concatenate([self.centers[axis] - self.halves[axis], [self.size[axis] + OUTSKIRTS]])
            edges.append((low, high))
        count = [len(edges[0][0]), len(edges[1][0])]
        for i in range(count[0]):
            for j in range(count[1]):
                low = np.array([edges[0][0][i], edges[1][0][j]])
                high = np.array([edges[0][1][i], edges[1][1][j]])
                yield Block(low, high, outer=i in (0, count[0] - 1) or j in (0, count[1] - 1))
