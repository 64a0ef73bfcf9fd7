"""Metrics, groups and baselines on views whose truth is known."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from mmdet3d.registry import METRICS
from mmengine.evaluator import Evaluator
from mmengine.structures import BaseDataElement

from projects.DistillNeRF.evaluation.baselines import evaluate_baselines, mean_images
from projects.DistillNeRF.evaluation.depth import depth_errors, resample_depth
from projects.DistillNeRF.evaluation.image import psnr
from projects.DistillNeRF.evaluation.metrics import DepthMetric, ImageMetric
from projects.DistillNeRF.evaluation.report import view_groups
from projects.DistillNeRF.geometry.cameras import Cameras
from projects.DistillNeRF.geometry.views import Views
from projects.DistillNeRF.utils.errors import InputError
from tests.helpers.cameras import pinhole

HEIGHT, WIDTH = 16, 24


def make_views(names: tuple[str, ...], frames: tuple[int, ...], seed: int = 0, wall: float | None = None) -> Views:
    """Make random images; with ``wall`` also the truth of a wall at that z, unknown in the upper half."""
    generator = torch.Generator().manual_seed(seed)
    count = len(names)
    cameras = Cameras(pinhole(12.0, (11.5, 7.5), count), torch.eye(4).repeat(count, 1, 1), HEIGHT, WIDTH)
    truth = None
    if wall is not None:
        truth = torch.full((count, HEIGHT, WIDTH), wall)
        truth[:, : HEIGHT // 2] = math.nan
    images = torch.rand(count, 3, HEIGHT, WIDTH, generator=generator)
    return Views(images, cameras, names, frames, true_depth=truth)


INPUTS = make_views(('CAM_FRONT', 'CAM_BACK'), (0, 0), wall=60.0)
TARGETS = make_views(('CAM_FRONT', 'CAM_BACK', 'CAM_FRONT', 'CAM_LEFT'), (0, 0, 1, 0), wall=60.0)


def sample(**changes) -> dict:
    rays = TARGETS.cameras.ray_lengths(8, 12)
    full_rays = INPUTS.cameras.ray_lengths(HEIGHT, WIDTH)
    fields = {
        'rgb': TARGETS.images,
        'depth': 60.0 * rays,
        'coarse_depth': 30.0 * full_rays,
        'fine_depth': 60.0 * full_rays,
        'input_views': INPUTS,
        'target_views': TARGETS,
    }
    return fields | changes


def evaluate(metric, *samples: dict) -> dict[str, float]:
    metric.process(None, list(samples))
    return metric.evaluate(len(samples))


def test_target_views_are_grouped():
    assert view_groups(INPUTS, TARGETS) == {'': [0, 1], 'next': [2], 'virtual': [3]}
    other = make_views(('CAM_FRONT', 'CAM_FRONT'), (-1, 2))
    assert view_groups(INPUTS, other) == {'previous': [0], 'frame+2': [1]}


def test_image_metric_reports_each_group():
    noisy = TARGETS.images.clone()
    noisy[2] += 0.1
    figures = evaluate(ImageMetric(clamp=False), sample(rgb=noisy))
    assert set(figures) == {f'{group}{name}' for group in ('', 'next/', 'virtual/') for name in ('psnr', 'ssim')}
    assert figures['psnr'] == pytest.approx(100)
    assert figures['ssim'] == pytest.approx(1)
    assert figures['next/psnr'] == pytest.approx(20, abs=1e-4)


def test_image_metric_averages_over_samples_and_clamps():
    off = sample(rgb=TARGETS.images + 0.01), sample(rgb=TARGETS.images + 0.1)
    figures = evaluate(ImageMetric(clamp=False, novel_view=False), *off)
    assert figures['psnr'] == pytest.approx(30, abs=1e-3)
    assert 'next/psnr' not in figures
    bright = dataclasses.replace(TARGETS, images=torch.ones_like(TARGETS.images))
    figures = evaluate(ImageMetric(), sample(rgb=bright.images + 5, target_views=bright))
    assert figures['psnr'] == pytest.approx(100)


def test_depth_metric_compares_z():
    figures = evaluate(DepthMetric(), sample())
    assert figures['abs_rel'] == pytest.approx(0, abs=1e-5)
    assert figures['next/abs_rel'] == pytest.approx(0, abs=1e-5)
    assert figures['fine/a1'] == 1
    assert figures['coarse/abs_rel'] == pytest.approx(0.5, abs=1e-5)
    assert figures['coarse/rmse'] == pytest.approx(30, abs=1e-3)
    # The wall is beyond the inner range, there is no LiDAR and no teacher.
    assert not [name for name in figures if 'inner' in name or 'lidar' in name or 'teacher' in name]


def test_depth_metric_can_compare_like_the_published_code():
    assert evaluate(DepthMetric(published_quirks=True), sample())['abs_rel'] > 0.05


def test_depth_metric_reports_lidar():
    lidar = torch.full((4, 8, 12), math.nan)
    lidar[:, 5, 3] = 40.0
    views = dataclasses.replace(TARGETS, lidar_depth=lidar)
    figures = evaluate(DepthMetric(), sample(target_views=views))
    assert figures['lidar/abs_rel'] == pytest.approx(0.5)
    assert figures['lidar/inner/abs_rel'] == pytest.approx(0.25)


def test_samples_without_a_reference_do_not_count():
    unknown = dataclasses.replace(TARGETS, true_depth=torch.full((4, HEIGHT, WIDTH), math.nan))
    figures = evaluate(DepthMetric(), sample(), sample(target_views=unknown, depth=torch.full((4, 8, 12), 5.0)))
    assert figures['abs_rel'] == pytest.approx(0, abs=1e-5)
    assert depth_errors(torch.ones(3), torch.full((3,), math.nan)) == {}


def test_metrics_work_in_an_evaluator():
    assert {'ImageMetric', 'DepthMetric'} <= set(METRICS.module_dict)
    evaluator = Evaluator([ImageMetric(), DepthMetric()])
    element = BaseDataElement(metainfo={'token': 'a'}, **sample())
    evaluator.process([element], None)
    assert {'psnr', 'abs_rel', 'coarse/abs_rel'} <= set(evaluator.evaluate(1))


def test_resampled_corners_stay_corners():
    depth = torch.arange(6.0).reshape(1, 2, 3)
    large = resample_depth(depth, 5, 9)
    assert torch.equal(large[:, ::4, ::4], depth)


def test_psnr_of_nan_is_nan():
    assert math.isnan(psnr(torch.full((1, 3, 2, 2), math.nan), torch.zeros(1, 3, 2, 2)))
    with pytest.raises(ValueError, match='target'):
        psnr(torch.zeros(1, 3, 2, 2), torch.zeros(3, 2, 2))


def constant(value: float, names=('CAM_FRONT', 'CAM_BACK'), frames=(0, 0)) -> Views:
    views = make_views(names, frames)
    shades = torch.arange(len(names)).reshape(-1, 1, 1, 1) * 0.2
    return dataclasses.replace(views, images=(value + shades).expand_as(views.images))


def test_baselines_are_the_means():
    means = mean_images(iter([constant(0.1), constant(0.3)]))
    assert means.color.tolist() == pytest.approx([0.3] * 3)
    assert means.by_camera['CAM_FRONT'].mean().item() == pytest.approx(0.2)
    assert means.by_camera['CAM_BACK'].mean().item() == pytest.approx(0.4)


def test_baselines_are_evaluated_like_the_model():
    means = mean_images([constant(0.1), constant(0.3)])
    targets = constant(0.3, ('CAM_FRONT', 'CAM_BACK', 'CAM_FRONT'), (0, 0, 1))
    figures = evaluate_baselines(means, [(constant(0.3), targets)])
    assert figures['camera_mean/psnr'] == pytest.approx(20, abs=1e-4)
    assert figures['mean_color/psnr'] == pytest.approx(-10 * math.log10(0.02), abs=1e-4)
    assert figures['current_frame/next/psnr'] == pytest.approx(-20 * math.log10(0.4), abs=1e-4)
    assert 'current_frame/psnr' not in figures


def test_baselines_refuse_unknown_cameras_no_views_and_changing_sizes():
    means = mean_images([constant(0.1)])
    with pytest.raises(InputError, match='CAM_SIDE'):
        evaluate_baselines(means, [(constant(0.1), constant(0.1, ('CAM_SIDE',), (1,)))])
    with pytest.raises(InputError, match='no views'):
        mean_images([])
    small = dataclasses.replace(
        constant(0.1), images=torch.rand(2, 3, 4, 6), cameras=constant(0.1).cameras.resized(4, 6)
    )
    with pytest.raises(InputError, match='CAM_FRONT'):
        mean_images([constant(0.1), small])


def test_depth_that_is_known_nowhere_is_told(capsys):
    views = dataclasses.replace(sample()['target_views'], true_depth=None, lidar_depth=None, teacher_depth=None)
    figures = evaluate(DepthMetric(), sample(target_views=views, input_views=views, coarse_depth=None, fine_depth=None))
    assert figures == {}
    assert 'warning: no depth is known in the views of any of the 1 samples' in capsys.readouterr().err
