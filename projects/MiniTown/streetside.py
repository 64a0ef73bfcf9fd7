"""Where plants and furniture stand: along the pavements, at crossings, in parks and outside the town."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from . import furniture, plants, vehicles
from .mesh import Mesh, merge
from .routes import Signals
from .town_plan import CORNER_RADIUS, CURB_HEIGHT, HEADINGS, OUTSKIRTS, PAVEMENT_WIDTH, Block, Plan, heading_of_side
from .traffic import Actor

_SLOT = 7.0
_FROM_CURB = 0.75
_CLEAR_OF_CROSSING = CORNER_RADIUS + 6.0


@dataclass(frozen=True)
class Spot:
    """A place on a pavement near the curb: position (x, y) and the yaw of the traffic that passes it."""

    position: np.ndarray
    yaw: float


def pavement_spots(plan: Plan) -> Iterator[list[Spot]]:
    """Yield one row of spots, 7 m apart, for each side of each street between two crossings."""
    for axis in range(2):
        along = 1 - axis
        starts = np.concatenate([[0.0], plan.centers[along] + plan.halves[along] + _CLEAR_OF_CROSSING])
        ends = np.concatenate([plan.centers[along] - plan.halves[along] - _CLEAR_OF_CROSSING, [plan.size[along]]])
        for center, half in zip(plan.centers[axis], plan.halves[axis], strict=True):
            for side in (-1, 1):
                across = center + side * (half + _FROM_CURB)
                yaw = heading_of_side(axis, side)
                for start, end in zip(starts, ends, strict=True):
                    places = np.arange(start, end, _SLOT)
                    yield [Spot(np.array((across, p) if axis == 0 else (p, across)), yaw) for p in places]


def along_pavements(plan: Plan, trees: list[Mesh], rng: np.random.Generator) -> tuple[list[Mesh], list[Actor]]:
    """Place lamp posts, trees, signs, bins, benches (meshes) and parked bicycles (actors)."""
    meshes, actors = [], []
    post = furniture.lamp_post()
    for row in pavement_spots(plan):
        # Some sides of streets are lined with trees.
        tree_share = rng.choice([0.1, 0.65])
        for index, spot in enumerate(row):
            place, draw = (*spot.position, CURB_HEIGHT), rng.random()
            if index % 4 == 1:
                meshes.append(post.placed(place, spot.yaw))
            elif draw < tree_share:
                meshes.append(trees[int(rng.integers(len(trees)))].placed(place, rng.uniform(0.0, 2 * np.pi)))
            elif draw < tree_share + 0.10:
                meshes.append(furniture.sign(rng).placed(place, spot.yaw))
            elif draw < tree_share + 0.16:
                meshes.append(furniture.litter_bin(rng).placed(place))
            elif draw < tree_share + 0.20:
                meshes.append(furniture.bench().placed(place, spot.yaw + np.pi))
            elif draw < tree_share + 0.28:
                mesh, size = vehicles.bicycle(vehicles.paint(rng))
                place = (*spot.position, spot.yaw + rng.uniform(-0.2, 0.2))
                actors.append(Actor('vehicle.bicycle', size, mesh, tuple(float(value) for value in place)))
    return meshes, actors


@dataclass(frozen=True)
class TrafficLight:
    """A traffic light: where it stands, which way the traffic heads that it is for, and what it obeys."""

    place: tuple[float, float, float]
    yaw: float
    crossing: tuple[int, int]
    axis: int


def traffic_lights(plan: Plan) -> list[TrafficLight]:
    """Place a light on the right of each of the four ways into each crossing, before the zebra crossing."""
    lights = []
    for i, x in enumerate(plan.centers[0]):
        for j, y in enumerate(plan.centers[1]):
            for dx, dy in HEADINGS:
                axis = 0 if dx else 1
                heading, right = np.array([dx, dy]), np.array([dy, -dx])
                before = plan.halves[axis][(i, j)[axis]] + CORNER_RADIUS + 3.9
                aside = plan.halves[1 - axis][(i, j)[1 - axis]] + 0.6
                position = np.array([x, y]) - before * heading + aside * right
                place = (float(position[0]), float(position[1]), CURB_HEIGHT)
                lights.append(TrafficLight(place, float(np.arctan2(dy, dx)), (i, j), axis))
    return lights


def lit_lamps(lights: list[TrafficLight], signals: Signals, time: float) -> Mesh:
    """Build the lamps that are on at ``time``."""
    models = {green: furniture.lit_lamp(green) for green in (False, True)}
    return merge([models[signals.green(x.crossing, x.axis, time)].placed(x.place, x.yaw) for x in lights])


def park(block: Block, trees: list[Mesh], rng: np.random.Generator) -> list[Mesh]:
    """Place trees, bushes, benches and hedges on the land of an inner block."""
    low, high = block.low + PAVEMENT_WIDTH, block.high - PAVEMENT_WIDTH
    meshes: list[Mesh] = []
    taken = np.zeros((0, 2))
    for _ in range(60):
        spot = rng.uniform(low + 2.6, high - 2.6)
        if len(taken) and np.linalg.norm(taken - spot, axis=-1).min() < 4.2:
            continue
        taken = np.concatenate([taken, spot[None]])
        place, draw = (*spot, CURB_HEIGHT), rng.random()
        if draw < 0.6:
            meshes.append(trees[int(rng.integers(len(trees)))].placed(place, rng.uniform(0.0, 2 * np.pi)))
        elif draw < 0.85:
            meshes.append(plants.bush(rng).placed(place))
        else:
            meshes.append(furniture.bench().placed(place, rng.uniform(0.0, 2 * np.pi)))
    for axis in range(2):
        for edge in (low[axis] + 0.4, high[axis] - 1.2):
            # A hedge from near each corner, open in the middle.
            reach, gap = high[1 - axis] - low[1 - axis], rng.uniform(6.0, 16.0)
            for start, stop in ((2.0, (reach - gap) / 2), ((reach + gap) / 2, reach - 2.0)):
                if rng.random() < 0.7:
                    corners = np.array([[edge, low[1 - axis] + start], [edge + 0.8, low[1 - axis] + stop]])
                    meshes.append(plants.hedge(*(corners if axis == 0 else corners[:, ::-1]), CURB_HEIGHT, rng))
    return meshes


def outskirts(plan: Plan, trees: list[Mesh], rng: np.random.Generator, count: int = 160) -> list[Mesh]:
    """Scatter trees on the land around the town, twice the size of those in the streets."""
    meshes = []
    for _ in range(count):
        spot = rng.uniform(-0.6 * OUTSKIRTS, plan.size + 0.6 * OUTSKIRTS)
        near_street = any(
            np.abs(plan.across(axis, spot[axis : axis + 1])[1][0]) < plan.halves[axis].max() + PAVEMENT_WIDTH + 4.0
            for axis in range(2)
        )
        outside = (spot < -4.0).any() or (spot > plan.size + 4.0).any()
        if outside and not near_street:
            meshes.append(trees[int(rng.integers(len(trees)))].placed((*spot, CURB_HEIGHT), scale=2.0))
    return meshes
