"""Metrics, groups and baselines on views whose truth is known."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from mmdet3d.registry import METRICS
from mmengine.evaluator import Evaluator
from mmengine.structures import BaseDataElement

from projects.DistillNeRF.evaluation.baselines import mean_images
from projects.DistillNeRF.evaluation.depth import depth_errors, resample_depth
from projects.DistillNeRF.evaluation.holes import is_hole
from projects.DistillNeRF.evaluation.image import psnr
from projects.DistillNeRF.evaluation.metrics import DepthMetric, ImageMetric
from projects.DistillNeRF.evaluation.report import view_groups
from projects.DistillNeRF.geometry.cameras import Cameras
from projects.DistillNeRF.geometry.views import Views
from projects.DistillNeRF.losses.image import PerceptualDistance
from projects.DistillNeRF.utils.errors import InputError
from tests.evaluation.test_baselines import evaluate_baselines
from tests.helpers.cameras import pinhole
from verification.benchmark.training import lpips_weights

HEIGHT, WIDTH = 16, 24
NAMES = ('psnr', 'ssim', 'ssim_gaussian')


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
    assert set(figures) == {f'{group}{name}' for group in ('', 'next/', 'virtual/') for name in NAMES}
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


def holey() -> tuple[dict, torch.Tensor]:
    """A sample whose truth ends at 20 m in every other column, and its opacity ``(4, 8, 12)``, some of it below .5."""
    truth = TARGETS.true_depth.clone()
    truth[:, HEIGHT // 2 :, ::2] = 20.0
    truth[:, -1, -1] = math.inf
    lidar = torch.full((4, 8, 12), math.nan)
    lidar[:, 5, 3], lidar[:, 6, 4] = 15.0, 90.0
    opacity = torch.full((4, 8, 12), 0.9)
    opacity[0, 5, 3] = opacity[1, 6, 4] = opacity[2, 4:] = 0.49
    opacity[3] = 0.5
    # Nothing is known of the upper half.
    opacity[0, :4] = 0
    views = dataclasses.replace(TARGETS, true_depth=truth, lidar_depth=lidar)
    return sample(opacity=opacity, target_views=views), truth


def test_holes_are_transparent_rays_where_the_truth_has_a_surface():
    one, truth = holey()
    figures = evaluate(DepthMetric(by=['distance', 'camera']), one)
    # Pixel by pixel: the ray that is nearest where both grids span the image corner to corner.
    found = {}
    for view in range(4):
        for v in range(HEIGHT // 2, HEIGHT):
            for u in range(WIDTH):
                ray = one['opacity'][view, round(v * 7 / (HEIGHT - 1)), round(u * 11 / (WIDTH - 1))]
                if math.isfinite(truth[view, v, u]):
                    for part in ('all', truth[view, v, u].item()):
                        found.setdefault((view, part), []).append(float(ray < 0.5))
    both = [value for view in (0, 1) for value in found[view, 'all']]
    assert figures['holes'] == pytest.approx(sum(both) / len(both)) and 0 < figures['holes'] < 0.1
    assert len(both) == 2 * (HEIGHT // 2 * WIDTH - 1)
    far = [value for view in (0, 1) for value in found[view, 60.0]]
    assert figures['holes@distance=40-80m'] == pytest.approx(sum(far) / len(far))
    assert 'holes@distance=10-20m' not in figures and 'holes@distance=20-40m' in figures
    assert figures['holes@camera=CAM_FRONT'] == pytest.approx(sum(found[0, 'all']) / len(found[0, 'all']))
    assert (figures['next/holes'], figures['virtual/holes']) == (1, 0)
    assert (figures['lidar/holes'], figures['next/lidar/holes'], figures['virtual/lidar/holes']) == (0.5, 1, 0)
    assert figures['lidar/holes@distance=10-20m'] == 0.5
    assert not [name for name in figures if 'teacher' in name or 'inner/holes' in name or 'coarse/holes' in name]


def test_holes_need_opacities_and_surfaces(capsys):
    one, _ = holey()
    without = sample(target_views=one['target_views'])
    assert not [name for name in evaluate(DepthMetric(), without) if 'holes' in name]
    unknown = dataclasses.replace(TARGETS, true_depth=torch.full((4, HEIGHT, WIDTH), math.nan))
    broken = one['opacity'].clone()
    broken[2, 0, 0] = math.nan
    samples = [one, {**one, 'target_views': unknown}, {**one, 'opacity': broken, 'token': 'c'}, without]
    expected = evaluate(DepthMetric(), one)
    capsys.readouterr()
    figures = evaluate(DepthMetric(), *samples)
    # The next frame of the third sample does not count; the input views do, once more.
    for name in ('holes', 'next/holes', 'lidar/holes'):
        assert figures[name] == pytest.approx(expected[name])
    assert '1 with NaN in the opacity (such as c)' in capsys.readouterr().err
    hole, solid = is_hole(torch.tensor([[[math.nan, 1]]]), torch.tensor([[[1.0, 1]]]))
    assert hole.tolist() == [[[True, False]]] and solid.all()


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


def test_nan_in_an_image_does_not_count(capsys):
    """Rendered or true; the other views of the sample do count."""
    good = sample(rgb=TARGETS.images + 0.01, token='good')
    rendered, true = good['rgb'].clone(), TARGETS.images.clone()
    rendered[2, 0, 3, 4] = true[3, 1, 2, 2] = math.nan
    bad = sample(rgb=rendered, target_views=dataclasses.replace(TARGETS, images=true), token='bad')
    expected = evaluate(ImageMetric(clamp=False), good)
    metric = ImageMetric(clamp=False)
    assert evaluate(metric, good, bad) == pytest.approx(expected, abs=1e-6)
    assert set(metric.samples[1].result) == set(NAMES)
    [line] = capsys.readouterr().err.splitlines()
    assert line == 'warning: ImageMetric: not every figure is of all 2 samples: 1 with NaN in an image (such as bad)'
    assert evaluate(ImageMetric(), bad | {'rgb': rendered * math.nan}) == {}


def test_samples_without_lidar_and_nan_in_a_depth_are_counted_in_one_warning(capsys):
    lidar = torch.full((4, 8, 12), math.nan)
    without = dataclasses.replace(TARGETS, lidar_depth=lidar)
    lidar = lidar.clone()
    lidar[:, 5, 3] = 40.0
    views = dataclasses.replace(TARGETS, lidar_depth=lidar)
    broken = sample()['depth'].clone()
    broken[:, 4:] = math.nan
    samples = [
        sample(target_views=views, token='a'),
        sample(target_views=without, token='b'),
        sample(target_views=without, token='c'),
        sample(target_views=views, depth=broken, token='d'),
    ]
    figures = evaluate(DepthMetric(), *samples)
    assert figures['lidar/abs_rel'] == pytest.approx(0.5)
    assert figures['abs_rel'] == pytest.approx(0, abs=1e-5)
    [line] = capsys.readouterr().err.splitlines()
    assert '2 with no LiDAR depth in the views of a frame (such as b)' in line
    assert '1 with NaN in the predicted depth (such as d)' in line


def test_nothing_is_told_where_everything_counts(capsys):
    evaluate(DepthMetric(), sample())
    evaluate(ImageMetric(), sample())
    assert capsys.readouterr().err == ''


def test_lpips_is_that_of_its_network(tmp_path):
    """Weights are random, but go through a file as real ones; plain formula: tests/losses/test_lpips.py."""
    path = tmp_path / 'lpips_vgg.pth'
    torch.save(lpips_weights(), path)
    network = PerceptualDistance()
    network.load(path)
    noisy = (TARGETS.images + 0.2 * torch.rand(TARGETS.images.shape)).clamp(0, 1)
    figures = evaluate(ImageMetric(lpips_weights=str(path), by=['camera']), sample(rgb=noisy))
    assert figures['lpips'] == pytest.approx(network(noisy[:2], TARGETS.images[:2]).item(), rel=1e-5)
    assert figures['lpips@camera=CAM_BACK'] == pytest.approx(network(noisy[1:2], TARGETS.images[1:2]).item(), rel=1e-5)
    assert figures['next/lpips'] > 0 and figures['lpips'] != figures['lpips@camera=CAM_BACK']
    assert evaluate(ImageMetric(lpips_weights=str(path)), sample())['lpips'] == 0
    with pytest.raises(InputError, match=r'gone\.pth: no such file.*lpips_weights=None in the ImageMetric'):
        ImageMetric(lpips_weights=str(tmp_path / 'gone.pth'))


def test_images_that_are_too_small_have_no_such_figure(tmp_path):
    path = tmp_path / 'lpips_vgg.pth'
    torch.save(lpips_weights(), path)
    for side, names in ((16, (*NAMES, 'lpips')), (15, NAMES)):
        views = make_small(side)
        found = evaluate(ImageMetric(lpips_weights=str(path)), sample(rgb=views.images, target_views=views))
        assert set(found) == set(names)


def make_small(side: int) -> Views:
    cameras = Cameras(pinhole(12.0, (5, 5), 1), torch.eye(4)[None], side, side)
    return Views(torch.rand(1, 3, side, side), cameras, ('CAM_FRONT',), (0,))


def test_depth_that_is_known_nowhere_is_told(capsys):
    views = dataclasses.replace(sample()['target_views'], true_depth=None, lidar_depth=None, teacher_depth=None)
    figures = evaluate(DepthMetric(), sample(target_views=views, input_views=views, coarse_depth=None, fine_depth=None))
    assert figures == {}
    assert 'warning: no depth is known in the views of any of the 1 samples' in capsys.readouterr().err
