"""Discs drawn into a depth image, against a slow version."""

from __future__ import annotations

import numpy as np

from projects.DistillNeRF.scene_nerf.splatting import FLATTEST, blend, nearest_depth

HEIGHT, WIDTH, NEAREST = 20, 30, 0.5
INTRINSICS = np.array([[25.0, 0, 14.5], [0, 25.0, 9.5], [0, 0, 1]])


def _directions() -> np.ndarray:
    v, u = np.mgrid[:HEIGHT, :WIDTH]
    return np.ascontiguousarray(np.stack([u, v, np.ones_like(u)], axis=-1) @ np.linalg.inv(INTRINSICS).T)


def _discs(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    centers = rng.uniform([-4, -3, -2], [4, 3, 12], (count, 3))
    normals = rng.normal(size=(count, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    normals[::3] = np.nan
    return centers, normals, rng.uniform(0.01, 0.8, count)


def _slow(centers, normals, radii) -> tuple[np.ndarray, np.ndarray]:
    """Return z and weights ``(m, h, w)`` of each disc in each pixel; infinite and 0 where it is not met."""
    directions = _directions()
    depths, weights = np.full((len(centers), HEIGHT, WIDTH), np.inf), np.zeros((len(centers), HEIGHT, WIDTH))
    for m, (center, normal, radius) in enumerate(zip(centers, normals, radii, strict=True)):
        if center[2] < NEAREST:
            continue
        z = np.full((HEIGHT, WIDTH), center[2])
        flat = np.zeros((HEIGHT, WIDTH), bool)
        if not np.isnan(normal[0]):
            slope = directions @ normal
            flat = np.abs(slope) < FLATTEST * np.linalg.norm(directions, axis=-1)
            z = normal @ center / slope
        apart = np.linalg.norm(directions * z[..., None] - center, axis=-1)
        size = np.maximum(radius, 0.5 * z / 25)
        # No disc reaches beyond the pixels of a ball of its radius.
        pixels = INTRINSICS @ (center / center[2])
        v, u = np.mgrid[:HEIGHT, :WIDTH]
        reach = max(radius * 25 / center[2], 0.5)
        near = (np.abs(u - pixels[0]) <= reach) & (np.abs(v - pixels[1]) <= reach)
        met = near & ~flat & (z > 0) & (apart < size)
        depths[m][met], weights[m][met] = z[met], (1 - (apart / size)[met] ** 2) + 1e-6
    return depths, weights


def test_the_same_as_a_slow_version():
    centers, normals, radii = _discs(150)
    values = np.random.default_rng(1).normal(size=(150, 2))
    view = (INTRINSICS, _directions(), NEAREST)
    front = nearest_depth(centers, normals, radii, *view)
    depths, weights = _slow(centers, normals, radii)
    np.testing.assert_allclose(front, depths.min(0), rtol=1e-9)
    assert 0.2 < np.isfinite(front).mean() < 1
    drawn = blend(centers, normals, radii, values, *view, front, 0.05)
    weights = np.where(depths <= front * 1.05, weights, 0)
    known = weights.sum(0) > 0
    np.testing.assert_array_equal(np.isfinite(drawn[..., 0]), known)
    layers = np.concatenate(
        [np.where(weights > 0, depths, 0)[..., None], np.tile(values[:, None, None], (1, 20, 30, 1))], 3
    )
    expected = (weights[..., None] * layers).sum(0)[known] / weights.sum(0)[known][:, None]
    np.testing.assert_allclose(drawn[known], expected, rtol=1e-9, atol=1e-12)


def test_a_plane_has_its_exact_depth():
    x, y = (side.reshape(-1) for side in np.meshgrid(np.arange(-8, 8, 0.2), np.arange(-8, 8, 0.2)))
    normal = np.array([0.3, -0.2, 1.0]) / np.linalg.norm([0.3, -0.2, 1.0])
    z = (5 * normal[2] - normal[0] * x - normal[1] * y) / normal[2]
    discs = np.stack([x, y, z], axis=1), np.tile(normal, (len(x), 1)), np.full(len(x), 0.2)
    view = (INTRINSICS, _directions(), NEAREST)
    drawn = blend(*discs, np.zeros((len(x), 1)), *view, nearest_depth(*discs, *view), 0.02)
    np.testing.assert_allclose(drawn[..., 0], 5 * normal[2] / (_directions() @ normal), rtol=1e-9)


def test_nothing_to_draw():
    nothing = np.empty((0, 3)), np.empty((0, 3)), np.empty(0)
    view = (INTRINSICS, _directions(), NEAREST)
    front = nearest_depth(*nothing, *view)
    assert np.isinf(front).all()
    drawn = blend(*nothing, np.empty((0, 1)), *view, front, 0.02)
    assert drawn.shape == (HEIGHT, WIDTH, 2) and np.isnan(drawn).all()
