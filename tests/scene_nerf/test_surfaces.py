"""Pieces of surface that points lie on."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from projects.DistillNeRF.scene_nerf import surfaces
from projects.DistillNeRF.scene_nerf.surfaces import fit_surfaces, group_by_voxel


def test_normals_of_planes_and_none_of_lines():
    rng = np.random.default_rng(0)
    plane = np.concatenate([rng.uniform(-2, 2, (4000, 2)), np.zeros((4000, 1))], axis=1)
    plane = plane @ np.linalg.qr(rng.normal(size=(3, 3)))[0] + 5
    line = np.linspace(-2, 2, 400)[:, None] * [1.0, 1.0, 0.2] - 20
    found = fit_surfaces(np.concatenate([plane, line]).astype(np.float32), 0.1)
    of_plane = found.centers[:, 0] > 0
    normal = np.linalg.svd(plane - plane.mean(0), full_matrices=False)[2][2]
    np.testing.assert_allclose(np.abs(found.normals[of_plane] @ normal), 1, atol=1e-4)
    assert np.isnan(found.normals[~of_plane]).all()
    assert (found.spacing > 0).all() and found.spacing[of_plane].max() < 0.4


def test_pieces_are_means_of_voxels():
    points = np.random.default_rng(0).uniform(-1, 1, (500, 3)).astype(np.float32)
    found = fit_surfaces(points, 0.5)
    assert len(found.centers) == len({tuple(cell) for cell in np.floor(points / 0.5)}) == 64
    for piece in range(64):
        own = points[found.pieces == piece]
        np.testing.assert_allclose(found.centers[piece], own.mean(0), atol=1e-6)
        assert len({tuple(cell) for cell in np.floor(own / 0.5)}) == 1
    np.testing.assert_array_equal(found.pieces, group_by_voxel(points, 0.5))


def test_few_points():
    for count in range(4):
        found = fit_surfaces(np.ones((count, 3), np.float32) * np.arange(count)[:, None], 0.1)
        assert len(found.centers) == len(found.pieces) == count
        assert np.isnan(found.normals).all() and np.isfinite(found.centers).all()


def test_many_points_are_fitted_part_by_part(monkeypatch: pytest.MonkeyPatch):
    points = np.random.default_rng(0).uniform(-1, 1, (500, 3)).astype(np.float32)
    whole = fit_surfaces(points, 0.2)
    monkeypatch.setattr(surfaces, 'chunks', partial(surfaces.chunks, size=7))
    parts = fit_surfaces(points, 0.2)
    assert len(whole.centers) > 100
    for name in ('centers', 'normals', 'spacing', 'pieces'):
        np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name))
