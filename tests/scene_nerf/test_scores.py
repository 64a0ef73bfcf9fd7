"""The figures of a teacher are those of what was kept out."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from projects.DistillNeRF.scene_nerf.drive import DriveSweep
from projects.DistillNeRF.scene_nerf.scores import (
    PointDepths,
    filled,
    hidden,
    image_summary,
    images_of,
    merged,
    pixels_of,
    point_depths,
    relative_errors,
    render_image,
    score_image,
)
from tests.helpers.boxtown import SMALL
from tests.helpers.oracle import Oracle, town_drive

SIZE = (SMALL['height'], SMALL['width'])


@pytest.fixture(scope='module')
def drive(town):
    return town_drive(town)


def test_the_truth_scores_best_and_noise_as_it_should(drive):
    image = images_of(drive, {1})[0]
    rendering = render_image(Oracle(drive), image, SIZE)
    best = score_image(rendering, image)
    # The images of the town are JPEG.
    assert best.psnr > 35 and best.ssim > 0.95 and best.known == 1
    assert (best.frame, best.camera, best.timestamp) == (1, image.camera, image.timestamp)
    generator = torch.Generator().manual_seed(0)
    noise = 0.1 * torch.randn(rendering.image.shape, generator=generator)
    noisy = score_image(rendering.map(lambda x: x + noise if x.ndim == 4 else x), image)
    assert noisy.psnr == pytest.approx(20, abs=0.7)  # clamped to [0, 1]


def test_unknown_pixels_count_with_the_nearest_color(drive):
    image = next(image for image in images_of(drive, {1}) if image.camera == 'CAM_FRONT')
    half = score_image(render_image(Oracle(drive, blind=0.5), image, SIZE), image)
    assert half.known == pytest.approx(0.5) and 5 < half.psnr < 35
    nothing = score_image(render_image(Oracle(drive, blind=1.0), image, SIZE), image)
    assert nothing.known == 0 and math.isfinite(nothing.psnr)
    assert score_image(render_image(Oracle(drive, color=False), image, SIZE), image) is None


def test_filling_keeps_what_is_known():
    image = torch.rand(3, 4, 6)
    whole, known = filled(image)
    assert torch.equal(whole, image) and known == 1
    image[:, :, 3:] = torch.nan
    whole, known = filled(image)
    assert torch.equal(whole[..., :3], image[..., :3]) and known == 0.5
    # As in the file: in steps of 1 / 255, and continued from what is known.
    unknown = whole[..., 3:]
    assert torch.equal(unknown, (unknown * 255).round() / 255)
    known_colors = image[..., :3]
    assert (unknown >= known_colors.amin((1, 2), keepdim=True) - 1 / 255).all()
    assert (unknown <= known_colors.amax((1, 2), keepdim=True) + 1 / 255).all()


def test_scores_are_averaged_over_images_and_by_camera(drive):
    images = images_of(drive, {0, 1})
    scores = [score_image(render_image(Oracle(drive), image, SIZE), image) for image in images]
    summary = image_summary(scores)
    assert summary['count'] == 12 and set(summary['cameras']) == set(drive.cameras)
    assert summary['psnr'] == pytest.approx(np.mean([score.psnr for score in scores]))
    assert summary['cameras']['CAM_BACK']['psnr'] == pytest.approx(
        np.mean([score.psnr for score in scores if score.camera == 'CAM_BACK'])
    )


@pytest.mark.parametrize('scale', [1.0, 1.1])
def test_depth_is_compared_with_the_lidar_of_the_same_keyframe(drive, scale):
    """In half resolution: pixels see not quite what beams hit."""
    points = point_depths(Oracle(drive, scale=scale), drive, {1}, SIZE)
    assert list(points) == [1]
    scores = points[1].scores()
    assert scores['all']['points'] > scores['visible']['points'] > 500
    assert scores['visible']['median'] == pytest.approx(scale - 1, abs=0.006)
    assert scores['visible']['abs_rel'] < scores['all']['abs_rel'] + 1e-9
    assert scores['visible']['abs_rel'] == pytest.approx(scale - 1, abs=0.03)


def test_points_of_a_sweep_are_those_in_the_image(drive):
    camera = images_of(drive, {0})[0].camera_at(*SIZE)
    pixel, z = torch.tensor([30.0, 20.0, 1.0], dtype=torch.float64), torch.tensor([0.5, 12.0, 90.0, -5.0])
    in_camera = z.double()[:, None] * (torch.linalg.inv(camera.intrinsics[0]) @ pixel)
    world = in_camera @ camera.cam2world[0, :3, :3].T + camera.cam2world[0, :3, 3]
    rows, columns, depths = pixels_of(camera, world)
    assert (rows.tolist(), columns.tolist()) == ([20], [30])
    assert depths == pytest.approx([12])


def test_points_behind_what_is_nearer_are_hidden():
    """A wall at 10 m before one at 30 m; a road that comes nearer row by row hides nothing."""
    size = (60, 100)
    wall = [(row, column, 10.0) for row in range(10, 40, 2) for column in range(20, 60, 3)]
    behind = [(row, column, 30.0) for row in range(11, 39, 4) for column in range(21, 59, 5)]
    beside = [(row, column, 30.0) for row in range(11, 39, 4) for column in (80, 90)]
    above = [(4, column, 30.0) for column in range(20, 60, 5)]
    road = [(row, column, 200 / (row - 38)) for row in range(45, 60) for column in range(0, 100, 2)]
    rows, columns, z = map(np.array, zip(*wall, *behind, *beside, *above, *road, strict=True))
    expected = np.repeat([False, True, False], [len(wall), len(behind), len(beside) + len(above) + len(road)])
    np.testing.assert_array_equal(hidden(rows, columns, z, size), expected)


def test_relative_errors_of_known_and_unknown_points():
    scores = relative_errors(np.array([10.0, 11.0, np.nan, 30.0]), np.array([10.0, 10.0, 10.0, 20.0]))
    assert scores['points'] == 4 and scores['known'] == 0.75
    assert scores['median'] == pytest.approx(0.1) and scores['abs_rel'] == pytest.approx(0.2)
    nothing = relative_errors(np.full(3, np.nan), np.ones(3))
    assert nothing == {'points': 3, 'known': 0.0}
    assert math.isnan(relative_errors(np.empty(0), np.empty(0))['known'])


def test_no_points_are_no_points(drive):
    assert point_depths(Oracle(drive), drive, {99}, SIZE) == {}
    assert len(merged([]).target) == 0
    one = PointDepths(np.ones(2), np.ones(2), np.ones(2, bool))
    assert len(merged([one, one]).target) == 4


def test_sweeps_between_keyframes_do_not_count(drive):
    assert any(sweep.frame is None for sweep in drive.sweeps)
    assert all(isinstance(sweep, DriveSweep) for sweep in drive.sweeps)
    frames = {sweep.frame for sweep in drive.sweeps} - {None}
    assert set(point_depths(Oracle(drive), drive, {0, 1, 2, None}, SIZE)) == frames
