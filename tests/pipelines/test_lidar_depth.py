"""LiDAR depth images equal the published ones, point by point and cell by cell."""

from __future__ import annotations

import numpy as np

from projects.DistillNeRF.pipelines.lidar_depth import (
    LidarProjection,
    lidar_class_image,
    lidar_depth_image,
    project_lidar,
)


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
