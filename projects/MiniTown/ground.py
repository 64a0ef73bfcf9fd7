"""Road surface, curbs, pavements, the land of the blocks, and the hills around the town."""

from __future__ import annotations

import itertools

import numpy as np

from projects.DistillNeRF.semantics.classes import CLASS_ID

from .materials import Material
from .mesh import Mesh, Surface, merge, polygons
from .town_plan import CORNER_RADIUS, CURB_HEIGHT, OUTSKIRTS, PAVEMENT_WIDTH, Block, Plan

ROAD = Surface(Material.ROAD, CLASS_ID['road'], (0.17, 0.17, 0.18))
CURB = Surface(Material.MATTE, CLASS_ID['pavement'], (0.48, 0.47, 0.45))
PAVEMENT = Surface(Material.PAVEMENT, CLASS_ID['pavement'], (0.40, 0.37, 0.34))
PAVING = Surface(Material.PAVEMENT, CLASS_ID['pavement'], (0.44, 0.36, 0.28))
GRASS = Surface(Material.GRASS, CLASS_ID['terrain'], (0.10, 0.21, 0.05), accent=(0.19, 0.26, 0.08))
HILL = Surface(Material.GRASS, CLASS_ID['terrain'], (0.09, 0.17, 0.06), accent=(0.20, 0.22, 0.10))
_CURB_STONE = 0.3


def ground(plan: Plan, blocks: list[tuple[Block, bool]], rng: np.random.Generator) -> Mesh:
    """Build all ground.

    Args:
        plan: the streets.
        blocks: the blocks of the plan and whether each is a park or garden land (else it is paved).
        rng: shapes the hills.
    """
    low, high = -OUTSKIRTS, plan.size + OUTSKIRTS
    corners = [(low, low, 0.0), (high[0], low, 0.0), (high[0], high[1], 0.0), (low, high[1], 0.0)]
    parts = [polygons(np.array([corners]), ROAD), hills(plan, rng)]
    parts += [block_ground(block, green) for block, green in blocks]
    return merge(parts)


def block_ground(block: Block, green: bool) -> Mesh:
    """Build curb, pavement and land of one block."""

    def level(inset: float, height: float) -> np.ndarray:
        outline = block.outline(inset, max(CORNER_RADIUS - inset, 0.5))
        return np.concatenate([outline, np.full((len(outline), 1), height)], axis=-1)

    bottom, top = level(0.0, 0.0), level(0.0, CURB_HEIGHT)
    stone, land = level(_CURB_STONE, CURB_HEIGHT), level(PAVEMENT_WIDTH, CURB_HEIGHT)
    return merge(
        [
            _ring(bottom, top, CURB),
            _ring(top, stone, CURB),
            _ring(stone, land, PAVEMENT),
            polygons(land[None], GRASS if green else PAVING),
        ]
    )


def _ring(outer: np.ndarray, inner: np.ndarray, surface: Surface) -> Mesh:
    """Build quads between two closed outlines with corresponding points."""
    following = np.roll(outer, -1, axis=0), np.roll(inner, -1, axis=0)
    return polygons(np.stack([outer, *following, inner], axis=1), surface)


def hills(plan: Plan, rng: np.random.Generator, count: int = 72) -> Mesh:
    """Build land that rises from the edge of the outskirts to hills on the horizon."""
    angle = np.arange(count) * (2 * np.pi / count)
    middle, reach = plan.size / 2, float(np.linalg.norm(plan.size / 2 + OUTSKIRTS))
    waves = sum(
        np.sin(k * angle + rng.uniform(0, 2 * np.pi)) * rng.uniform(0.5, 1.0) / np.sqrt(k) for k in (2, 3, 5, 8, 13)
    )
    crest = 34.0 + 16.0 * waves
    rings = []
    for distance, height in ((0.6 * reach, np.full(count, -0.3)), (reach, 0.12 * crest), (reach + 260.0, crest)):
        rings.append(
            np.stack([middle[0] + distance * np.cos(angle), middle[1] + distance * np.sin(angle), height], axis=-1)
        )
    # Quads of hilly land are not flat, so it is made of triangles.
    parts = []
    for near, far in itertools.pairwise(rings):
        following = np.roll(near, -1, axis=0), np.roll(far, -1, axis=0)
        parts.append(polygons(np.stack([near, far, following[1]], axis=1), HILL))
        parts.append(polygons(np.stack([near, following[1], following[0]], axis=1), HILL))
    return merge(parts)
