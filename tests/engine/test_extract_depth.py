"""LiDAR points in images, and what maps show there."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from projects.DistillNeRF.datasets.infos import load_infos
from projects.DistillNeRF.engine.extract_depth import sample_map, summarize
from projects.DistillNeRF.engine.extraction import ImageTask, list_tasks
from projects.DistillNeRF.engine.lidar_points import LidarPoints


@pytest.fixture
def task(box_root) -> ImageTask:
    """The second image of a camera."""
    tasks = list_tasks([box_root / 'infos.pkl'], lambda image, view: {'depth': image['teacher']['depth']})
    return next(task for task in tasks if task.camera == 'FRONT' and task.info['frame'] == 1)


def errors(task: ImageTask, points: np.ndarray, root: Path) -> np.ndarray:
    """How far the points are from the true depth of the pixels that they fall on, relative."""
    truth = np.load(root / task.info['images'][task.camera]['truth']['depth']).astype(np.float32)
    columns, rows = np.rint(points[:, :2]).astype(int).T
    return np.abs(truth[rows, columns] - points[:, 2]) / points[:, 2]


def test_points_of_the_keyframe_lie_on_what_the_image_shows(task, box_root):
    points = LidarPoints(None, 80.0).seen_by(task)
    assert len(points) > 200 and np.nanmedian(errors(task, points, box_root)) < 0.02
    # The nearest point of each block alone.
    blocks = np.floor((points[:, :2] + 0.5) / (60 / 64))
    assert len(np.unique(blocks, axis=0)) == len(points)
    assert LidarPoints(None, 20.0).seen_by(task)[:, 2].max() < 20 < points[:, 2].max()


def test_a_keyframe_without_lidar_takes_the_first_sweep_that_it_lists(task, box_root):
    info = {**task.info, 'lidar_points': None}
    # The car was elsewhere and turned when this one was measured.
    other = load_infos(box_root / 'infos.pkl')[1][0]
    info['lidar_sweeps'] = [{key: other[key] for key in ('lidar2global', 'lidar_points')}]
    points = LidarPoints(None, 80.0).seen_by(dataclasses.replace(task, info=info))
    assert len(points) > 200 and np.nanmedian(errors(task, points, box_root)) < 0.02
    none = dataclasses.replace(task, info={**task.info, 'lidar_points': None, 'lidar_sweeps': []})
    assert LidarPoints(None, 80.0).seen_by(none) is None


@pytest.mark.parametrize('size', [(60, 100), (30, 50), (17, 60)])
def test_maps_of_any_size_are_sampled_where_the_pixels_are(size):
    rows, columns = np.mgrid[: size[0], : size[1]]
    # The place of the middle of each pixel in an image of 60 x 100.
    down, across = (rows + 0.5) * 60 / size[0] - 0.5, (columns + 0.5) * 100 / size[1] - 0.5
    pixels = np.random.default_rng(0).uniform((5, 5), (90, 50), (40, 2))
    np.testing.assert_allclose(sample_map(across, pixels, (60, 100)), pixels[:, 0], atol=1e-3)
    np.testing.assert_allclose(sample_map(down, pixels, (60, 100)), pixels[:, 1], atol=1e-3)


def test_samples_beside_unknown_pixels_are_unknown():
    values = np.ones((4, 6))
    values[1, 2] = np.nan
    found = sample_map(values, np.array([[2.0, 1.0], [2.4, 1.4], [4.0, 3.0], [-0.4, 0.0]]), (4, 6))
    np.testing.assert_array_equal(np.isnan(found), [True, True, False, False])


def test_a_summary_counts_images_and_takes_medians_of_those_that_were_aligned():
    good = {'alignment': 'aligned', 'written': True, 'known': 0.5, 'scale': 2.0, 'shift': 0.0, 'outliers': 0.1}
    images = [{'camera': 'A', 'residual': r, **good} for r in (0.1, 0.2, 0.6)]
    images.append({'camera': 'B', 'alignment': 'no LiDAR', 'written': False})
    found = summarize(images)
    assert list(found) == ['A', 'B', 'all']
    assert found['A']['residual'] == 0.2 and found['A']['aligned'] == 3 and found['A']['unwritten'] == 0
    assert found['B']['residual'] is None and found['B']['unwritten'] == 1 and found['B']['known'] is None
    assert found['all']['images'] == 4 and found['all']['aligned'] == 3
