"""Houses along the streets of a block: fronts with windows, flat and gabled roofs, chimneys, awnings, balconies."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from projects.DistillNeRF.semantics.classes import CLASS_ID

from .materials import SHOP_HEIGHT, STORY, Color, Material, draw_color, has_shops, window_bays
from .mesh import ALL_SIDES, SIDES, Mesh, Surface, box, merge, polygons
from .town_plan import CURB_HEIGHT, PAVEMENT_WIDTH, Block

_BUILDING = CLASS_ID['building']
_WALLS = (
    (0.50, 0.16, 0.10),
    (0.62, 0.42, 0.22),
    (0.70, 0.62, 0.48),
    (0.36, 0.42, 0.50),
    (0.44, 0.50, 0.36),
    (0.66, 0.30, 0.20),
    (0.74, 0.70, 0.64),
    (0.32, 0.22, 0.17),
    (0.68, 0.52, 0.20),
    (0.42, 0.26, 0.32),
    (0.24, 0.34, 0.40),
)
_ACCENTS = (
    (0.60, 0.08, 0.06),
    (0.06, 0.20, 0.42),
    (0.08, 0.30, 0.16),
    (0.68, 0.48, 0.08),
    (0.60, 0.58, 0.54),
    (0.10, 0.10, 0.12),
    (0.38, 0.12, 0.34),
)
_ROOFS = ((0.36, 0.12, 0.07), (0.20, 0.20, 0.23), (0.30, 0.18, 0.12), (0.26, 0.30, 0.32))
_AWNING_DEPTH, _BALCONY_DEPTH = 1.2, 0.9


def houses(block: Block, reach: tuple[np.ndarray, np.ndarray], rng: np.random.Generator) -> list[Mesh]:
    """Build rows of houses along the edges of ``block``.

    Args:
        block: the land between four streets.
        reach: low and high corner (x, y) of the built-up area; no house lies outside of it.
        rng: chooses shapes and colors.
    """
    low = np.maximum(block.low + PAVEMENT_WIDTH + 0.2, reach[0])
    high = np.minimum(block.high - PAVEMENT_WIDTH - 0.2, reach[1])
    depth = float(min(rng.uniform(10.0, 13.0), 0.5 * (high - low).min() - 1.0))
    if depth < 6.0:
        return []
    rows = [
        (0, low[0], high[0], low[1], low[1] + depth),
        (0, low[0], high[0], high[1] - depth, high[1]),
        (1, low[1] + depth, high[1] - depth, low[0], low[0] + depth),
        (1, low[1] + depth, high[1] - depth, high[0] - depth, high[0]),
    ]
    built = []
    for (axis, start, end, near, far), outward in zip(rows, (-1, 1, -1, 1), strict=True):
        for begin, stop in _lots(start, end, rng):
            if rng.random() < 0.10:
                continue
            setback = rng.uniform(0.0, 0.8) if rng.random() < 0.5 else 0.0
            corners = np.array([[begin, near + setback], [stop, far - setback]])
            built.append(house(*(corners if axis == 0 else corners[:, ::-1]), axis, outward, rng))
    return built


def _lots(start: float, end: float, rng: np.random.Generator) -> list[tuple[float, float]]:
    """Cut [start, end] into pieces of 9 to 19 m with an occasional gap."""
    lots, position = [], start
    while end - position > 7.0:
        width = rng.uniform(9.0, 19.0)
        if end - position - width < 9.0:
            width = end - position
        gap = rng.uniform(1.5, 4.0) if rng.random() < 0.25 and width > 11.0 else 0.0
        lots.append((position, position + width - gap))
        position += width
    return lots


def house(low: np.ndarray, high: np.ndarray, axis: int, outward: int, rng: np.random.Generator) -> Mesh:
    """Build one house.

    Args:
        low, high: corners (x, y) of its rectangle.
        axis: along which its front runs, 0 for x.
        outward: side of the rectangle where the front is, -1 or 1 along the other axis.
        rng: chooses shape and colors.
    """
    stories = int(rng.choice([1, 2, 3, 4, 5, 7], p=[0.08, 0.26, 0.28, 0.2, 0.12, 0.06]))
    height = CURB_HEIGHT + SHOP_HEIGHT + stories * STORY + 0.5
    shade = rng.uniform(0.8, 1.1)
    color = tuple(float(min(shade * part, 0.85)) for part in draw_color(rng, _WALLS))
    wall = Surface(Material.FACADE, _BUILDING, color, draw_color(rng, _ACCENTS), float(rng.random()))
    parts = [box((*low, CURB_HEIGHT), (*high, height), wall, SIDES)]
    gabled = stories <= 3 and rng.random() < 0.55
    parts += _gable(low, high, height, axis, wall, rng) if gabled else _flat_roof(low, high, height, wall, rng)
    width = float((high - low)[axis])
    corner, yaw = {
        (0, 1): ((low[0], high[1]), 0.0),
        (0, -1): ((high[0], low[1]), np.pi),
        (1, 1): ((high[0], high[1]), -np.pi / 2),
        (1, -1): ((low[0], low[1]), np.pi / 2),
    }[axis, outward]
    parts += [part.placed((*corner, CURB_HEIGHT), yaw) for part in _front(width, stories, wall, rng)]
    return merge(parts)


def _front(width: float, stories: int, wall: Surface, rng: np.random.Generator) -> list[Mesh]:
    """Build what juts out of a front: awnings over shops, balconies. x runs along the front, y out of it."""
    variant = np.float32([wall.variant])
    bay = float(window_bays(variant, np.float32([width]))[0][0])
    middles = (np.arange(round(width / bay)) + 0.5) * bay
    parts = []
    if has_shops(variant)[0] and rng.random() < 0.6:
        parts += [_awning(0.9 * bay, wall.accent).placed((x, 0.0, 0.0)) for x in middles if rng.random() < 0.7]
    if stories >= 2 and rng.random() < 0.35:
        balcony, phase = _balcony(0.84 * bay, wall.accent), int(rng.integers(2))
        for story in range(stories):
            height = SHOP_HEIGHT + story * STORY
            parts += [balcony.placed((x, 0.0, height)) for x in middles[phase::2]]
    return parts


def _awning(width: float, accent: Color) -> Mesh:
    """Build a striped cloth that slopes down from the wall, with a valance."""
    cloth = Surface(Material.STRIPES, _BUILDING, (0.80, 0.78, 0.72), accent=accent)
    high, low, half = 0.8 * SHOP_HEIGHT, 0.8 * SHOP_HEIGHT - 0.45, width / 2
    edge = [(half, _AWNING_DEPTH, low), (-half, _AWNING_DEPTH, low)]
    slope = [*edge, (-half, 0.0, high), (half, 0.0, high)]
    valance = [(half, _AWNING_DEPTH, low - 0.2), (-half, _AWNING_DEPTH, low - 0.2), *edge[::-1]]
    return polygons(np.array([slope, valance]), cloth)


def _balcony(width: float, accent: Color) -> Mesh:
    """Build a slab with a solid parapet, its floor at height 0."""
    slab = Surface(Material.MATTE, _BUILDING, (0.52, 0.51, 0.49))
    parapet = Surface(Material.MATTE, _BUILDING, tuple(0.15 + 0.75 * part for part in accent))
    half, out = width / 2, _BALCONY_DEPTH
    floor = box((-half, 0.0, -0.1), (half, out, 0.05), slab, ('left', 'front', 'back', 'top', 'bottom'))
    outside = box((-half, 0.0, 0.05), (half, out, 0.95), parapet, ('left', 'front', 'back'))
    return merge([floor, outside])


def _flat_roof(low: np.ndarray, high: np.ndarray, height: float, wall: Surface, rng: np.random.Generator) -> list[Mesh]:
    """Build a roof with an overhanging cornice and a machine room."""
    cornice = Surface(Material.MATTE, _BUILDING, tuple(0.25 + 0.5 * part for part in wall.accent))
    roof = Surface(Material.MATTE, _BUILDING, (0.30, 0.29, 0.28))
    slab = box((*(low - 0.25), height), (*(high + 0.25), height + 0.5), cornice, ALL_SIDES)
    size = rng.uniform(2.0, 4.0, 2)
    corner = low + rng.uniform(0.2, 0.6, 2) * (high - low - size)
    room = box((*corner, height + 0.5), (*(corner + size), height + 2.8), roof)
    return [slab, room]


def _gable(
    low: np.ndarray, high: np.ndarray, height: float, axis: int, wall: Surface, rng: np.random.Generator
) -> list[Mesh]:
    """Build two tiled slopes that meet over the middle, the triangles under them, and a chimney."""
    tiles = Surface(Material.TILES, _BUILDING, draw_color(rng, _ROOFS), variant=float(rng.random()))
    plaster = Surface(Material.MATTE, _BUILDING, wall.color)
    rise = rng.uniform(0.35, 0.6) * (high - low)[1 - axis] / 2
    ridge = height + rise
    # Corner names follow a front along x; a front along y swaps the coordinates, which also turns the faces round.
    (x0, y0), (x1, y1) = (low, high) if axis == 0 else (low[::-1], high[::-1])
    middle, eaves, drop = (y0 + y1) / 2, 0.4, 0.4 * rise / ((y1 - y0) / 2)
    slopes = [
        [(x0, y0 - eaves, height - drop), (x1, y0 - eaves, height - drop), (x1, middle, ridge), (x0, middle, ridge)],
        [(x1, y1 + eaves, height - drop), (x0, y1 + eaves, height - drop), (x0, middle, ridge), (x1, middle, ridge)],
    ]
    ends = [
        [(x0, y1, height), (x0, y0, height), (x0, middle, ridge)],
        [(x1, y0, height), (x1, y1, height), (x1, middle, ridge)],
    ]
    slopes, ends = np.array(slopes, float), np.array(ends, float)
    if axis == 1:
        slopes, ends = slopes[:, ::-1, [1, 0, 2]], ends[:, ::-1, [1, 0, 2]]
        # Reversing leaves the ridge as the first edge; start at the eaves again so that tile rows run level.
        slopes = np.roll(slopes, -2, axis=1)
    place = np.array([x0 + rng.uniform(0.15, 0.8) * (x1 - x0), middle + 0.8])
    place = place if axis == 0 else place[::-1]
    chimney = box((*(place - 0.35), height), (*(place + 0.35), ridge + 0.9), replace(plaster, color=(0.3, 0.14, 0.1)))
    return [polygons(slopes, tiles), polygons(ends, plaster), chimney]
