"""Pedestrians: legs, trunk, arms and head as prisms; at the size of our pictures that reads as a person."""

from __future__ import annotations

import numpy as np

from projects.DistillNeRF.semantics.classes import CLASS_ID

from .materials import Material, draw_color
from .mesh import Mesh, Size, Surface, box, extruded, frustum, merge

_SKIN = ((0.62, 0.42, 0.32), (0.42, 0.26, 0.18), (0.20, 0.12, 0.08))
_CLOTHES = (
    (0.60, 0.08, 0.08),
    (0.08, 0.14, 0.40),
    (0.66, 0.60, 0.12),
    (0.64, 0.62, 0.58),
    (0.06, 0.06, 0.07),
    (0.10, 0.34, 0.20),
    (0.60, 0.28, 0.06),
    (0.40, 0.12, 0.34),
)


def person_size(height: float, stride: float) -> Size:
    """Return width, length and height of a :func:`person`, meters."""
    return 0.46 * height / 1.75 + 0.14, max(stride + 0.26, 0.4), height


def person(height: float, stride: float, rng: np.random.Generator) -> Mesh:
    """Build a person that faces +x, in clothes that ``rng`` chooses.

    Args:
        height: meters.
        stride: meters between the feet.
        rng: chooses skin and clothes.
    """

    def cloth() -> Surface:
        return Surface(Material.MATTE, CLASS_ID['pedestrian'], draw_color(rng, _CLOTHES))

    skin = Surface(Material.MATTE, CLASS_ID['pedestrian'], draw_color(rng, _SKIN))
    hair = Surface(Material.MATTE, CLASS_ID['pedestrian'], (0.07, 0.05, 0.04))
    trousers, coat = cloth(), cloth()
    scale = height / 1.75
    hip, shoulder, half = 0.85 * scale, 1.45 * scale, 0.23 * scale
    made = []
    for side in (-1, 1):
        foot = side * stride / 2
        leg = [(foot - 0.08, 0.0), (foot + 0.12, 0.0), (0.10, hip), (-0.10, hip)]
        made.append(extruded(np.array(leg), 0.07 * scale, trousers).placed((0.0, 0.1 * side * scale, 0.0)))
        hand = -0.7 * foot
        arm = [(hand - 0.05, hip - 0.02), (hand + 0.05, hip - 0.02), (0.07, shoulder), (-0.07, shoulder)]
        made.append(extruded(np.array(arm), 0.05 * scale, coat).placed((0.0, side * (half + 0.02), 0.0)))
    made.append(box((-0.13, -half, hip - 0.05), (0.13, half, shoulder), coat))
    made.append(frustum((0.0, 0.0, shoulder), (0.09 * scale, 0.11 * scale), 0.18 * scale, 8, skin))
    made.append(frustum((-0.015, 0.0, shoulder + 0.18 * scale), (0.115 * scale, 0.07 * scale), 0.12 * scale, 8, hair))
    return merge(made)
