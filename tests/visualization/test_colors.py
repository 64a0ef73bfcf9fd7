"""Scales of colors by hand."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
import torch

from projects.DistillNeRF.semantics.feature_colors import FeatureColors
from projects.DistillNeRF.visualization.colors import (
    FARTHEST,
    NEAREST,
    SKY_COLOR,
    UNKNOWN_COLOR,
    color_shares,
    depth_to_colors,
    log_shares,
)


def table(colormap: int) -> np.ndarray:
    return cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], colormap)[:, 0, ::-1]


@pytest.mark.parametrize('colormap', [cv2.COLORMAP_TURBO, cv2.COLORMAP_INFERNO])
def test_shares_are_entries_of_the_map_in_rgb(colormap):
    colors = color_shares(np.array([[-1.0, 0, 0.5, 1, 2]]), colormap)
    assert colors.dtype == np.uint8
    np.testing.assert_array_equal(colors, table(colormap)[[[0, 0, 128, 255, 255]]])


def test_turbo_is_usual_and_begins_blue_and_ends_red():
    first, last = color_shares(np.array([0.03, 0.97])).astype(int)
    assert first[2] > first[0] and last[0] > last[2]
    np.testing.assert_array_equal(color_shares(np.array([0.5])), table(cv2.COLORMAP_TURBO)[[128]])


@pytest.mark.filterwarnings('error')
def test_numbers_that_are_not_known_are_dark():
    """Casting NaN to a whole number gives any number, with a warning."""
    colors = color_shares(np.array([[np.nan, 1.0], [np.inf, -np.inf]], np.float32))
    expected = [[UNKNOWN_COLOR, table(cv2.COLORMAP_TURBO)[255]], table(cv2.COLORMAP_TURBO)[[255, 0]]]
    np.testing.assert_array_equal(colors, np.stack([np.stack(row) for row in expected]))
    np.testing.assert_array_equal(color_shares(np.array(np.nan)), UNKNOWN_COLOR)
    np.testing.assert_array_equal(depth_to_colors(np.array([[np.nan]]))[0, 0], UNKNOWN_COLOR)


def test_logarithms_of_depth():
    shares = log_shares(np.array([2.0, 80.0, math.sqrt(160), 1.0, 0.0, np.nan]))
    np.testing.assert_allclose(shares[:3], [0, 1, 0.5], atol=1e-12)
    assert shares[3] == pytest.approx(-math.log(2) / math.log(40)) and np.isfinite(shares[4]) and np.isnan(shares[5])
    assert (NEAREST, FARTHEST) == (2.0, 80.0)
    np.testing.assert_allclose(log_shares(np.array([1.0, 10.0]), 1.0, 100.0), [0, 0.5])


def test_sky_goes_before_unknown_and_unknown_before_depth():
    depth = np.array([[np.nan, np.nan, 5.0, 5.0]])
    colors = depth_to_colors(depth, np.array([[True, False, True, False]]))[0]
    assert [tuple(color) for color in colors[:3]] == [SKY_COLOR, UNKNOWN_COLOR, SKY_COLOR]
    share = math.log(2.5) / math.log(40)
    np.testing.assert_array_equal(colors[3], table(cv2.COLORMAP_TURBO)[round(share * 255)])
    other = depth_to_colors(depth, near=5.0, far=50.0)[0, 3]
    np.testing.assert_array_equal(other, table(cv2.COLORMAP_TURBO)[0])


def known(count: int = 400) -> tuple[torch.Tensor, torch.Tensor]:
    """Points of a known subspace: coordinates ``(n, 3)`` of falling variance, and their features ``(n, 16)``."""
    generator = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(16, 3, generator=generator, dtype=torch.double)).Q.T
    basis = basis * basis.gather(1, basis.abs().argmax(1, keepdim=True)).sign()
    coordinates = torch.rand(count, 3, generator=generator, dtype=torch.double) * torch.tensor([9.0, 3.0, 1.0])
    return coordinates, coordinates @ basis + 5


def test_the_colors_are_the_coordinates_of_the_subspace():
    coordinates, features = known(20_000)
    colors = torch.from_numpy(FeatureColors.fit(features).colors(features)).double() / 255
    low, high = coordinates.quantile(torch.tensor([0.02, 0.98], dtype=torch.double), dim=0)
    torch.testing.assert_close(colors, ((coordinates - low) / (high - low)).clamp(0, 1), atol=0.03, rtol=0)


def test_the_same_feature_has_the_same_color_in_every_camera():
    features = known(600)[1].view(6, 10, 10, 16)
    features[4, 2, 3] = features[1, 7, 7]
    colors = FeatureColors.fit(features)
    images = np.stack([colors.colors(camera) for camera in features])
    assert images.shape == (6, 10, 10, 3) and images.dtype == np.uint8
    assert np.array_equal(images[4, 2, 3], images[1, 7, 7])
    assert np.array_equal(images, colors.colors(features))


def test_signs_do_not_depend_on_the_order_of_what_is_fitted():
    _, features = known()
    first, second = FeatureColors.fit(features), FeatureColors.fit(features.flip(0))
    assert np.array_equal(first.colors(features), second.colors(features))


def test_few_outliers_do_not_darken_the_rest():
    _, features = known()
    plain = FeatureColors.fit(features).colors(features)
    outlier = features.mean(0) + 20 * (features[0] - features.mean(0))
    spoilt = FeatureColors.fit(torch.cat([features, outlier[None]])).colors(features)
    assert spoilt.std(0).min() > plain.std(0).min() / 2


def test_what_is_unknown_is_black_and_does_not_count():
    _, features = known()
    fitted = FeatureColors.fit(torch.cat([features, torch.full((9, 16), torch.nan, dtype=torch.double)]))
    assert np.array_equal(fitted.colors(features), FeatureColors.fit(features).colors(features))
    assert fitted.colors(torch.full((2, 16), torch.nan)).tolist() == [[0, 0, 0]] * 2
    with pytest.raises(ValueError, match='finite'):
        FeatureColors.fit(torch.full((2, 16), torch.nan))


@pytest.mark.parametrize('features', [torch.ones(5, 4), torch.arange(5.0)[:, None], torch.zeros(1, 2)])
def test_features_without_three_dimensions(features):
    colors = FeatureColors.fit(features).colors(features)
    assert colors.shape == (len(features), 3)
    assert (colors[:, 1:] == 128).all()
