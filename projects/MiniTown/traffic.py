"""Who is out and about: parked and moving vehicles, pedestrians. Nobody ever touches anybody."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from . import furniture, people, vehicles
from .mesh import Mesh, Size
from .routes import RUN_UP, Drive, LanePath, Signals, drive, route
from .town_plan import CURB_HEIGHT, HEADINGS, LANE_EDGE, PAVEMENT_WIDTH, STOP_LINE, WIDE, Plan, heading_of_side

_CHECK_STEP = 0.2


@dataclass(frozen=True)
class Actor:
    """An object with a box.

    Attributes:
        category: nuScenes category.
        size: (width, length, height), meters.
        mesh: its model, see :mod:`.vehicles`.
        place: (x, y, yaw) where it stands, if it does not move.
        drive: how it moves, if it does.
    """

    category: str
    size: Size
    mesh: Mesh
    place: tuple[float, float, float] = (0.0, 0.0, 0.0)
    drive: Drive | None = None

    def at(self, time: np.ndarray | float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return x, y and yaw of its middle at ``time``; all of the shape of ``time``."""
        if self.drive is not None:
            return self.drive.at(time)
        return tuple(np.full(np.shape(time), value) for value in self.place)

    def speed(self, time: float) -> float:
        """Return meters per second at ``time``."""
        return 0.0 if self.drive is None else float(self.drive.speed(time))


class Crowd:
    """Keeps track of where everybody is over time, to let in only those who meet nobody."""

    def __init__(self, duration: float) -> None:
        self.times = np.arange(-RUN_UP, duration + RUN_UP, _CHECK_STEP)
        self._discs = np.zeros((len(self.times), 0, 3))

    def admit(self, poses: tuple[np.ndarray, np.ndarray, np.ndarray], size: Size, gap: float) -> bool:
        """Add a mover if it always stays ``gap`` away from all others.

        Args:
            poses: x, y and yaw at :attr:`times`.
            size: (width, length, height).
            gap: meters.
        """
        discs = _discs(poses, size)
        apart = np.linalg.norm(discs[:, :, None, :2] - self._discs[:, None, :, :2], axis=-1)
        if (apart < discs[:, :, None, 2] + self._discs[:, None, :, 2] + gap).any():
            return False
        self._discs = np.concatenate([self._discs, discs], axis=1)
        return True


def _discs(poses: tuple[np.ndarray, np.ndarray, np.ndarray], size: Size) -> np.ndarray:
    """Return discs ``(times, k, 3)`` (x, y, radius) that cover a box."""
    width, length, _ = size
    count = max(int(np.ceil(length / width)), 1)
    step = length / count
    x, y, yaw = (np.asarray(value)[:, None] for value in poses)
    offset = (np.arange(count) - (count - 1) / 2) * step
    radius = np.full((len(x), count), np.hypot(step, width) / 2)
    return np.stack([x + offset * np.cos(yaw), y + offset * np.sin(yaw), radius], axis=-1)


def random_vehicle(rng: np.random.Generator, parked: bool) -> tuple[str, Size, Callable[[], Mesh]]:
    """Draw category and size of a vehicle, and what builds its model: most candidates are never built."""
    kind = rng.choice(
        ['car', 'estate', 'van', 'truck', 'bus'], p=[0.5, 0.26, 0.1, 0.09 + 0.05 * parked, 0.05 * (not parked)]
    )
    if kind == 'bus':
        size = (2.55, 11.2, 3.1)
        return 'vehicle.bus.rigid', size, partial(vehicles.bus, size, vehicles.cargo_color(rng))
    if kind == 'truck':
        size = (float(rng.uniform(2.1, 2.3)), float(rng.uniform(5.8, 7.4)), float(rng.uniform(2.7, 3.2)))
        return 'vehicle.truck', size, partial(vehicles.truck, size, vehicles.paint(rng), vehicles.cargo_color(rng))
    low = {'car': (1.76, 4.1, 1.42), 'estate': (1.8, 4.4, 1.48), 'van': (1.9, 4.7, 1.85)}[kind]
    size = tuple(float(part * rng.uniform(1.0, 1.06)) for part in low)
    return 'vehicle.car', size, partial(vehicles.car, size, vehicles.paint(rng), estate=kind != 'car')


def parked_vehicles(plan: Plan, near: np.ndarray, radius: float, rng: np.random.Generator) -> list[Actor]:
    """Place vehicles in the parking lanes within ``radius`` meters of any of the points ``near`` ``(n, 2)``."""
    actors = []
    for axis in range(2):
        for center, half in zip(plan.centers[axis], plan.halves[axis], strict=True):
            if half < WIDE:
                continue
            for side in (-1, 1):
                yaw = heading_of_side(axis, side)
                for along in _parking_slots(plan, 1 - axis, rng):
                    across = center + side * (LANE_EDGE + WIDE) / 2
                    spot = (across, along) if axis == 0 else (along, across)
                    if np.linalg.norm(near - spot, axis=-1).min() > radius:
                        continue
                    if rng.random() < 0.07:
                        actors += road_works(spot, yaw)
                        continue
                    category, size, build = random_vehicle(rng, parked=True)
                    place = (*spot, yaw + rng.normal(0.0, 0.012))
                    actors.append(Actor(category, size, build(), tuple(float(value) for value in place)))
    return actors


def road_works(spot: tuple[float, float], yaw: float) -> list[Actor]:
    """Place a barrier across a parking slot and cones along it; traffic passes with heading ``yaw``."""
    ahead = np.array([np.cos(yaw), np.sin(yaw)])
    left = np.array([-ahead[1], ahead[0]])
    mesh, size = furniture.barrier()
    actors = [Actor('movable_object.barrier', size, mesh, (*(spot - 2.6 * ahead), yaw))]
    mesh, size = furniture.cone()
    for along in (-1.6, 0.0, 1.6, 3.0):
        place = spot + along * ahead + (0.9 if along < 3.0 else 0.1) * left
        actors.append(Actor('movable_object.trafficcone', size, mesh, (*place, yaw)))
    return actors


def _parking_slots(plan: Plan, axis: int, rng: np.random.Generator) -> list[float]:
    """Return the middles of taken parking slots along ``axis``, away from crossings."""
    centers, halves = plan.centers[axis], plan.halves[axis]
    starts = np.concatenate([[0.0], centers + halves + STOP_LINE + 4.0])
    ends = np.concatenate([centers - halves - STOP_LINE - 4.0, [plan.size[axis]]])
    taken = []
    for start, end in zip(starts, ends, strict=True):
        slots = int((end - start) // 7.8)
        for slot in range(slots):
            position = start + (slot + 0.5) * (end - start) / slots + rng.uniform(-0.12, 0.12)
            if rng.random() < 0.62:
                taken.append(position)
    return taken


def moving_vehicles(
    plan: Plan, signals: Signals, crowd: Crowd, near: np.ndarray, duration: float, rng: np.random.Generator
) -> list[Actor]:
    """Let vehicles drive around ``near`` ``(n, 2)`` that never meet anybody in ``crowd``."""
    actors, count = [], [len(centers) for centers in plan.centers]
    for _ in range(90):
        if len(actors) >= 26:
            break
        crossing = (int(rng.integers(count[0])), int(rng.integers(count[1])))
        heading = HEADINGS[int(rng.integers(4))]
        middle = np.array([plan.centers[axis][crossing[axis]] for axis in range(2)])
        if np.linalg.norm(near - middle, axis=-1).min() > 75.0:
            continue
        cruise, lead = rng.uniform(5.0, 9.5), rng.uniform(8.0, 50.0)
        path = route(plan, rng, crossing, heading, lead, cruise * (duration + 2 * RUN_UP) + 20.0)
        category, size, build = random_vehicle(rng, parked=False)
        way = drive(path, signals, cruise, duration, size[1] / 2)
        long = category != 'vehicle.car'
        if long and any(start - size[1] < way.traveled[-1] for start, _, _ in path.curves):
            continue  # its tail would cut the corner over the pavement
        if crowd.admit(way.at(crowd.times), size, gap=1.5 if long else 1.0):
            actors.append(Actor(category, size, build(), drive=way))
    return actors


def pedestrians(
    plan: Plan, crowd: Crowd, near: np.ndarray, duration: float, rng: np.random.Generator, count: int = 34
) -> list[Actor]:
    """Let people walk or stand on the pavements around ``near`` ``(n, 2)``."""
    actors = []
    for _ in range(4 * count):
        if len(actors) >= count:
            break
        axis, anchor = int(rng.integers(2)), near[int(rng.integers(len(near)))] + rng.uniform(-35.0, 35.0, 2)
        index, _ = plan.across(axis, anchor[axis : axis + 1])
        side = rng.choice([-1.0, 1.0])
        across = plan.centers[axis][index[0]] + side * (
            plan.halves[axis][index[0]] + rng.uniform(1.5, PAVEMENT_WIDTH - 0.4)
        )
        start = np.array([across, anchor[1]]) if axis == 0 else np.array([anchor[0], across])
        direction = np.eye(2)[1 - axis] * rng.choice([-1.0, 1.0])
        pace = 0.0 if rng.random() < 0.25 else rng.uniform(0.8, 1.6)
        way = _walk(start, direction, pace, duration)
        child = rng.random() < 0.15
        height = float(rng.uniform(1.15, 1.4) if child else rng.uniform(1.58, 1.88))
        stride = 0.5 * height / 1.75 if pace else 0.12
        size = people.person_size(height, stride)
        # They keep to the pavement: at a crossing they would need a green man.
        if plan.drivable(np.stack(way.at(crowd.times)[:2], axis=-1)).any():
            continue
        if crowd.admit(way.at(crowd.times), size, gap=0.2):
            category = 'human.pedestrian.child' if child else 'human.pedestrian.adult'
            actors.append(Actor(category, size, people.person(height, stride, rng), drive=way))
    return actors


def _walk(start: np.ndarray, direction: np.ndarray, pace: float, duration: float) -> Drive:
    """Return a straight walk that passes ``start`` at time 0."""
    times = np.array([-RUN_UP, duration + RUN_UP])
    ends = start + np.outer(times * max(pace, 0.01), direction)
    yaw = float(np.arctan2(direction[1], direction[0]))
    lengths = np.array([0.0, np.linalg.norm(ends[1] - ends[0])])
    traveled = lengths if pace else np.full(2, lengths[1] / 2)
    return Drive(LanePath(ends, np.array([yaw, yaw]), lengths), times, traveled)


def ground_height(plan: Plan, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the height of the road or of the pavement below points, meters."""
    return np.where(plan.drivable(np.stack([x, y], axis=-1)), 0.0, CURB_HEIGHT)
