"""The sky that LiDAR tells: never where something is, and most of the open sky."""

from __future__ import annotations

import numpy as np
import pytest

from projects.DistillNeRF.pipelines import SkyFromLidar
from projects.DistillNeRF.pipelines.lidar_depth import GAP, SIDE, sky_above_returns
from projects.DistillNeRF.utils.errors import InputError
from tests.helpers.boxworld import BoxWorld
from tests.helpers.dataset import build_dataset

# 40 rows from 20 degrees above the horizon to 19 below it.
ELEVATION = np.repeat(20.0 - np.arange(40)[:, None], 30, axis=1)


def returns(*columns: tuple[slice, int]) -> np.ndarray:
    """Ground below the horizon, and returns up to an elevation in the given columns."""
    known = ELEVATION < 0
    for where, height in columns:
        known[:, where] |= ELEVATION[:, where] <= height
    return known


def test_sky_is_what_lies_above_low_returns():
    sky = sky_above_returns(returns((slice(0, 10), 5), (slice(10, 20), 15)), ELEVATION, ceiling=15.0)
    assert sky.dtype == np.uint8 and set(np.unique(sky)) == {0, 1}
    low = slice(0, 10 - SIDE)
    assert (sky[:, low] == (ELEVATION[:, low] > 5 + GAP)).all(), 'from above the house to the upper edge'
    assert not sky[:, 10 - SIDE : 20 + SIDE].any(), 'a house up to the highest beams may go on above them'
    assert (sky[:, 20 + SIDE :] == (ELEVATION[:, 20 + SIDE :] > GAP - 1)).all()


def test_nothing_is_sky_without_returns_or_below_the_horizon():
    assert not sky_above_returns(np.zeros_like(ELEVATION, bool), ELEVATION, 15.0).any()
    holes = ELEVATION < -10
    assert not sky_above_returns(holes, ELEVATION, 15.0)[ELEVATION <= 0].any()
    single = sky_above_returns(np.array([[True]]), np.array([[3.0]]), 15.0)
    assert single.shape == (1, 1) and not single.any()


@pytest.fixture(scope='module')
def pipeline() -> list[dict]:
    return [{'type': name} for name in ('LoadViews', 'LoadLidarDepth')] + [
        {'type': 'SkyFromLidar', 'ceiling': 9.0},
        {'type': 'LoadTruth'},
        {'type': 'PackViews'},
    ]


def test_sky_of_the_box_world_is_sky(box_root, pipeline):
    """Beams reach 9 degrees up, boxes 3 m at 9 m distance (8 degrees above the LiDAR): their columns are not open."""
    views = build_dataset(box_root, load_truth=True, pipeline=pipeline)[0]['inputs']['input_views']
    truth = views.true_depth.isnan().view(6, 30, 2, 50, 2).all(dim=4).all(dim=2)
    told = views.sky_mask > 0
    assert told.any(dim=(1, 2)).all() and not (told & ~truth).any()
    assert (told & truth).sum() > 0.3 * truth.sum()


def test_without_lidar_no_sky_is_known(tmp_path, pipeline):
    BoxWorld(frames=2, lidar_frames=(1,)).write(tmp_path)
    assert not build_dataset(tmp_path, pipeline=pipeline)[0]['inputs']['input_views'].sky_mask.any()


def test_two_sources_of_sky_are_refused(box_root, pipeline):
    dataset = build_dataset(box_root, load_teacher=True, pipeline=pipeline)
    with pytest.raises(InputError, match='SkyFromLidar and load_teacher=True both give sky masks'):
        dataset[0]


def test_the_ceiling_is_given():
    with pytest.raises(TypeError):
        SkyFromLidar()
