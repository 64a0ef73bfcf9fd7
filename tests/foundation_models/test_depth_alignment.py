"""Scale and shift of estimated depth."""

from __future__ import annotations

import numpy as np
import pytest

from projects.DistillNeRF.foundation_models.depth_alignment import Alignment, align


def points(seed: int = 0, count: int = 400) -> np.ndarray:
    """Depths as a LiDAR on a car sees them, meters."""
    return np.exp(np.random.default_rng(seed).uniform(np.log(3), np.log(70), count))


@pytest.mark.parametrize('inverse', [False, True])
@pytest.mark.parametrize(('scale', 'shift'), [(1.3, 0.0), (0.02, 0.004), (40.0, -1.5)])
def test_scale_and_shift_are_found_exactly_without_noise(inverse, scale, shift):
    z = points()
    output = ((1 / z if inverse else z) - shift) / scale
    fit = align(output, z, inverse)
    assert (fit.scale, fit.shift) == pytest.approx((scale, shift), rel=1e-6, abs=1e-9)
    assert fit.points == 400 and fit.residual < 1e-5 and fit.outliers == 0
    np.testing.assert_allclose(fit.depth(output), z, rtol=1e-5)


@pytest.mark.parametrize('inverse', [False, True])
def test_points_that_the_camera_cannot_see_do_not_turn_the_fit(inverse):
    z = points(1)
    output = (1 / z if inverse else z) / 2.0
    hidden = np.random.default_rng(2).random(len(z)) < 0.4
    measured = np.where(hidden, z * np.random.default_rng(3).uniform(1.5, 6, len(z)), z)
    measured *= np.exp(np.random.default_rng(4).normal(0, 0.01, len(z)))
    fit = align(output, measured, inverse)
    assert np.median(np.abs(fit.depth(output) - z)[~hidden] / z[~hidden]) < 0.01
    assert 0.25 < fit.outliers < 0.45
    # Ordinary least squares would not do.
    y = 1 / measured if inverse else measured
    plain = Alignment(*np.polyfit(output, y, 1), inverse=inverse)
    assert np.median(np.abs(plain.depth(output) - z) / z) > 0.05


def test_residual_is_the_median_relative_error_of_depth():
    z = points(5, 4001)
    noise = np.exp(np.random.default_rng(6).normal(0, 0.1, len(z)))
    fit = align(z * noise, z, inverse=False)
    assert fit.residual == pytest.approx(0.6745 * 0.1, rel=0.1)
    assert fit.residual == pytest.approx(np.median(np.abs(fit.depth(z * noise) - z) / z), rel=1e-6)


def test_too_few_points_and_outputs_that_are_all_alike_tell_nothing():
    z = points()
    assert align(z[:49], z[:49], False) is None
    assert align(np.full(400, 7.0), z, False) is None
    assert align(np.zeros(400), z, True) is None
    assert align(np.full(400, np.nan), z, False) is None
    assert align(z[:50], z[:50], False) is not None


def test_unknown_outputs_and_points_are_left_out():
    z = points()
    output = z / 3
    output[::5], z[1::5] = np.nan, np.nan
    fit = align(output, z, inverse=False)
    assert fit.points == 240 and fit.scale == pytest.approx(3)


def test_depth_where_inverse_depth_was_said_has_a_falling_scale():
    z = points()
    assert align(z, z, inverse=True).scale < 0
    assert align(1 / z, z, inverse=False).scale < 0


def test_what_lies_behind_the_camera_or_at_infinity_is_unknown():
    inverse = Alignment(1.0, 0.0, inverse=True)
    np.testing.assert_array_equal(inverse.depth(np.array([[0.5, 0.0, -0.1, np.nan]])), [[2, np.nan, np.nan, np.nan]])
    np.testing.assert_array_equal(Alignment(2.0, -1.0, False).depth(np.array([2.0, 0.5, 0.1])), [3, np.nan, np.nan])
