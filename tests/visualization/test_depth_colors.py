"""Scales of colors by hand."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from projects.DistillNeRF.visualization.colors import (
    FARTHEST,
    NEAREST,
    SKY_COLOUR,
    UNKNOWN_COLOUR,
    colour_shares,
    depth_to_colours,
    log_shares,
)


def table(colormap: int) -> np.ndarray:
    return cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], colormap)[:, 0, ::-1]


@pytest.mark.parametrize('colormap', [cv2.COLORMAP_TURBO, cv2.COLORMAP_INFERNO])
def test_shares_are_entries_of_the_map_in_rgb(colormap):
    colours = colour_shares(np.array([[-1.0, 0, 0.5, 1, 2]]), colormap)
    assert colours.dtype == np.uint8
    np.testing.assert_array_equal(colours, table(colormap)[[[0, 0, 128, 255, 255]]])


def test_turbo_is_usual_and_begins_blue_and_ends_red():
    first, last = colour_shares(np.array([0.03, 0.97])).astype(int)
    assert first[2] > first[0] and last[0] > last[2]
    np.testing.assert_array_equal(colour_shares(np.array([0.5])), table(cv2.COLORMAP_TURBO)[[128]])


def test_logarithms_of_depth():
    shares = log_shares(np.array([2.0, 80.0, math.sqrt(160), 1.0, 0.0, np.nan]))
    np.testing.assert_allclose(shares[:3], [0, 1, 0.5], atol=1e-12)
    assert shares[3] == pytest.approx(-math.log(2) / math.log(40)) and np.isfinite(shares[4]) and np.isnan(shares[5])
    assert (NEAREST, FARTHEST) == (2.0, 80.0)
    np.testing.assert_allclose(log_shares(np.array([1.0, 10.0]), 1.0, 100.0), [0, 0.5])


def test_sky_goes_before_unknown_and_unknown_before_depth():
    depth = np.array([[np.nan, np.nan, 5.0, 5.0]])
    colours = depth_to_colours(depth, np.array([[True, False, True, False]]))[0]
    assert [tuple(colour) for colour in colours[:3]] == [SKY_COLOUR, UNKNOWN_COLOUR, SKY_COLOUR]
    share = math.log(2.5) / math.log(40)
    np.testing.assert_array_equal(colours[3], table(cv2.COLORMAP_TURBO)[round(share * 255)])
    other = depth_to_colours(depth, near=5.0, far=50.0)[0, 3]
    np.testing.assert_array_equal(other, table(cv2.COLORMAP_TURBO)[0])
