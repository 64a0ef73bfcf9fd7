"""Sky above returns, column by column, and elevations of pixels, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from projects.DistillNeRF.pipelines.lidar_depth import SkyFromLidar, sky_above_returns
from projects.DistillNeRF.utils.errors import InputError


def test_one_column_by_hand():
    """Rows at 12, 10, ... degrees; the highest return, at 4 degrees, is 9 below the ceiling: two rows stay unknown."""
    elevation = np.arange(12.0, -8, -2)[:, None]
    known = np.zeros((10, 1), bool)
    known[[4, 7]] = True
    assert sky_above_returns(known, elevation, 13.0)[:, 0].tolist() == [1, 1] + [0] * 8
    # At 3 degrees below the ceiling a column is no longer open.
    assert not sky_above_returns(known, elevation, 7.0).any()
    assert sky_above_returns(known, elevation, 7.1).any()


def test_returns_count_for_three_columns_to_each_side():
    elevation = np.repeat(np.arange(12.0, -8, -2)[:, None], 9, axis=1)
    known = np.zeros((10, 9), bool)
    known[6, 4] = True
    sky = sky_above_returns(known, elevation, 13.0)
    assert sky[0].tolist() == [0] + [1] * 7 + [0]
    assert sky[:, 4].tolist() == [1, 1, 1, 1] + [0] * 6
    # What is higher counts, also in a neighbouring column.
    known[2, 4] = True
    assert not sky_above_returns(known, elevation, 10.9).any()


def test_nothing_below_the_horizon_is_sky():
    elevation = np.array([2.0, 0.0, -2, -4, -6, -8])[:, None]
    known = np.zeros((6, 1), bool)
    known[5] = True
    assert sky_above_returns(known, elevation, 13.0)[:, 0].tolist() == [1, 0, 0, 0, 0, 0]


def test_elevations_are_those_of_the_middle_of_every_cell():
    """A level camera that looks along +y: 40 rows of pixels in 8 cells, focal length 20, the horizon at row 19.5."""
    cam2world = np.array([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
    depth = np.full((8, 1), np.nan, np.float32)
    depth[7] = 5.0
    view = {
        'lidar_depth': depth,
        'height': 40,
        'width': 5,
        'intrinsics': np.array([[20.0, 0, 2], [0, 20, 19.5], [0, 0, 1]]),
        'cam2world': cam2world,
    }

    def sky(ceiling: float) -> list[int]:
        results = SkyFromLidar(ceiling).transform({'views': {'a': dict(view)}})
        return results['views']['a']['sky_mask'][:, 0].tolist()

    # Middles of cells at rows 2, 7, 12, 17, 22, ...: the first four look up.
    assert sky(60.0) == [1, 1, 1, 1, 0, 0, 0, 0]
    # Row 17 is 2.5 / 20 above the horizon, 7.1 degrees: with a return there the column is open from 10.2 degrees on.
    depth[3] = 5.0
    assert sky(10.1) == [0] * 8 and sky(10.2) == [1] + [0] * 7


@pytest.mark.parametrize('key', ['sky_mask', 'teacher'])
def test_a_second_source_of_sky_is_refused(key):
    with pytest.raises(InputError, match='both give sky masks'):
        SkyFromLidar(9.0).transform({'views': {'a': {key: None}}})


def test_views_without_lidar_are_left_alone():
    assert SkyFromLidar(9.0).transform({'views': {'a': {'img_path': 'x'}}})['views']['a'] == {'img_path': 'x'}
