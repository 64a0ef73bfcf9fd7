"""LiDAR depth images equal the published ones, point by point and cell by cell."""

from __future__ import annotations

import numpy as np
import pytest

from projects.DistillNeRF.pipelines.lidar_depth import lidar_depth_image, project_lidar


@pytest.fixture(scope='module')
def vectors(shared_dir):
    """The published unit vectors."""
    return np.load(shared_dir / 'parity/public/unit.npz')


@pytest.mark.parametrize('group', ['lidar_a', 'lidar_b', 'lidar_flip'])
@pytest.mark.parametrize('camera', [0, 1])
def test_equals_the_published_image(vectors, group, camera):
    data = {name: vectors[f'{group}/{name}'] for name in ('points', 'lidar2img', 'sizes_H_W_ih_iw_factor')}
    height, width, rows, columns, factor = data['sizes_H_W_ih_iw_factor'].tolist()
    flip = group == 'lidar_flip'
    projection = project_lidar(data['points'], data['lidar2img'][camera], height, width, 80.0, flip=flip)
    assert np.array_equal(projection.depth, vectors[f'{group}/lidar_depths'][camera, 0])
    assert np.array_equal(projection.visible, vectors[f'{group}/lidar_mask'][camera, 0])
    location = projection.pixels / np.float32([width, height])
    assert np.array_equal(location, vectors[f'{group}/lidar_loc2d'][camera, 0])
    image = lidar_depth_image(projection, height, width, rows // factor, columns // factor)
    assert np.array_equal(image, vectors[f'{group}/gt_depth_img'][camera, 0], equal_nan=True)
    assert np.isfinite(image).sum() > 100


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
