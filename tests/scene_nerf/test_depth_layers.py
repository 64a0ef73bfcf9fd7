"""Gaps in surfaces, and the sky above what came back."""

from __future__ import annotations

import numpy as np

from projects.DistillNeRF.scene_nerf.depth_layers import EDGE, GAP, MARGIN, SIDE, close_gaps, open_sky


def _plane() -> np.ndarray:
    """Return ``(12, 10, 2)`` z of a plane, and something that is linear in the image."""
    v, u = np.mgrid[:12, :10].astype(np.float64)
    return np.stack([1 / (0.1 + 0.002 * v + 0.001 * u), 3 * v - u], axis=-1)


def test_gaps_of_a_plane_are_closed_exactly():
    whole = _plane()
    holes = whole.copy()
    holes[4:7, 2] = np.nan
    holes[3, 5:8] = np.nan
    holes[9, 3:] = np.nan
    np.testing.assert_allclose(close_gaps(holes, (3, 3), 1.2), whole, rtol=1e-12)
    holes[:, 4] = np.nan
    np.testing.assert_allclose(close_gaps(holes, (3, 3), 1.2), whole, rtol=1e-12)
    assert np.isnan(holes).any()


def test_what_is_no_gap_stays_open():
    layers = _plane()
    layers[:3], layers[-2:] = np.nan, np.nan
    np.testing.assert_array_equal(close_gaps(layers, (3, 3), 1.2), layers)
    # Too long down and across.
    long = _plane()
    long[3:7, 2:6] = np.nan
    np.testing.assert_array_equal(close_gaps(long, (3, 3), 1.2), long)
    # Two surfaces.
    step = _plane()
    step[6:], step[5] = 2 * step[6:], np.nan
    flat = close_gaps(step, (3, 0), 1.2)
    np.testing.assert_array_equal(flat, step)
    assert np.isfinite(close_gaps(step, (3, 0), 3.0)).all()


def _view(rows: int = 40, columns: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return known, beams and rays of a street with a low wall that ends at row 15; the horizon is at row 25."""
    rays = np.tile(np.linspace(25, -15, rows)[:, None], (1, columns))
    known = np.tile(np.arange(rows)[:, None] >= 15, (1, columns))
    return known, np.where(known, rays, np.nan), rays


def test_open_columns_have_sky_above_what_came_back():
    known, beams, rays = _view()
    sky = open_sky(known, beams, rays, 15.0, 5.0)
    np.testing.assert_array_equal(sky, np.arange(40)[:, None] < np.full(60, 15 - GAP))
    # What can be told begins higher.
    np.testing.assert_array_equal(open_sky(known, beams, rays, 15.0, 20.0), rays > 20)


def test_columns_up_to_the_ceiling_stay_unknown():
    known, beams, rays = _view()
    beams[15 + EDGE, 30] = 15 - MARGIN
    sky = open_sky(known, beams, rays, 15.0, 5.0)
    assert not sky[:, 30 - SIDE : 31 + SIDE].any()
    assert sky[: 15 - GAP, : 30 - SIDE].all() and sky[: 15 - GAP, 31 + SIDE :].all()
    # A beam that went as high far below the highest depth of the column tells nothing.
    beams[15 + EDGE, 30], beams[30, 30] = 0, 15
    assert open_sky(known, beams, rays, 15.0, 5.0)[: 15 - GAP].all()


def test_columns_where_nothing_came_back_stay_unknown():
    known, beams, rays = _view()
    known[:, 20:40] = False
    sky = open_sky(known, beams, rays, 15.0, 5.0)
    assert not sky[:, 20 + SIDE : 40 - SIDE].any() and sky[0, :20].all()
    assert not open_sky(np.zeros_like(known), beams, rays, 15.0, 5.0).any()
