"""LiDAR depth images equal the published ones, point by point and cell by cell."""

from __future__ import annotations

import numpy as np

from projects.DistillNeRF.pipelines.lidar_depth import lidar_depth_image, project_lidar


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
