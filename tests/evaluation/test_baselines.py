"""Baselines by hand."""

from __future__ import annotations

import math

import pytest
import torch

from projects.DistillNeRF.evaluation.baselines import MeanImages, guess_sample, mean_images
from projects.DistillNeRF.evaluation.guesses import GuessScores
from projects.DistillNeRF.evaluation.metrics import DepthMetric, ImageMetric
from projects.DistillNeRF.geometry.views import Views
from tests.helpers.cameras import unit_cameras
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
