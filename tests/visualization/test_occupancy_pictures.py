"""Maps and pages of grids: what lies where, in which color."""

from __future__ import annotations

import numpy as np
import pytest

from projects.DistillNeRF.semantics.occ3d import FREE, SHAPE, voxel_indices
from projects.DistillNeRF.visualization import voxel_page
from projects.DistillNeRF.visualization.occupancy_pictures import (
    BORDER,
    CLASS_COLORS,
    DARKEST,
    FREE_COLOR,
    LINE,
    SCALE,
    UNSEEN_GRAY,
    UNSEEN_SHARE,
    compare_from_above,
    map_from_above,
    write_grid_page,
)
from tests.helpers.grids import BUS, CAR, ROAD, TRUCK, block, empty, street

# A grid that no turn or mirror maps onto itself: a car 10 m ahead and 4 m to the left of the ego, a bus 20 m behind
# and 10 m to the right, twice as high.
AHEAD_LEFT, BEHIND_RIGHT = (10.1, 4.1, 0.1), (-20.1, -10.1, 0.1)


def corner_grid() -> np.ndarray:
    grid = empty()
    for place, kind, height in ((AHEAD_LEFT, CAR, 1), (BEHIND_RIGHT, BUS, 2)):
        (i, j, k), *_ = voxel_indices(np.array([place]))[0]
        grid[i, j, k : k + height] = kind
    return grid


def color(kind: int, level: int) -> np.ndarray:
    """The color of a class, as bright as its height says."""
    return np.round(CLASS_COLORS[kind] * (DARKEST + (1 - DARKEST) * level / (SHAPE[2] - 1)))


def test_forward_is_up_and_left_is_left():
    """Row 0 is 40 m ahead, column 0 40 m to the left; a voxel is 0.4 m."""
    picture = map_from_above(corner_grid())
    assert picture.shape == (200, 200, 3) and picture.dtype == np.uint8
    drawn = np.argwhere((picture != FREE_COLOR).any(-1)).tolist()
    assert drawn == [[int((40 - 10.1) / 0.4), int((40 - 4.1) / 0.4)], [int((40 + 20.1) / 0.4), int((40 + 10.1) / 0.4)]]
    assert drawn[0][0] < 100 < drawn[1][0] and drawn[0][1] < 100 < drawn[1][1]
    low = voxel_indices(np.array([AHEAD_LEFT]))[0][0, 2]
    assert np.array_equal(picture[tuple(drawn[0])], color(CAR, low))
    assert np.array_equal(picture[tuple(drawn[1])], color(BUS, low + 1))


def test_the_highest_voxel_is_seen_and_the_higher_the_brighter():
    grid = block((100, 100, 0), (103, 101, 1), ROAD)
    grid[101, 100, 9], grid[102, 100, 15] = CAR, ROAD
    picture = map_from_above(grid)[::-1, ::-1]
    assert np.array_equal(picture[100, 100], color(ROAD, 0))
    assert np.array_equal(picture[101, 100], color(CAR, 9))
    assert np.array_equal(picture[102, 100], CLASS_COLORS[ROAD])


def test_what_does_not_count_is_grayed():
    """A column counts if the voxel that is drawn does, an empty one if any does."""
    grid = block((0, 0, 3), (2, 1, 4), CAR)
    mask = np.zeros(SHAPE, bool)
    mask[0, 0, 3] = mask[1, 0, 0] = mask[5, 5, 15] = True
    picture = map_from_above(grid, mask)[::-1, ::-1]

    def gray(full: np.ndarray) -> np.ndarray:
        return np.round(UNSEEN_SHARE * np.asarray(full, float) + (1 - UNSEEN_SHARE) * UNSEEN_GRAY)

    plain = map_from_above(grid)[::-1, ::-1]
    assert np.array_equal(picture[0, 0], color(CAR, 3)) and np.array_equal(picture[5, 5], FREE_COLOR)
    assert np.abs(picture[1, 0] - gray(plain[1, 0])).max() <= 1
    assert np.array_equal(picture[7, 7], gray(FREE_COLOR))


def test_prediction_and_truth_stand_beside_each_other():
    grids = {'prediction': corner_grid(), 'truth': street()}
    picture = compare_from_above(grids, None, 'a title')
    width = SHAPE[1] * SCALE
    for number, grid in enumerate(grids.values()):
        left, top = BORDER + number * (width + BORDER), 2 * LINE
        # The middle pixel of each voxel; letters and the car cover some.
        drawn = picture[top : top + width, left : left + width][SCALE // 2 :: SCALE, SCALE // 2 :: SCALE]
        same = (drawn == map_from_above(grid)).all(-1)
        assert same.mean() > 0.97 and same[100:].mean() > 0.995
    masked = compare_from_above({'truth': empty()}, np.zeros(SHAPE, bool), '')
    assert masked.shape[1] == width + 2 * BORDER


@pytest.mark.parametrize('count', [0, 1])
def test_a_grid_of_nothing_or_of_one_voxel_is_drawn(count, tmp_path):
    grid = empty()
    grid[0, 0, :count] = TRUCK
    picture = map_from_above(grid)
    assert (picture != FREE_COLOR).any(-1).sum() == count and (picture[-1, -1] != FREE_COLOR).any() == bool(count)
    assert write_grid_page(tmp_path / 'a.html', {'one': grid}, '') == 0


def test_the_page_has_the_voxels_in_the_ego_frame(tmp_path, monkeypatch):
    figures = []
    write_html = voxel_page.go.Figure.write_html
    monkeypatch.setattr(
        voxel_page.go.Figure, 'write_html', lambda self, *a, **k: (figures.append(self), write_html(self, *a, **k))
    )
    path = tmp_path / 'page.html'
    assert write_grid_page(path, {'prediction': corner_grid(), 'truth': street()}, 'a title') == 0
    scene = figures[0].layout.scene
    assert [scene[f'{axis}axis'].title.text[0:6] for axis in 'xyz'] == ['x, for', 'y, lef', 'z, up ']
    # From behind, forward; the first grid is shown.
    assert (scene.camera.eye.x, scene.camera.eye.y) == (-0.6, 0)
    prediction, truth = figures[0].data
    assert prediction.name == 'prediction voxels (3)' and prediction.visible is True and truth.visible == 'legendonly'
    assert truth.name == f'truth voxels ({(street() != FREE).sum()})'
    # The sides of a voxel around each of the places, in its color; two voxels above each other share a side.
    corners = np.stack([prediction.x, prediction.y, prediction.z], 1)
    for place in (AHEAD_LEFT, BEHIND_RIGHT):
        assert (np.abs(corners - place).max(1) < 0.4).any()
    assert np.allclose(corners.max(0) - corners.min(0), [30.8, 14.8, 0.8], atol=1e-4)
    colors = {f'#{r:02x}{g:02x}{b:02x}' for r, g, b in CLASS_COLORS[[CAR, BUS]]}
    assert set(prediction.facecolor) == colors and len(prediction.facecolor) == 2 * (6 + 10)
    assert 'a title' in path.read_text()
