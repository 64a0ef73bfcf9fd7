"""Trees, bushes and hedges."""

from __future__ import annotations

import numpy as np
import trimesh

from projects.DistillNeRF.semantics.classes import CLASS_ID

from .materials import Material
from .mesh import SHELL, Mesh, Surface, box, frustum, merge, polygons

_PLANT = CLASS_ID['vegetation']
_GREENS = ((0.10, 0.22, 0.04), (0.16, 0.28, 0.05), (0.07, 0.17, 0.06), (0.24, 0.26, 0.05), (0.30, 0.17, 0.04))
_BARK = Surface(Material.MATTE, _PLANT, (0.16, 0.11, 0.07))


def tree_models(rng: np.random.Generator, count: int = 10, detail: int = 2) -> list[Mesh]:
    """Build different trees; trunks stand on the origin, crowns are over 2.7 m up and within 1.9 m of it.

    Args:
        rng: shapes them.
        count: how many.
        detail: subdivisions of their crowns, 2 for trees to be seen from near.
    """
    return [conifer(rng) if index % 5 == 4 else broadleaf(rng, detail) for index in range(count)]


def broadleaf(rng: np.random.Generator, detail: int) -> Mesh:
    """Build a trunk under a crown of two or three clumps."""
    surface = _leaves(rng)
    trunk_height = rng.uniform(2.8, 3.4)
    parts = [frustum((0.0, 0.0, -0.1), (0.17, 0.11), trunk_height + 0.8, 7, _BARK, cap=False)]
    parts.append(_clump(np.array([0.0, 0.0, trunk_height + 1.4]), rng.uniform(1.45, 1.75), surface, rng, detail))
    for _ in range(int(rng.integers(1, 3))):
        away = rng.uniform(-0.6, 0.6, 2)
        center = np.array([*away, trunk_height + rng.uniform(1.6, 3.0)])
        parts.append(_clump(center, rng.uniform(0.9, 1.25), surface, rng, detail))
    return merge(parts)


def conifer(rng: np.random.Generator) -> Mesh:
    """Build a trunk with a cone of branches in three tiers."""
    surface = Surface(Material.LEAVES, _PLANT, (0.05, 0.14, 0.07))
    height = rng.uniform(4.5, 6.5)
    parts = [frustum((0.0, 0.0, -0.1), (0.18, 0.14), 3.0, 7, _BARK, cap=False)]
    for tier, (radius, narrow) in enumerate(((1.7, 0.8), (1.35, 0.55), (0.95, 0.05))):
        low = 2.7 + tier * height / 3.4
        parts.append(frustum((0.0, 0.0, low), (radius, narrow), height / 2.6, 9, surface, cap=False))
        under = np.array(
            [[(radius * np.cos(a), -radius * np.sin(a), low) for a in np.arange(9) * 2 * np.pi / 9]]  # seen from below
        )
        parts.append(polygons(under, surface))
    return merge(parts)


def bush(rng: np.random.Generator) -> Mesh:
    """Build a round bush about a meter high."""
    return _clump(np.array([0.0, 0.0, 0.45]), rng.uniform(0.6, 0.9), _leaves(rng), rng, detail=1)


def hedge(low: np.ndarray, high: np.ndarray, base: float, rng: np.random.Generator) -> Mesh:
    """Build a clipped hedge on the rectangle ``low``..``high`` (x, y)."""
    return box((*low, base), (*high, base + rng.uniform(0.8, 1.2)), _leaves(rng), SHELL)


def _leaves(rng: np.random.Generator) -> Surface:
    """Draw a green for foliage."""
    # Autumn colors are the last two and rarer.
    index = int(rng.choice(len(_GREENS), p=[0.3, 0.28, 0.24, 0.12, 0.06]))
    return Surface(Material.LEAVES, _PLANT, _GREENS[index])


def _clump(center: np.ndarray, radius: float, surface: Surface, rng: np.random.Generator, detail: int) -> Mesh:
    """Build a ball with dents."""
    ball = trimesh.creation.icosphere(subdivisions=detail)
    bumps = rng.normal(size=(6, 3))
    dent = 1.0 + 0.10 * np.sin(2.4 * ball.vertices @ bumps.T).mean(axis=1) / 0.4
    vertices = center + radius * ball.vertices * dent[:, None] * (1.0, 1.0, 0.85)
    return polygons(vertices[ball.faces], surface)
