"""Weather: the sun, the sky with clouds, and the haze."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .textures import mix, noise, smoothstep

_SUN_SIZE = np.cos(np.radians(1.6))


@dataclass(frozen=True)
class Weather:
    """Light of one scene; colors are linear RGB.

    Attributes:
        sun: ``(3,)`` unit direction toward the sun.
        sunlight: ``(3,)`` irradiance of a surface facing the sun.
        zenith, horizon: ``(3,)`` colors of the sky overhead and low down.
        cover: share of the sky under clouds, 0 to 1.
        haze: meters after which haze hides 63 % of what lies behind.
        drift: ``(2,)`` offset of the clouds.
    """

    sun: np.ndarray
    sunlight: np.ndarray
    zenith: np.ndarray
    horizon: np.ndarray
    cover: float
    haze: float
    drift: np.ndarray

    @classmethod
    def random(cls, rng: np.random.Generator) -> Weather:
        """Draw a dry day between morning and evening."""
        azimuth, elevation = rng.uniform(0.0, 2 * np.pi), np.radians(rng.uniform(32.0, 58.0))
        sun = np.array([np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)])
        warmth = rng.uniform(0.0, 1.0)
        tint = np.array([1.0, 0.95 - 0.08 * warmth, 0.86 - 0.22 * warmth])
        zenith = np.array([0.16, 0.34, 0.72]) * rng.uniform(0.85, 1.1)
        horizon = np.array([0.62, 0.72, 0.82]) + warmth * np.array([0.14, 0.0, -0.12])
        return cls(
            sun=sun,
            sunlight=(2.3 * tint).astype(np.float32),
            zenith=zenith.astype(np.float32),
            horizon=horizon.astype(np.float32),
            cover=float(rng.uniform(0.25, 0.6)),
            haze=float(rng.uniform(380.0, 800.0)),
            drift=rng.uniform(0.0, 100.0, 2).astype(np.float32),
        )

    def color(self, directions: np.ndarray) -> np.ndarray:
        """Return the radiance ``(n, 3)`` of the sky along unit ``directions`` ``(n, 3)``, sun and clouds included."""
        up = np.maximum(directions[:, 2], 0.0)
        blue = mix(self.horizon, self.zenith[None], np.sqrt(up) * (1.6 - 0.6 * up))
        toward_sun = directions @ self.sun.astype(np.float32)
        glow = 0.35 * np.maximum(toward_sun, 0.0) ** 24
        # Clouds lie on a plane overhead, which the ray meets at direction / up.
        above = 1.0 / np.maximum(up, 0.04)
        field = noise(directions[:, 0] * above + self.drift[0], directions[:, 1] * above + self.drift[1], 22.0)
        edge = 0.72 - 0.42 * self.cover
        cloud = smoothstep(field, edge, edge + 0.22) * smoothstep(up, 0.03, 0.16)
        shade = 1.05 - 0.45 * smoothstep(field, edge + 0.12, edge + 0.45)
        seen = mix(blue, np.float32([1.0, 1.0, 1.02]) * shade[:, None], 0.92 * cloud)
        seen = seen + glow[:, None] * self.sunlight * 0.4
        disc = smoothstep(toward_sun, _SUN_SIZE - 0.0006, _SUN_SIZE + 0.0002) * (1.0 - 0.8 * cloud)
        return seen + disc[:, None] * np.float32([6.0, 5.6, 4.6])

    def veil(self, directions: np.ndarray) -> np.ndarray:
        """Return the color ``(n, 3)`` of the haze along ``directions``: the low sky, brighter toward the sun."""
        toward_sun = np.maximum(directions @ self.sun.astype(np.float32), 0.0)
        return self.horizon * (0.9 + 0.25 * toward_sun[:, None] ** 6)

    def ambient(self, normals: np.ndarray) -> np.ndarray:
        """Return the light ``(n, 3)`` of sky and ground on faces with ``normals``."""
        up = 0.5 + 0.5 * normals[:, 2]
        sky = 0.55 * self.zenith + 0.45 * self.horizon
        ground = np.float32([0.20, 0.18, 0.16])
        # A little light from one side keeps shaded walls of different directions apart.
        side = 1.0 + 0.18 * normals[:, 0] + 0.10 * normals[:, 1]
        return (mix(ground, sky[None], up) * side[:, None]).astype(np.float32)
