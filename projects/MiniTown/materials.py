"""What surfaces look like: one function per material, evaluated where rays hit.

Colors are linear RGB albedos. Every texture is filtered over the width of a pixel (see :mod:`.textures`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from .textures import cell, mix, noise, pulse, smoothstep, stripes

Color = tuple[float, float, float]
"""Linear RGB in [0, 1]."""


class Material(IntEnum):
    """Ids of the textures."""

    MATTE = 0
    ROAD = 1
    PAVEMENT = 2
    GRASS = 3
    FACADE = 4
    TILES = 5
    LEAVES = 6
    LAMP = 7
    STRIPES = 8


@dataclass(frozen=True)
class Hits:
    """Points on faces of one material.

    Attributes:
        points: ``(n, 3)`` positions in the town.
        u, v: ``(n,)`` meters from the corner of the face along its texture axes.
        width_u, width_v: ``(n,)`` meters that a pixel covers along them.
        faces: ``(n,)`` records of :data:`.mesh.FACE`.
    """

    points: np.ndarray
    u: np.ndarray
    v: np.ndarray
    width_u: np.ndarray
    width_v: np.ndarray
    faces: np.ndarray


@dataclass(frozen=True)
class Appearance:
    """What surfaces do with light.

    Attributes:
        albedo: ``(n, 3)`` share of light scattered.
        gloss: ``(n,)`` share of mirror reflection at grazing angles.
        glow: ``(n, 3)`` light of its own, or None.
    """

    albedo: np.ndarray
    gloss: np.ndarray
    glow: np.ndarray | None = None


def draw_color(rng: np.random.Generator, colors: Sequence[Color]) -> Color:
    """Draw one of ``colors``."""
    return colors[int(rng.integers(len(colors)))]


def matte(hits: Hits) -> Appearance:
    """Paint one color, faintly blotched."""
    blotch = 0.94 + 0.12 * noise(hits.u + hits.points[:, 0], hits.v + hits.points[:, 1], 16.0)
    return Appearance(hits.faces['color'] * blotch[:, None], hits.faces['gloss'])


def lamp(hits: Hits) -> Appearance:
    """Paint a light that is on."""
    color = hits.faces['color']
    return Appearance(0.2 * color, hits.faces['gloss'], 1.4 * color)


def pavement(hits: Hits) -> Appearance:
    """Paint slabs of 1 m in slightly different grays, with joints."""
    x, y = hits.points[:, 0], hits.points[:, 1]
    joint = np.maximum(stripes(x, 0.0, 0.05, hits.width_u), stripes(y, 0.0, 0.05, hits.width_v))
    far = smoothstep(np.maximum(hits.width_u, hits.width_v), 0.4, 1.2)
    tone = 0.86 + 0.28 * mix_scalar(cell(x, y), 0.5, far)
    tone = tone * (0.76 + 0.48 * noise(x, y, 60.0)) * (1 - 0.35 * joint)
    return Appearance(hits.faces['color'] * tone[:, None], hits.faces['gloss'])


def grass(hits: Hits) -> Appearance:
    """Paint a lawn: two greens and some worn patches, all at scales of meters."""
    x, y = hits.points[:, 0], hits.points[:, 1]
    patches = noise(x, y, 90.0)
    tufts = noise(x, y, 9.0)
    fade = 1 - smoothstep(np.maximum(hits.width_u, hits.width_v), 0.2, 1.0)
    green = mix(hits.faces['color'], hits.faces['accent'], smoothstep(patches, 0.3, 0.7))
    return Appearance(green * (1.0 + 0.5 * (tufts - 0.5) * fade)[:, None], hits.faces['gloss'])


def leaves(hits: Hits) -> Appearance:
    """Paint foliage: light and dark clumps."""
    x, y, z = hits.points.T
    clumps = noise(x + 0.7 * z, y - 0.6 * z, 10.0)
    tone = smoothstep(clumps, 0.25, 0.75)
    return Appearance(mix(0.55 * hits.faces['color'], 1.25 * hits.faces['color'], tone), hits.faces['gloss'])


def tiles(hits: Hits) -> Appearance:
    """Paint rows of roof tiles."""
    rows = stripes(hits.v / 0.45, 0.0, 0.3, hits.width_v / 0.45)
    blotch = 0.8 + 0.4 * noise(hits.u + 40 * hits.faces['variant'], hits.v, 40.0)
    return Appearance(hits.faces['color'] * (blotch * (1.06 - 0.3 * rows))[:, None], hits.faces['gloss'])


def striped(hits: Hits) -> Appearance:
    """Paint upright bands of two colors, about 0.35 m wide and adjusted to the face."""
    bands = np.maximum(np.round(hits.faces['extent'][:, 0] / 0.7), 1.0) / hits.faces['extent'][:, 0]
    share = stripes(hits.u * bands, 0.0, 0.5, hits.width_u * bands)
    return Appearance(mix(hits.faces['color'], hits.faces['accent'], share), hits.faces['gloss'])


def mix_scalar(first: np.ndarray, second: float, share: np.ndarray) -> np.ndarray:
    """Mix numbers, as :func:`.textures.mix` mixes colors."""
    return first + (second - first) * share


STORY = 3.1
"""Height of an upper story in :func:`facade`, meters."""
SHOP_HEIGHT = 3.6
"""Height of the ground floor."""
_WINDOW_STYLES = (
    # bay width, window from-to across a bay, from-to up a story
    (2.6, 0.24, 0.76, 0.28, 0.82),
    (3.4, 0.12, 0.88, 0.30, 0.80),
    (1.9, 0.26, 0.74, 0.20, 0.86),
    (4.4, 0.03, 0.97, 0.34, 0.84),
)


def window_bays(variant: np.ndarray, width: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Divide a front into bays.

    Args:
        variant: ``(n,)`` float32 of :class:`.mesh.Surface`. width: ``(n,)`` meters of front.

    Returns:
        width of a bay ``(n,)``, and ``(n, 5)`` the row of the table of styles.
    """
    style = np.float32(_WINDOW_STYLES)[(variant * 97).astype(int) % len(_WINDOW_STYLES)]
    return width / np.maximum(np.round(width / style[:, 0]), 1.0), style


def has_shops(variant: np.ndarray) -> np.ndarray:
    """Return ``(n,)`` whether the ground floor has shop windows."""
    return ((variant * 53) % 1.0) < 0.6


def facade(hits: Hits) -> Appearance:
    """Paint a house front: plaster or brick, windows with frames, a ground floor with shop windows or doors."""
    faces, u, v, wu, wv = hits.faces, hits.u, hits.v, hits.width_u, hits.width_v
    variant = faces['variant']
    bay, style = window_bays(variant, faces['extent'][:, 0])
    house = np.floor(variant * 4096)

    ground = v < SHOP_HEIGHT
    height = np.where(ground, v / SHOP_HEIGHT, (v - SHOP_HEIGHT) / STORY)
    width = np.where(ground, wv / SHOP_HEIGHT, wv / STORY)
    column, story = np.floor(u / bay), np.where(ground, -1.0, np.floor(height))
    shops = has_shops(variant)
    door = ground & (cell(column, house) < 0.3)
    across_low = np.where(ground & shops, 0.06, style[:, 1])
    across_low = np.where(door, 0.5 - 0.65 / bay, across_low)
    across_high = np.where(door, 0.5 + 0.65 / bay, np.where(ground & shops, 0.94, style[:, 2]))
    up_low = np.where(door, 0.0, np.where(ground, np.where(shops, 0.14, 0.3), style[:, 3]))
    up_high = np.where(ground, np.where(shops, 0.74, 0.7), style[:, 4])

    def opening(border: float) -> np.ndarray:
        across = stripes(u / bay, across_low - border, across_high + border, wu / bay)
        return across * pulse(height - np.floor(height), up_low - border, up_high + border, width)

    glass, frame = opening(0.0), opening(0.05)
    # The topmost strip, where no whole story fits, and the cornice below it have no windows.
    top = faces['extent'][:, 1] - SHOP_HEIGHT
    whole = np.floor(top / STORY + 1e-3)
    glass, frame = (np.where(ground | (story < whole), part, 0.0) for part in (glass, frame))

    wall = _wall(hits, house)
    ledge = np.where(ground, 0.0, stripes(height, 0.0, 0.07, width))
    trim = 0.35 + 0.6 * faces['accent']
    wall = mix(wall, trim, np.maximum(0.8 * ledge, np.where(ground, 0.0, frame - glass)))
    sign = np.where(ground & shops, pulse(height, 0.8, 0.97, width), 0.0)
    wall = mix(wall, faces['accent'], np.maximum(sign, np.where(ground, frame - glass, 0.0)))
    inside = cell(column, story, house)
    pane = np.float32([0.05, 0.07, 0.10]) + (inside > 0.72)[:, None] * np.float32([0.34, 0.32, 0.27])
    pane = np.where(door[:, None], 0.35 * faces['accent'], pane)
    return Appearance(mix(wall, pane, glass), 0.9 * glass * ~door)


def _wall(hits: Hits, house: np.ndarray) -> np.ndarray:
    """Paint plaster with stains, or courses of brick."""
    faces, u, v = hits.faces, hits.u, hits.v
    stains = 0.72 + 0.56 * noise(u + 7 * house, v, 60.0)
    brick = ((faces['variant'] * 31) % 1.0) < 0.4
    courses = stripes(v / 0.3, 0.0, 0.16, hits.width_v / 0.3)
    tone = np.where(brick, 1.0 - 0.4 * courses + 0.064, 1.0) * stains
    # Walls are darker where rain splashes and less light arrives.
    return faces['color'] * (tone * (0.72 + 0.28 * smoothstep(v, -0.3, 2.0)))[:, None]


TEXTURES: dict[Material, Callable[[Hits], Appearance]] = {
    Material.MATTE: matte,
    Material.PAVEMENT: pavement,
    Material.GRASS: grass,
    Material.FACADE: facade,
    Material.TILES: tiles,
    Material.LEAVES: leaves,
    Material.LAMP: lamp,
    Material.STRIPES: striped,
}
"""Material to texture; the road is not among them, its paint needs the plan (:mod:`.road`)."""
