"""What stands on pavements: lamp posts, traffic lights, signs, bins, benches; and cones and barriers on the road.

Frame of a model: its front faces -x (toward oncoming drivers who head along +x), origin on the ground below it.
"""

from __future__ import annotations

import numpy as np

from projects.DistillNeRF.semantics.classes import CLASS_ID

from .materials import Material, draw_color
from .mesh import ALL_SIDES, SIDES, Mesh, Size, Surface, box, frustum, merge, polygons

_THING = CLASS_ID['furniture']
_STEEL = Surface(Material.MATTE, _THING, (0.24, 0.26, 0.27), gloss=0.1)
_BLACK = Surface(Material.MATTE, _THING, (0.03, 0.03, 0.03))
_WOOD = Surface(Material.MATTE, _THING, (0.32, 0.18, 0.09))
_SIGNAL_HEIGHTS = {'red': 3.05, 'green': 2.45}
_SIGNAL_COLORS = {'red': (0.95, 0.05, 0.03), 'green': (0.05, 0.85, 0.35)}


def lamp_post() -> Mesh:
    """Build a post with an arm over the road: the road lies on +y."""
    head = Surface(Material.MATTE, _THING, (0.70, 0.70, 0.66))
    return merge(
        [
            frustum((0.0, 0.0, -0.05), (0.12, 0.08), 0.9, 8, _STEEL),
            frustum((0.0, 0.0, 0.8), (0.075, 0.05), 6.0, 8, _STEEL),
            box((-0.04, -0.05, 6.7), (0.04, 1.5, 6.78), _STEEL, ALL_SIDES),
            box((-0.12, 1.0, 6.6), (0.12, 1.8, 6.72), head, ALL_SIDES),
        ]
    )


def traffic_light() -> Mesh:
    """Build a post with two dark lamps; the one that is on is a mesh of its own, :func:`lit_lamp`."""
    parts = [
        frustum((0.0, 0.0, -0.05), (0.07, 0.06), 3.4, 8, _STEEL),
        box((-0.22, -0.24, 2.1), (0.02, 0.24, 3.4), _BLACK, ALL_SIDES),
    ]
    for name, height in _SIGNAL_HEIGHTS.items():
        dim = Surface(Material.MATTE, _THING, tuple(0.12 * part for part in _SIGNAL_COLORS[name]))
        parts.append(polygons(_disc(-0.225, height, 0.17), dim))
    return merge(parts)


def lit_lamp(green: bool) -> Mesh:
    """Build the lamp of a :func:`traffic_light` that is on."""
    name = 'green' if green else 'red'
    return polygons(_disc(-0.235, _SIGNAL_HEIGHTS[name], 0.17), Surface(Material.LAMP, _THING, _SIGNAL_COLORS[name]))


def sign(rng: np.random.Generator) -> Mesh:
    """Build a round or square traffic sign."""
    outer, inner = (
        ((0.70, 0.04, 0.04), (0.80, 0.80, 0.78)),
        ((0.04, 0.14, 0.52), (0.80, 0.80, 0.78)),
        ((0.80, 0.58, 0.04), (0.10, 0.10, 0.10)),
    )[int(rng.integers(3))]
    corners = 12 if rng.random() < 0.6 else 4
    plate, center = (Surface(Material.MATTE, _THING, color) for color in (outer, inner))
    return merge(
        [
            frustum((0.0, 0.0, -0.05), (0.04, 0.04), 2.75, 6, _STEEL),
            polygons(_disc(-0.05, 2.5, 0.42, corners), plate),
            polygons(_disc(-0.05, 2.5, 0.42, corners)[:, ::-1] + (0.01, 0.0, 0.0), _STEEL),
            polygons(_disc(-0.06, 2.5, 0.2, corners), center),
        ]
    )


def litter_bin(rng: np.random.Generator) -> Mesh:
    """Build a litter bin."""
    color = draw_color(rng, ((0.05, 0.22, 0.12), (0.50, 0.22, 0.04), (0.16, 0.16, 0.18)))
    surface = Surface(Material.MATTE, _THING, color)
    return merge(
        [
            frustum((0.0, 0.0, 0.0), (0.24, 0.29), 0.85, 10, surface),
            frustum((0, 0, 0.85), (0.29, 0.12), 0.15, 10, _BLACK),
        ]
    )


def bench() -> Mesh:
    """Build a bench along x that faces +y."""
    return merge(
        [
            box((-0.9, -0.2, 0.42), (0.9, 0.25, 0.48), _WOOD, ALL_SIDES),
            box((-0.9, -0.28, 0.6), (0.9, -0.22, 0.95), _WOOD, ALL_SIDES),
            *(box((x - 0.05, -0.28, 0.0), (x + 0.05, 0.22, 0.42), _BLACK, ALL_SIDES) for x in (-0.7, 0.7)),
            *(box((x - 0.04, -0.28, 0.42), (x + 0.04, -0.24, 0.9), _BLACK, ALL_SIDES) for x in (-0.7, 0.7)),
        ]
    )


def cone() -> tuple[Mesh, Size]:
    """Build a traffic cone; return it with its size (width, length, height)."""
    label = CLASS_ID['traffic_cone']
    orange = Surface(Material.MATTE, label, (0.85, 0.22, 0.03))
    white = Surface(Material.MATTE, label, (0.85, 0.85, 0.82))
    parts = [box((-0.19, -0.19, 0.0), (0.19, 0.19, 0.05), orange)]
    for low, height, radii, surface in (
        (0.05, 0.25, (0.15, 0.11), orange),
        (0.30, 0.18, (0.11, 0.08), white),
        (0.48, 0.27, (0.08, 0.035), orange),
    ):
        parts.append(frustum((0.0, 0.0, low), radii, height, 10, surface))
    return merge(parts), (0.38, 0.38, 0.75)


def barrier() -> tuple[Mesh, Size]:
    """Build a red and white board on two feet, across x; return it with its size (width, length, height)."""
    label = CLASS_ID['barrier']
    stripes = Surface(Material.STRIPES, label, (0.75, 0.05, 0.04), accent=(0.82, 0.82, 0.80))
    foot = Surface(Material.MATTE, label, (0.10, 0.10, 0.10))
    parts = [box((-0.03, -0.9, 0.45), (0.03, 0.9, 1.0), stripes, ALL_SIDES)]
    parts += [box((-0.25, y - 0.08, 0.0), (0.25, y + 0.08, 0.1), foot) for y in (-0.7, 0.7)]
    parts += [box((-0.03, y - 0.03, 0.1), (0.03, y + 0.03, 0.45), foot, SIDES) for y in (-0.7, 0.7)]
    return merge(parts), (1.8, 0.5, 1.0)


def _disc(x: float, height: float, radius: float, corners: int = 12) -> np.ndarray:
    """Return the corners ``(1, corners, 3)`` of a regular polygon that faces -x; a square stands upright."""
    angle = (np.arange(corners) + 0.5) * (2 * np.pi / corners)
    return np.stack([np.full(corners, x), -radius * np.cos(angle), height + radius * np.sin(angle)], axis=-1)[None]
