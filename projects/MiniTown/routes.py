"""Ways through the town and how fast they are driven: lanes, turns, traffic lights, stops."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from .town_plan import LANE_OFFSET, STOP_LINE, Plan

RUN_UP = 3.0
"""Seconds before time 0 and after the end for which motion is defined."""
_STEP = 0.05
_POINT_SPACING = 0.25
_ACCELERATION, _BRAKING, _LATERAL = 2.0, 2.5, 2.2
_PERIOD, _GREEN = 14.0, 6.0
_RADIUS = {1: 8.5, -1: 6.0}  # of a left and of a right turn


@dataclass(frozen=True)
class Signals:
    """Traffic lights of every crossing: each axis is green for 6 of 14 seconds.

    Attributes:
        offsets: ``(nx, ny)`` times at which traffic along x turns green.
    """

    offsets: np.ndarray

    def green(self, crossing: tuple[int, int], axis: int, time: float) -> bool:
        """Return whether traffic along ``axis`` (0: x, 1: y) may enter the crossing."""
        phase = (time - self.offsets[crossing] - axis * _PERIOD / 2) % _PERIOD
        return bool(phase < _GREEN)

    def with_green_from(self, crossing: tuple[int, int], axis: int, time: float) -> Signals:
        """Return the same lights, but ``crossing`` turns green for ``axis`` at ``time``."""
        offsets = self.offsets.copy()
        offsets[crossing] = (time - axis * _PERIOD / 2) % _PERIOD
        return Signals(offsets)


@dataclass
class LanePath:
    """A line through the town as dense points.

    Attributes:
        points: ``(n, 2)`` positions; yaws: ``(n,)`` continuous headings; lengths: ``(n,)`` arc length at each point.
        curves: (from, to, radius) of each turn, as arc lengths.
        lines: (arc length, crossing, axis of travel) of each stop line.
    """

    points: np.ndarray
    yaws: np.ndarray
    lengths: np.ndarray
    curves: list[tuple[float, float, float]] = field(default_factory=list)
    lines: list[tuple[float, tuple[int, int], int]] = field(default_factory=list)

    def at(self, length: np.ndarray | float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return x, y and yaw at ``length`` meters from the start."""
        x, y = (np.interp(length, self.lengths, self.points[:, axis]) for axis in range(2))
        return x, y, np.interp(length, self.lengths, self.yaws)


@dataclass(frozen=True)
class Drive:
    """Motion along a path.

    Attributes:
        path: where.
        times: ``(n,)`` seconds; traveled: ``(n,)`` arc length at each.
    """

    path: LanePath
    times: np.ndarray
    traveled: np.ndarray

    def at(self, time: np.ndarray | float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return x, y and yaw at ``time``."""
        return self.path.at(np.interp(time, self.times, self.traveled))

    def speed(self, time: np.ndarray | float) -> np.ndarray:
        """Return meters per second at ``time``."""
        return np.interp(time, self.times, np.gradient(self.traveled, self.times))


def route(
    plan: Plan,
    rng: np.random.Generator,
    crossing: tuple[int, int],
    heading: tuple[int, int],
    lead: float,
    length: float,
) -> LanePath:
    """Draw a random way along right-hand lanes.

    Args:
        plan: the streets.
        rng: decides the turns.
        crossing: first crossing reached.
        heading: (dx, dy) unit step toward it.
        lead: meters between the start and the middle of the first crossing.
        length: meters to cover at least.
    """
    builder = _Builder(plan, crossing, np.array(heading), lead)
    while builder.covered < length:
        options = [turn for turn in (0, 1, -1) if builder.leads_on(turn)]
        weights = np.array([1.0 if turn == 0 else 0.8 for turn in options])
        builder.cross(int(rng.choice(options, p=weights / weights.sum())))
    return builder.path()


class _Builder:
    """Strings straight pieces and arcs together, crossing by crossing."""

    def __init__(self, plan: Plan, crossing: tuple[int, int], heading: np.ndarray, lead: float) -> None:
        self.plan, self.crossing, self.heading = plan, crossing, heading
        self.yaw = float(np.arctan2(heading[1], heading[0]))
        self.end = self._lane(self._middle(crossing), heading) - lead * heading
        self.points, self.yaws, self.covered = [self.end[None]], [np.array([self.yaw])], 0.0
        self.curves: list[tuple[float, float, float]] = []
        self.lines: list[tuple[float, tuple[int, int], int]] = []

    def leads_on(self, turn: int) -> bool:
        """Return whether there is a further crossing after turning left (1), right (-1) or going straight (0)."""
        following = np.array(self.crossing) + self._turned(turn)
        count = [len(centers) for centers in self.plan.centers]
        return bool((following >= 0).all() and (following < count).all())

    def cross(self, turn: int) -> None:
        """Drive to the present crossing, through it, and aim at the next."""
        axis = 0 if self.heading[0] else 1
        middle = self._middle(self.crossing)
        to_middle = float((middle - self.end) @ self.heading)
        half = self.plan.halves[axis][self.crossing[axis]]
        self.lines.append((self.covered + to_middle - half - STOP_LINE, self.crossing, axis))
        leaving = self._turned(turn)
        if turn:
            radius = _RADIUS[turn]
            corner = self._lane(self._lane(middle, self.heading), leaving)
            self._straight(corner - radius * self.heading)
            start = self.covered
            self._arc(turn, radius)
            self.curves.append((start, self.covered, radius))
        else:
            self._straight(self._lane(middle, self.heading))
        self.heading = leaving
        self.crossing = (self.crossing[0] + int(leaving[0]), self.crossing[1] + int(leaving[1]))

    def path(self) -> LanePath:
        """Return what has been strung together."""
        points = np.concatenate(self.points)
        steps = np.linalg.norm(np.diff(points, axis=0), axis=-1)
        lengths = np.concatenate([[0.0], np.cumsum(steps)])
        return LanePath(points, np.concatenate(self.yaws), lengths, self.curves, self.lines)

    def _middle(self, crossing: tuple[int, int]) -> np.ndarray:
        """Return the middle (x, y) of a crossing."""
        return np.array([self.plan.centers[axis][crossing[axis]] for axis in range(2)])

    def _turned(self, turn: int) -> np.ndarray:
        """Return the heading after a turn."""
        x, y = self.heading
        return np.array({0: (x, y), 1: (-y, x), -1: (y, -x)}[turn])

    @staticmethod
    def _lane(point: np.ndarray, heading: np.ndarray) -> np.ndarray:
        """Move a point of the middle line to the right-hand lane."""
        return point + LANE_OFFSET * np.array([heading[1], -heading[0]])

    def _straight(self, end: np.ndarray) -> None:
        """Go straight to ``end`` (x, y)."""
        count = max(int(np.linalg.norm(end - self.end) / _POINT_SPACING), 1)
        share = np.arange(1, count + 1)[:, None] / count
        self._append(self.end + share * (end - self.end), np.full(count, self.yaw))

    def _arc(self, turn: int, radius: float) -> None:
        """Go a quarter of a circle, to the left (1) or right (-1)."""
        left = np.array([-self.heading[1], self.heading[0]])
        center = self.end + turn * radius * left
        count = int(np.ceil(radius * np.pi / 2 / _POINT_SPACING))
        angle = np.linspace(0.0, np.pi / 2, count + 1)[1:]
        offset = -turn * np.outer(np.cos(angle), left) + np.outer(np.sin(angle), self.heading)
        self._append(center + radius * offset, self.yaw + turn * angle)
        self.yaw += turn * np.pi / 2

    def _append(self, points: np.ndarray, yaws: np.ndarray) -> None:
        """Go on to points ``(n, 2)`` with headings ``(n,)``."""
        steps = np.diff(np.concatenate([self.end[None], points]), axis=0)
        self.covered += float(np.linalg.norm(steps, axis=-1).sum())
        self.points.append(points)
        self.yaws.append(yaws)
        self.end = points[-1]


def drive(path: LanePath, signals: Signals, cruise: float, duration: float, overhang: float) -> Drive:
    """Drive a path like a calm driver: brake before turns and red lights, speed up after them.

    Args:
        path: where to.
        signals: the lights.
        cruise: speed on the open road, m/s.
        duration: seconds; motion is defined for :data:`RUN_UP` before 0 and after ``duration``.
        overhang: meters from the reference point to the front bumper, which stops before the line.
    """
    times = np.arange(-RUN_UP, duration + RUN_UP + _STEP, _STEP)
    traveled = np.zeros(len(times))
    speed = _speed_limit(path, signals, cruise, 0.0, cruise, times[0], overhang)
    for step in range(1, len(times)):
        position = traveled[step - 1]
        limit = _speed_limit(path, signals, cruise, position, speed, times[step], overhang)
        speed = min(limit, speed + _ACCELERATION * _STEP)
        traveled[step] = position + max(speed, 0.0) * _STEP
    return Drive(path, times, traveled)


def _speed_limit(
    path: LanePath, signals: Signals, cruise: float, position: float, speed: float, time: float, overhang: float
) -> float:
    """Return the highest speed from which every turn and red light ahead can still be met."""
    limit = cruise
    for start, end, radius in path.curves:
        if position < end:
            before = max(start - position, 0.0)
            limit = min(limit, math.sqrt(_LATERAL * radius + 2 * _BRAKING * before))
    for line, crossing, axis in path.lines:
        before = line - overhang - position
        can_stop = before > speed**2 / (4 * _BRAKING)
        if before > 0 and can_stop and not signals.green(crossing, axis, time):
            limit = min(limit, math.sqrt(2 * _BRAKING * max(before - 0.3, 0.0)))
    return limit
