"""From hits to colors: textures, sun, sky light, reflections, haze, tone curve."""

from __future__ import annotations

import numpy as np

from .materials import TEXTURES, Appearance, Hits, Material
from .road import road
from .sky import Weather
from .textures import mix, smoothstep
from .town_plan import Plan

_EXPOSURE, _WHITE, _CONTRAST = 0.95, 3.0, 0.35


def appearance_of(
    points: np.ndarray, directions: np.ndarray, spread: np.ndarray, faces: np.ndarray, plan: Plan
) -> Appearance:
    """Evaluate the texture of every hit.

    Args:
        points: ``(n, 3)`` float64 hit points.
        directions: ``(n, 3)`` unit directions of the rays.
        spread: ``(n,)`` width of a pixel at the hit, across the ray, meters.
        faces: ``(n,)`` records of :data:`.mesh.FACE`.
        plan: where the road paint is.
    """
    appearance = Appearance(
        np.zeros((len(faces), 3), np.float32), np.zeros(len(faces), np.float32), np.zeros((len(faces), 3), np.float32)
    )
    for material in np.unique(faces['material']):
        rows = np.flatnonzero(faces['material'] == material)
        hits = _hits(points[rows], directions[rows], spread[rows], faces.take(rows))
        part = road(hits, plan) if material == Material.ROAD else TEXTURES[Material(material)](hits)
        appearance.albedo[rows], appearance.gloss[rows] = part.albedo, part.gloss
        if part.glow is not None:
            appearance.glow[rows] = part.glow
    return appearance


def _hits(points: np.ndarray, directions: np.ndarray, spread: np.ndarray, faces: np.ndarray) -> Hits:
    """Compute texture coordinates.

    A pixel is wider on the face along an axis by how much the ray grazes along that axis.
    """
    offset = (points - faces['anchor']).astype(np.float32)
    steep = np.einsum('nc,nc->n', directions, faces['normal']).astype(np.float32)
    steep = np.copysign(np.maximum(np.abs(steep), 0.02), steep)
    coordinates, widths = [], []
    for axis in (faces['u'], faces['v']):
        coordinates.append(np.einsum('nc,nc->n', offset, axis))
        slide = np.einsum('nc,nc->n', directions.astype(np.float32), axis) / steep
        widths.append(spread * np.sqrt(1.0 + slide * slide))
    return Hits(points.astype(np.float32), *coordinates, *widths, faces)


def facing_normals(faces: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Return the normals ``(n, 3)`` of ``faces``, float64, turned toward where the rays come from."""
    normals = faces['normal']
    away = np.einsum('nc,nc->n', normals, directions) > 0.0
    return np.where(away[:, None], -normals, normals)


def radiance(
    appearance: Appearance,
    normals: np.ndarray,
    directions: np.ndarray,
    lit: np.ndarray,
    dark: np.ndarray,
    distances: np.ndarray,
    weather: Weather,
) -> np.ndarray:
    """Compute the light that leaves the hits toward the camera, through the haze.

    Args:
        appearance: what the surfaces at the n hits do with light.
        normals: ``(n, 3)`` facing the camera. directions: ``(n, 3)`` unit, from the camera.
        lit: ``(n,)`` share of the sun that reaches the hit. dark: ``(n,)`` share of the sky light that does not.
        distances: ``(n,)`` meters.
        weather: sun, sky and haze.
    """
    normals, directions = normals.astype(np.float32), directions.astype(np.float32)
    sun = weather.sun.astype(np.float32)
    toward_sun = np.maximum(normals @ sun, 0.0) * lit
    light = toward_sun[:, None] * weather.sunlight + weather.ambient(normals) * (1.0 - dark)[:, None]
    color = appearance.albedo * light + appearance.glow
    rows = np.flatnonzero(appearance.gloss > 0.0)
    if len(rows):
        color[rows] = _with_reflection(
            color[rows], appearance.gloss[rows], normals[rows], directions[rows], lit[rows], weather
        )
    haze = 1.0 - np.exp(-((distances.astype(np.float32) / weather.haze) ** 1.2))
    return mix(color, weather.veil(directions), haze)


def _with_reflection(
    color: np.ndarray,
    gloss: np.ndarray,
    normals: np.ndarray,
    directions: np.ndarray,
    lit: np.ndarray,
    weather: Weather,
) -> np.ndarray:
    """Mix the mirrored sky (or the street, below the roofs) into ``color``."""
    cosine = np.clip(-np.einsum('nc,nc->n', normals, directions), 0.0, 1.0)
    mirrored = directions + 2.0 * cosine[:, None] * normals
    share = gloss * (0.12 + 0.88 * (1.0 - cosine) ** 4)
    sky = mix(weather.horizon, weather.zenith[None], np.sqrt(np.maximum(mirrored[:, 2], 0.0)))
    scene = mix(np.float32([0.22, 0.20, 0.18]), sky, smoothstep(mirrored[:, 2], 0.05, 0.45))
    highlight = lit * np.maximum(mirrored @ weather.sun.astype(np.float32), 0.0) ** 90
    return mix(color, scene, share) + (gloss * 1.5 * highlight)[:, None] * weather.sunlight


def to_bytes(color: np.ndarray) -> np.ndarray:
    """Convert linear RGB to 8-bit sRGB with a soft shoulder."""
    exposed = np.maximum(color, 0.0) * _EXPOSURE
    toned = exposed * (1.0 + exposed / _WHITE**2) / (1.0 + 0.55 * exposed)
    encoded = np.clip(toned, 0.0, 1.0) ** np.float32(1 / 2.2)
    encoded = mix(encoded, encoded * encoded * (3.0 - 2.0 * encoded), np.full(len(encoded), _CONTRAST, np.float32))
    return np.clip(encoded * 255.0 + 0.5, 0.0, 255.0).astype(np.uint8)
