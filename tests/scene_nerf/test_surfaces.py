"""Pieces of surface that points lie on."""

from __future__ import annotations

import numpy as np

from projects.DistillNeRF.scene_nerf.surfaces import fit_surfaces, group_by_voxel


def test_normals_of_planes_and_none_of_lines():
    rng = np.random.default_rng(0)
    plane = np.concatenate([rng.uniform(-2, 2, (4000, 2)), np.zeros((4000, 1))], axis=1)
    plane = plane @ np.linalg.qr(rng.normal(size=(3, 3)))[0] + 5
    line = np.linspace(-2, 2, 400)[:, None] * [1.0, 1.0, 0.2] - 20
    surfaces = fit_surfaces(np.concatenate([plane, line]).astype(np.float32), 0.1)
    of_plane = surfaces.centers[:, 0] > 0
    normal = np.linalg.svd(plane - plane.mean(0), full_matrices=False)[2][2]
    np.testing.assert_allclose(np.abs(surfaces.normals[of_plane] @ normal), 1, atol=1e-4)
    assert np.isnan(surfaces.normals[~of_plane]).all()
    assert (surfaces.spacing > 0).all() and surfaces.spacing[of_plane].max() < 0.4


def test_pieces_are_means_of_voxels():
    points = np.random.default_rng(0).uniform(-1, 1, (500, 3)).astype(np.float32)
    surfaces = fit_surfaces(points, 0.5)
    assert len(surfaces.centers) == len({tuple(cell) for cell in np.floor(points / 0.5)}) == 64
    for piece in range(64):
        own = points[surfaces.pieces == piece]
        np.testing.assert_allclose(surfaces.centers[piece], own.mean(0), atol=1e-6)
        assert len({tuple(cell) for cell in np.floor(own / 0.5)}) == 1
    np.testing.assert_array_equal(surfaces.pieces, group_by_voxel(points, 0.5))


def test_few_points():
    for count in range(4):
        surfaces = fit_surfaces(np.ones((count, 3), np.float32) * np.arange(count)[:, None], 0.1)
        assert len(surfaces.centers) == len(surfaces.pieces) == count
        assert np.isnan(surfaces.normals).all() and np.isfinite(surfaces.centers).all()
