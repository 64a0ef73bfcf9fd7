"""LiDAR depth images equal the published ones, point by point and cell by cell."""

from __future__ import annotations

import numpy as np
import pytest

from projects.DistillNeRF.pipelines.lidar_depth import (
    LidarProjection,
    SkyFromLidar,
    homogeneous,
    lidar_class_image,
    lidar_depth_image,
    project_lidar,
    project_visible,
    sky_above_returns,
)
from projects.DistillNeRF.utils.errors import InputError


def test_nearest_point_wins_and_empty_is_unknown():
    lidar2img = np.array([[10.0, 0, 10, 0], [0, 10, 10, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    points = np.array([[0, 0, 9.0], [0, 0, 4.0], [0, 0, 0.5], [0, 0, 85.0], [0, 0, -3.0]], np.float32)
    projection = project_lidar(points, lidar2img, 20, 20, 80.0)
    assert projection.visible.tolist() == [True, True, False, False, False]
    image = lidar_depth_image(projection, 20, 20, 10, 10)
    assert image[5, 5] == 4 and np.isfinite(image).sum() == 1


def test_an_empty_sweep_gives_an_unknown_image():
    projection = project_lidar(np.zeros((0, 5), np.float32), np.eye(4), 20, 20, 80.0)
    assert np.isnan(lidar_depth_image(projection, 20, 20, 7, 9)).all()


def test_the_class_image_shows_the_points_of_the_depth_image():
    rng = np.random.default_rng(0)
    for height, width, rows, columns in ((20, 30, 10, 15), (21, 31, 6, 7), (5, 5, 5, 5), (8, 8, 1, 1)):
        count = 200
        pixels = rng.uniform(-2, (width + 2, height + 2), (count, 2))
        inside = (pixels >= 0).all(1) & (pixels[:, 0] < width - 0.5) & (pixels[:, 1] < height - 0.5)
        projection = LidarProjection(rng.permutation(count) + 1.0, pixels, inside & (rng.random(count) < 0.3))
        grid = (height, width, rows, columns)
        depth = lidar_depth_image(projection, *grid)
        # Every point has a depth of its own, which is here its class, too.
        classes = projection.depth.astype(np.uint8)
        image = lidar_class_image(projection, classes, *grid, unknown=0)
        assert image.dtype == np.uint8 and np.array_equal(image, np.nan_to_num(depth).astype(np.uint8))
        assert depth.shape == (rows, columns) and image.any()


def place(u: float, v: float, depth: float = 5.0, height: int = 21, width: int = 31) -> LidarProjection:
    """A point at a pixel, projected."""
    lidar2img = np.array([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    return project_lidar(np.array([[u * depth, v * depth, depth]], np.float32), lidar2img, height, width, 80.0)


def test_points_are_visible_within_the_image_and_the_range():
    """Pixel centers are whole numbers: the image ends half a pixel behind the last one, and begins at the first."""
    seen = {(0, 0): True, (30.4, 20.4): True, (30.5, 3): False, (3, 20.5): False, (-0.1, 3): False, (3, -0.1): False}
    assert {where: bool(place(*where).visible[0]) for where in seen} == seen
    depths = {0.99: False, 1.0: True, 79.9: True, 80.0: False, -5.0: False}
    assert {depth: bool(place(3, 4, depth).visible[0]) for depth in depths} == depths


def test_pixels_and_depths_agree_with_a_calculation_by_hand():
    """Points with more columns; the camera stands 1 m before the LiDAR's origin and has another focal length in v."""
    lidar2img = np.array([[10.0, 0, 8, -8], [0, 20, 6, -6], [0, 0, 1, -1], [0, 0, 0, 1]])
    points = np.array([[1.0, -0.5, 6.0, 99.0], [0, 0, 0.5, 99.0]], np.float32)
    projection = project_lidar(points, lidar2img, 20, 30, 80.0)
    np.testing.assert_allclose(projection.pixels[0], [10 / 5 + 8, -10 / 5 + 6], rtol=1e-6)
    assert projection.depth[0] == 5 and projection.depth[1] == np.float32(1e-5)
    assert projection.visible.tolist() == [True, False]


@pytest.mark.parametrize('max_depth', [1.0, 50.0, 1e6])
@pytest.mark.parametrize('count', [0, 1, 7, 8193, 20_000])
def test_points_that_are_left_out_early_change_no_bit(count, max_depth):
    """Around the camera, at the borders of the image and of the range, and so far away that z is cut off."""
    rng = np.random.default_rng(count)
    points = rng.normal(0, 30, (count, 5)).astype(np.float32)
    points[::7, 2] *= 1e5
    points[::5, :3] = points[::5, 2:3] * np.round(rng.uniform(-1, 1, (len(points[::5]), 3)) * 8) / 8
    lidar2img = np.array([[12.0, 0.1, 15, 1], [0, 12, 10, 2], [0.01, 0, 1, 0.5], [0, 0, 0, 1]])
    everything = project_lidar(points, lidar2img, 20, 30, max_depth)
    visible, positions = project_visible(homogeneous(points), lidar2img, 20, 30, max_depth)
    assert positions.tolist() == np.flatnonzero(everything.visible).tolist()
    assert visible.visible.all() and visible.depth.dtype == visible.pixels.dtype == np.float32
    assert visible.depth.tobytes() == everything.depth[positions].tobytes()
    assert visible.pixels.tobytes() == everything.pixels[positions].tobytes()
    grid = (20, 30, 10, 15)
    assert lidar_depth_image(visible, *grid).tobytes() == lidar_depth_image(everything, *grid).tobytes()
    assert count < 8000 or max_depth == 1 or len(positions) > 100


def test_the_flip_of_the_published_code_exchanges_left_and_right():
    """Left and right of the LiDAR are exchanged, and the columns are counted from the other side."""
    lidar2img = np.array([[10.0, 20, 8, 0], [0, 20, 6, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    points = np.array([[1.0, 0.5, 5.0]], np.float32)
    flipped = project_lidar(points, lidar2img, 20, 30, 80.0, flip=True)
    np.testing.assert_allclose(flipped.pixels[0], [30 - (10 - 10 + 40) / 5, (-10 + 30) / 5], rtol=1e-6)


def test_cells_are_blocks_of_whole_pixels():
    """21 x 31 pixels in 5 x 7 cells: 5 x 7 blocks of 4 x 4; the last row and columns are left out."""

    def cell(u: float, v: float) -> list[list[int]]:
        return np.argwhere(np.isfinite(lidar_depth_image(place(u, v), 21, 31, 5, 7))).tolist()

    assert cell(0, 0) == [[0, 0]] and cell(3.4, 3.4) == [[0, 0]] and cell(3.6, 3.4) == [[0, 1]]
    assert cell(3.4, 3.6) == [[1, 0]] and cell(27.4, 19.4) == [[4, 6]]
    assert cell(28, 10) == [] and cell(10, 20) == []


def test_the_map_of_blocks_is_resized_by_nearest_neighbor():
    """6 blocks of 3 pixels become 5 cells: cell i shows block i * 6 // 5."""
    image = [lidar_depth_image(place(3 * i + 1, 1, 5.0 + i, 3, 19), 3, 19, 1, 5) for i in range(6)]
    shown = [np.argwhere(np.isfinite(one[0])).flatten().tolist() for one in image]
    assert shown == [[0], [1], [2], [3], [4], []]
    with pytest.raises(InputError, match='larger than its image of 3 x 20'):
        lidar_depth_image(place(1, 1, 5.0, 3, 20), 3, 20, 4, 5)


def test_sky_begins_two_rows_above_the_highest_return():
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
    # What is higher counts, also in a neighboring column.
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


@pytest.mark.parametrize('view', [{'sky_mask': None}, {'paths': {'sky_mask': 'a.npy'}}])
def test_a_second_source_of_sky_is_refused(view):
    with pytest.raises(InputError, match='both give sky masks'):
        SkyFromLidar(9.0).transform({'views': {'a': view}})


def test_views_without_lidar_are_left_alone():
    assert SkyFromLidar(9.0).transform({'views': {'a': {'img_path': 'x'}}})['views']['a'] == {'img_path': 'x'}
