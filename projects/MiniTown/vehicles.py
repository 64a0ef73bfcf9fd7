"""Cars, vans, trucks, buses and parked two-wheelers, each of several shapes.

Frame of a model: x forward, y left, z up, origin on the ground below the middle of its box; it fills its box.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from projects.DistillNeRF.semantics.classes import CLASS_ID

from .materials import Color, Material, draw_color
from .mesh import SHELL, Mesh, Size, Surface, box, extruded, merge, polygons

_PAINTS = (
    (0.62, 0.05, 0.04),
    (0.05, 0.12, 0.42),
    (0.75, 0.75, 0.74),
    (0.42, 0.43, 0.45),
    (0.05, 0.05, 0.06),
    (0.80, 0.62, 0.08),
    (0.08, 0.30, 0.16),
    (0.16, 0.42, 0.62),
    (0.55, 0.24, 0.06),
)
_CARGO = ((0.72, 0.72, 0.70), (0.70, 0.36, 0.08), (0.10, 0.26, 0.50), (0.14, 0.40, 0.22), (0.62, 0.10, 0.08))


def _surfaces(label: int, paint: Color) -> dict[str, Surface]:
    """Return the surfaces of a vehicle of class ``label``, by part."""
    body = Surface(Material.MATTE, label, paint, gloss=0.35)
    return {
        'body': body,
        'glass': replace(body, color=(0.03, 0.04, 0.05), gloss=0.9),
        'tire': replace(body, color=(0.03, 0.03, 0.03), gloss=0.0),
        'rim': replace(body, color=(0.40, 0.40, 0.42), gloss=0.1),
        'dark': replace(body, color=(0.06, 0.06, 0.07), gloss=0.1),
        'head': Surface(Material.LAMP, label, (0.75, 0.74, 0.66)),
        'tail': Surface(Material.LAMP, label, (0.55, 0.03, 0.02)),
    }


def paint(rng: np.random.Generator) -> Color:
    """Draw a car color."""
    return draw_color(rng, _PAINTS)


def cargo_color(rng: np.random.Generator) -> Color:
    """Draw a color of truck bodies and buses."""
    return draw_color(rng, _CARGO)


def wheels(axles: tuple[float, ...], half_width: float, radius: float, width: float, parts: dict[str, Surface]) -> Mesh:
    """Build wheels at both ends of every axle (x), flush with ``half_width``."""
    angle = np.arange(10) * (2 * np.pi / 10)
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    tire = extruded(radius * circle, width / 2, parts['tire'])
    rim = extruded(0.58 * radius * circle, width / 2 + 0.01, parts['rim'])
    wheel = merge([tire, rim])
    offset = half_width - width / 2 - 0.01
    return merge([wheel.placed((x, side * offset, radius)) for x in axles for side in (-1, 1)])


def _lamps(length: float, half_width: float, height: float, parts: dict[str, Surface]) -> Mesh:
    """Build two head lamps in front and two tail lamps behind, 1 cm proud of the body."""
    depth, tall, wide = 0.03, 0.16, 0.36
    made = []
    for side in (-1, 1):
        inner, outer = sorted((side * (half_width - wide), side * half_width))
        made.append(
            box((length / 2 - depth, inner, height), (length / 2, outer, height + tall), parts['head'], ('front',))
        )
        made.append(
            box((-length / 2, inner, height), (-length / 2 + depth, outer, height + tall), parts['tail'], ('back',))
        )
    return merge(made)


def car(size: Size, color: Color, estate: bool = False) -> Mesh:
    """Build a passenger car of ``size`` (width, length, height); an estate keeps its roof up to the tail."""
    width, length, height = size
    half, parts = width / 2, _surfaces(CLASS_ID['car'], color)
    waist, sill = 0.57 * height, 0.20
    nose = length / 2 - 0.04
    body = [(-nose, sill), (nose, sill), (nose, 0.42 * height), (0.86 * nose, 0.52 * height), (0.4 * nose, waist)]
    body += [(-0.8 * nose, waist), (-nose, 0.50 * height)]
    tail = -0.93 if estate else -0.74
    roof_back = -0.84 if estate else -0.42
    cabin = [
        (tail * nose, waist - 0.02),
        (0.46 * nose, waist - 0.02),
        (0.08 * nose, height),
        (roof_back * nose, height),
    ]
    skirt = box((-0.96 * nose, -half + 0.06, 0.12), (0.96 * nose, half - 0.06, sill), parts['dark'], ('front', 'back'))
    made = [
        extruded(np.array(body), half - 0.02, parts['body']),
        _cabin(np.array(cabin), half - 0.1, parts),
        wheels((0.6 * nose, -0.6 * nose), half, 0.22 * height, 0.22, parts),
        _lamps(length, half - 0.08, 0.36 * height, parts),
        skirt,
    ]
    return merge(made)


def _cabin(profile: np.ndarray, half_width: float, parts: dict[str, Surface]) -> Mesh:
    """Build the part above the waist: painted pillars and roof, with panes a finger's width outside of them."""
    shell = extruded(profile, half_width, parts['body'])
    back_low, front_low, front_high, back_high = profile
    middle = (profile.max(axis=0) + profile.min(axis=0)) / 2
    panes = []
    for low, high in ((front_low, front_high), (back_high, back_low)):
        slant = np.array([high[1] - low[1], low[0] - high[0]])
        slant = 0.015 * slant / np.linalg.norm(slant)
        first, second = low + 0.1 * (high - low) + slant, low + 0.9 * (high - low) + slant
        inset = half_width - 0.08
        panes.append([(*first, -inset), (*first, inset), (*second, inset), (*second, -inset)])
    glass = [polygons(np.array(panes)[..., [0, 2, 1]], parts['glass'])]
    # Side windows: the side view shrunk toward its middle, cut in two by the door pillar.
    shrunk = middle + (profile - middle) * (0.86, 0.74)
    back_low, front_low, front_high, back_high = shrunk
    cut_low, cut_high = (back_low + front_low) / 2, (back_high + front_high) / 2
    pillar = np.array([0.04, 0.0])
    for panel in (
        [back_low, cut_low - pillar, cut_high - pillar, back_high],
        [cut_low + pillar, front_low, front_high, cut_high + pillar],
    ):
        x, z = np.array(panel).T
        right = np.stack([x, np.full(4, -half_width - 0.015), z], axis=-1)
        glass.append(polygons(np.stack([right, (right * (1, -1, 1))[::-1]]), parts['glass']))
    return merge([shell, *glass])


def truck(size: Size, color: Color, cargo: Color) -> Mesh:
    """Build a box truck of ``size`` (width, length, height)."""
    width, length, height = size
    half, parts = width / 2, _surfaces(CLASS_ID['truck'], color)
    front, back = length / 2 - 0.04, -length / 2 + 0.04
    cab_back = front - 1.9
    load = replace(parts['body'], color=cargo, gloss=0.05)
    cab = [(cab_back, 0.45), (front, 0.45), (front, 1.35), (front - 0.25, 2.35), (cab_back, 2.35)]
    pane_low, pane_high = (front - 0.025, 1.45), (front - 0.22, 2.2)
    pane = [(*pane_low, -half + 0.2), (*pane_low, half - 0.2), (*pane_high, half - 0.2), (*pane_high, -half + 0.2)]
    windows = box((front - 1.2, -half + 0.04, 1.4), (front - 0.4, half - 0.04, 2.1), parts['glass'], ('left', 'right'))
    return merge(
        [
            extruded(np.array(cab), half - 0.06, parts['body']),
            polygons(np.array([pane])[..., [0, 2, 1]] + (0.02, 0.0, 0.0), parts['glass']),
            windows,
            box((back, -half, 0.85), (cab_back - 0.15, half, height), load),
            box((back, -half + 0.15, 0.5), (cab_back, half - 0.15, 0.85), parts['dark'], ('back', 'left', 'right')),
            wheels((front - 1.0, back + 1.3), half, 0.46, 0.3, parts),
            _lamps(length, half - 0.1, 0.6, parts),
        ]
    )


def bus(size: Size, color: Color) -> Mesh:
    """Build a city bus of ``size`` (width, length, height): a box with a ribbon of windows."""
    width, length, height = size
    half, parts = width / 2, _surfaces(CLASS_ID['bus'], color)
    end = length / 2 - 0.04
    body = box((-end, -half + 0.03, 0.3), (end, half - 0.03, height), parts['body'])
    low, high = 0.42 * height, 0.80 * height
    panes = [box((end, -half + 0.15, 0.36 * height), (end + 0.015, half - 0.15, 0.84 * height), parts['glass'])]
    for start in np.arange(-end + 0.5, end - 1.4, 1.45):
        panes.append(box((start, -half, low), (start + 1.25, half, high), parts['glass'], ('left', 'right')))
    back = box((-end - 0.015, -half + 0.3, 0.55 * height), (0, half - 0.3, high), parts['glass'], ('back',))
    axles = wheels((0.55 * end, -0.5 * end), half, 0.46, 0.3, parts)
    return merge([body, *panes, back, axles, _lamps(length, half - 0.1, 0.6, parts)])


def bicycle(color: Color) -> tuple[Mesh, Size]:
    """Build a standing bicycle; return it with its size (width, length, height)."""
    parts = _surfaces(CLASS_ID['bicycle'], color)
    angle = np.arange(12) * (2 * np.pi / 12)
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    made = [extruded(0.34 * circle, 0.03, parts['tire']).placed((x, 0, 0.34)) for x in (-0.52, 0.52)]
    frame = np.array([(-0.5, 0.36), (0.0, 0.3), (0.35, 0.8), (-0.2, 0.85)])
    made.append(extruded(frame, 0.035, parts['body']))
    made.append(box((0.3, -0.3, 0.95), (0.36, 0.3, 1.0), parts['dark'], SHELL))
    made.append(box((0.31, -0.02, 0.7), (0.35, 0.02, 0.97), parts['dark']))
    made.append(box((-0.3, -0.08, 0.9), (-0.05, 0.08, 0.96), parts['dark']))
    return merge(made), (0.6, 1.72, 1.0)
