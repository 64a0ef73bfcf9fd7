"""Baselines by hand."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from projects.DistillNeRF.evaluation.baselines import Guess, MeanImages, guess_sample, mean_images, moved_views
from projects.DistillNeRF.evaluation.guesses import GuessScores, distance_of, whole_groups
from projects.DistillNeRF.evaluation.metrics import DepthMetric, ImageMetric, SampleMetric
from projects.DistillNeRF.evaluation.protocols.metrics import ProtocolImageMetric
from projects.DistillNeRF.geometry.views import Views
from tests.helpers.cameras import random_cameras, unit_cameras
from tests.helpers.views import make_views


def views(*images: tuple[str, int, float]) -> Views:
    """Make even images ``(name, frame, shade)``, large enough for SSIM."""
    names, frames, shades = zip(*images, strict=True)
    pixels = torch.tensor(shades).view(-1, 1, 1, 1).expand(-1, 3, 12, 12).clone()
    return make_views(unit_cameras(len(images), 12, 12), pixels, names, frames)


def decibels(*differences: float) -> float:
    return -10 * math.log10(sum(d * d for d in differences) / len(differences))


def evaluate_baselines(means: MeanImages, samples: list[tuple[Views, Views]]) -> dict[str, float]:
    """Return the PSNR of guesses of samples, but for the truth."""
    scores = GuessScores(lambda: [ImageMetric(), DepthMetric()])
    for inputs, targets in samples:
        for guess in guess_sample(means, inputs, targets, {}):
            scores.add(guess, inputs, targets, {})
    found = scores.figures()
    assert all(value == math.inf for name, value in found.items() if name.startswith('oracle') and 'psnr' in name)
    return {name: value for name, value in found.items() if name.endswith('psnr') and not name.startswith('oracle')}


TRAINING = [views(('A', 0, 0.2), ('B', 0, 0.8)), views(('A', 0, 0.4))]


def test_means_count_every_image_once():
    """The mean color is that of all three images, not of the two cameras."""
    means = mean_images(TRAINING)
    torch.testing.assert_close(means.color, torch.full((3,), (0.2 + 0.8 + 0.4) / 3))
    torch.testing.assert_close(means.by_camera['A'], torch.full((3, 12, 12), 0.3))
    torch.testing.assert_close(means.by_camera['B'], torch.full((3, 12, 12), 0.8))
    assert list(means.by_camera) == ['A', 'B'] and means.color.dtype == torch.float32


def test_channels_and_pixels_keep_their_place():
    image = torch.arange(432.0).view(1, 3, 12, 12) / 432
    changed = Views(image, TRAINING[1].cameras, ('A',), (0,))
    means = mean_images([changed])
    torch.testing.assert_close(means.by_camera['A'], image[0])
    torch.testing.assert_close(means.color, image[0].mean((1, 2)))


def test_every_group_has_its_own_baselines():
    inputs = views(('A', 0, 0.5), ('B', 0, 0.6))
    targets = views(('A', 1, 0.55), ('A', 0, 0.5), ('B', 0, 0.6), ('A virtual', 0, 0.1))
    figures = evaluate_baselines(mean_images(TRAINING), [(inputs, targets)])
    mean = 1.4 / 3
    assert figures == pytest.approx(
        {
            'mean_color/next/psnr': decibels(0.55 - mean),
            'camera_mean/next/psnr': decibels(0.25),
            'current_frame/next/psnr': decibels(0.05),
            'mean_color/psnr': decibels(0.5 - mean, 0.6 - mean),
            'camera_mean/psnr': decibels(0.2, 0.2),
            'mean_color/virtual/psnr': decibels(0.1 - mean),
        },
        abs=1e-4,
    )


def test_a_camera_without_a_current_image_has_no_current_frame():
    figures = evaluate_baselines(mean_images(TRAINING), [(views(('A', 0, 0.5)), views(('B', 1, 0.7)))])
    assert set(figures) == {'mean_color/next/psnr', 'camera_mean/next/psnr'}


def test_figures_are_the_mean_over_samples():
    means = mean_images(TRAINING)
    one, other = (views(('A', 0, 0.3 + step)) for step in (0.1, 0.01))
    figures = evaluate_baselines(means, [(one, one), (other, other)])
    assert figures['camera_mean/psnr'] == pytest.approx((20 + 40) / 2, abs=1e-3)


def scored(
    inputs: Views, targets: Views, metric: type[SampleMetric], about: dict | None = None, depths: dict | None = None
) -> dict[str, float]:
    """Return all figures of all guesses of one sample."""
    scores = GuessScores(lambda: [metric()])
    for guess in guess_sample(mean_images(TRAINING), inputs, targets, about or {}, depths):
        scores.add(guess, inputs, targets, about or {})
    return scores.figures()


def test_only_what_is_equal_has_no_end():
    """A guess that is right in one of two samples ends where the metric ends."""
    inputs = views(('A', 0, 0.5))
    scores = GuessScores(lambda: [ImageMetric()])
    for shade in (0.5, 0.6):
        scores.add(Guess('guess', [0], torch.full((1, 3, 12, 12), shade)), inputs, inputs, {})
    assert scores.figures()['guess/psnr'] == pytest.approx((100 + 20) / 2, abs=1e-3)


def test_a_group_is_measured_as_a_whole_or_not():
    """Of two next views one has a current image: a figure of that alone would compare with no other."""
    figures = scored(views(('A', 0, 0.5)), views(('A', 1, 0.5), ('B', 1, 0.7)), ImageMetric)
    assert 'current_frame/next/psnr' not in figures and 'camera_mean/next/psnr' in figures


def test_groups_are_those_of_a_protocol():
    """Views of the instant itself may be novel there; each of two images is a unit of ``novel``."""
    inputs, targets = views(('A', 0, 0.5)), views(('A', 0, 0.5), ('A', 0, 0.6), ('A', 3, 0.51))
    about = {'protocol': {'colors': {'': [[0]], 'novel': [[1], [2]], 'all': [[0, 1, 2]]}, 'depths': {}}}
    assert moved_views(inputs, targets, about) == [1, 2] and moved_views(inputs, targets, {}) == [2]
    figures = scored(inputs, targets, ProtocolImageMetric, about)
    current = {name: value for name, value in figures.items() if name.startswith('current') and 'psnr' in name}
    assert current == {'current_frame/novel/psnr': pytest.approx((20 + 40) / 2, abs=1e-3)}
    assert [figures[f'oracle/{group}psnr'] for group in ('', 'novel/', 'all/')] == [math.inf] * 3
    assert figures['camera_mean/all/psnr'] == pytest.approx(decibels(0.2, 0.3, 0.21), abs=1e-3)


def test_views_of_whole_groups_keep_their_place():
    inputs, targets = views(('A', 0, 0.5)), views(('A', 1, 0.1), ('B', 2, 0.2), ('C', 2, 0.3), ('A', 1, 0.4))
    assert whole_groups([1], inputs, targets, {}, 'colors') is None
    sample = whole_groups([3, 1, 0], inputs, targets, {}, 'colors')
    assert sample['kept'] == [2, 0] and sample['target_views'].names == ('A', 'A')
    assert sample['target_views'].images[:, 0, 0, 0].tolist() == pytest.approx([0.1, 0.4])
    about = {'token': 't', 'scene': 's', 'protocol': {'depths': {'x': [[2], [1]], 'y': [[0]]}}}
    sample = whole_groups([1, 2], inputs, targets, about, 'depths')
    assert sample['protocol'] == {'depths': {'x': [[1], [0]]}} and (sample['token'], sample['scene']) == ('t', 's')


def test_distances_give_exactly_the_same_z_again():
    """A product of float32 would not: it is rounded."""
    generator = torch.Generator().manual_seed(0)
    cameras = random_cameras(3, 20, 30, generator, dtype=torch.float32)
    z = torch.rand(3, 20, 30, generator=generator) * 80
    distance = distance_of(z, cameras)
    assert torch.equal(distance / cameras.ray_lengths(20, 30).double(), z.double())
    assert (distance >= z).all()


@pytest.mark.parametrize('quirks', [False, True])
def test_the_true_depth_has_no_error_against_any_reference(quirks):
    """The references disagree with each other: each is the truth of its own figures."""
    generator = torch.Generator().manual_seed(1)
    cameras = random_cameras(2, 8, 9, generator, dtype=torch.float32)
    true, teacher, lidar = (torch.rand(2, h, w, generator=generator) * 70 + 1 for h, w in ((8, 9), (16, 18), (4, 5)))
    lidar[:, 1], true[0, :3] = math.nan, math.nan
    maps = {'true_depth': true, 'teacher_depth': teacher, 'lidar_depth': lidar}
    inputs = make_views(cameras, 0.5, ('A', 'B'), **maps)
    scores = GuessScores(lambda: [DepthMetric(published_quirks=quirks)])
    for guess in guess_sample(mean_images([inputs]), inputs, inputs, {}):
        scores.add(guess, inputs, inputs, {})
    figures = scores.figures()
    assert {name.split('/')[0] for name in figures} == {'oracle'}
    assert {'oracle/abs_rel', 'oracle/lidar/inner/rmse', 'oracle/teacher/a1'} <= set(figures) and len(figures) == 42
    for name, value in figures.items():
        assert value == (1.0 if name.endswith(('a1', 'a2', 'a3')) else 0.0), name


def test_the_median_depth_is_that_of_the_camera():
    depths = {'A': torch.full((4, 5), 20.0)}
    truth = torch.tensor([10.0, 40.0]).view(2, 1, 1).expand(2, 12, 12).clone()
    inputs = dataclasses.replace(views(('A', 0, 0.5)), true_depth=truth[:1])
    targets = dataclasses.replace(views(('A', 0, 0.5), ('A', 1, 0.5), ('B', -1, 0.5)), true_depth=truth[[0, 1, 1]])
    figures = scored(inputs, targets, DepthMetric, depths=depths)
    assert figures['median_depth/abs_rel'] == pytest.approx(1.0) and figures['median_depth/next/rmse'] == pytest.approx(
        20
    )
    assert 'median_depth/previous/abs_rel' not in figures
