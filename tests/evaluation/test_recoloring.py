"""Colors of rendered images are brought to those of true ones, by the best gain and offset of each channel."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from projects.DistillNeRF.evaluation.image import psnr, ssim
from projects.DistillNeRF.evaluation.metrics import ImageMetric
from projects.DistillNeRF.evaluation.protocols.metrics import ProtocolImageMetric
from projects.DistillNeRF.evaluation.recoloring import recolored, recolored_as_published
from projects.DistillNeRF.utils.errors import InputError
from tests.evaluation.test_metrics import TARGETS, evaluate, sample
from tests.helpers.ranks import run_script


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def changed(target: Tensor, common: bool) -> Tensor:
    """Return images with other colors: per channel, the same or another change of each image."""
    shape = (1 if common else len(target), 3, 1, 1)
    return (target - 0.3 * random(*shape, seed=1)) / (0.5 + random(*shape, seed=2))


def slow(estimate: Tensor, target: Tensor) -> Tensor:
    """Fit every channel of every image by numpy's polyfit, of what is known in both."""
    result = estimate.clone()
    for image, channel in np.ndindex(*estimate.shape[:2]):
        x, y = (one[image, channel].double().numpy() for one in (estimate, target))
        known = np.isfinite(x) & np.isfinite(y)
        gain, offset = np.polyfit(x[known], y[known], 1)
        result[image, channel] = torch.from_numpy(gain * x + offset)
    return result.clamp(0, 1)


@pytest.mark.parametrize('function', [recolored, recolored_as_published])
def test_a_known_change_of_colors_is_undone(function):
    target = random(3, 3, 6, 5) * 0.8 + 0.1
    estimate = changed(target, common=function is recolored_as_published)
    assert psnr(estimate.clamp(0, 1), target) < 20
    torch.testing.assert_close(function(estimate, target), target, rtol=0, atol=1e-6)


def test_each_image_has_a_change_of_its_own_unlike_as_published():
    target = random(3, 3, 6, 5) * 0.8 + 0.1
    estimate = changed(target, common=False)
    assert (recolored_as_published(estimate, target) - target).abs().max() > 0.05
    pairs = zip(estimate.split(1), target.split(1), strict=True)
    one_by_one = torch.cat([recolored_as_published(*pair, channels=3) for pair in pairs])
    torch.testing.assert_close(recolored(estimate, target), one_by_one, rtol=0, atol=1e-6)


def test_it_is_the_fit_of_numpy_also_where_pixels_are_unknown():
    estimate, target = random(2, 3, 7, 9), random(2, 3, 7, 9, seed=1)
    estimate[0, 1, 2:4], target[1, 0, :, 3], estimate[1, 2, 0, 0] = math.nan, math.nan, math.inf
    ours = recolored(estimate, target)
    unknown = estimate.isnan()
    assert torch.equal(ours.isnan(), unknown)
    finite = ~unknown & estimate.isfinite()
    torch.testing.assert_close(ours[finite], slow(estimate, target)[finite], rtol=0, atol=1e-6)


def test_published_channels_are_as_many_as_images():
    target = random(2, 3, 6, 5) * 0.8 + 0.1
    estimate = changed(target, common=True)
    ours = recolored_as_published(estimate, target)
    torch.testing.assert_close(ours[:, :2], target[:, :2], rtol=0, atol=1e-6)
    torch.testing.assert_close(ours[:, 2], estimate[:, 2].clamp(0, 1))
    with pytest.raises(ValueError, match='4 channels are to be fitted'):
        recolored_as_published(random(4, 3, 2, 2), random(4, 3, 2, 2))


@pytest.mark.parametrize('function', [recolored, recolored_as_published])
def test_images_of_one_color_get_the_mean_of_the_target(function):
    target = random(3, 3, 4, 4)
    ours = function(torch.full_like(target, 0.3), target)
    mean = target.mean((-2, -1) if function is recolored else (0, -2, -1), keepdim=True)
    torch.testing.assert_close(ours, mean.expand_as(target), rtol=0, atol=1e-6)
    # A true image of one color is reached from any other.
    torch.testing.assert_close(function(target, torch.full_like(target, 0.4)), torch.full_like(target, 0.4))


def test_images_of_which_nothing_is_known_stay():
    target = random(2, 3, 4, 4)
    target[0] = math.nan
    estimate = random(2, 3, 4, 4, seed=1)
    torch.testing.assert_close(recolored(estimate, target)[0], estimate[0])
    assert recolored(torch.full_like(target, math.nan), random(2, 3, 4, 4)).isnan().all()


def test_the_range_is_kept_and_so_is_the_estimate():
    estimate = torch.tensor([0.0, 0.5, 1.0]).view(1, 1, 1, 3).expand(1, 3, 1, 3).clone().requires_grad_()
    target = torch.tensor([-0.5, 0.5, 1.5]).view(1, 1, 1, 3).expand(1, 3, 1, 3)
    ours = recolored(estimate, target)
    torch.testing.assert_close(ours[0, 0, 0], torch.tensor([0.0, 0.5, 1.0]))
    assert not ours.requires_grad and estimate[0, 0, 0, 1] == 0.5


def test_the_metric_has_rows_of_recolored_images():
    inside = dataclasses.replace(TARGETS, images=TARGETS.images * 0.8 + 0.1)
    rgb = changed(inside.images, common=False)
    figures = evaluate(ImageMetric(clamp=False, recolor=True), sample(rgb=rgb, target_views=inside))
    for group in ('', 'next/', 'virtual/'):
        assert figures[f'{group}psnr'] < 20 and figures[f'{group}ssim'] < 0.99
        assert figures[f'{group}psnr_recolored'] == pytest.approx(100, abs=1e-3)
        assert figures[f'{group}ssim_recolored'] == pytest.approx(1, abs=1e-5)
    plain = evaluate(ImageMetric(clamp=False), sample(rgb=rgb, target_views=inside))
    assert plain == {name: value for name, value in figures.items() if 'recolored' not in name}


def test_the_published_rows_are_of_the_images_of_a_group_together():
    noisy = TARGETS.images + 0.1 * random(*TARGETS.images.shape, seed=3)
    figures = evaluate(ImageMetric(recolor=True, published_quirks=True, clamp=False), sample(rgb=noisy))
    both = recolored_as_published(noisy[:2], TARGETS.images[:2])
    assert figures['psnr_recolored'] == pytest.approx(psnr(both, TARGETS.images[:2]))
    assert figures['ssim_recolored'] == pytest.approx(ssim(both, TARGETS.images[:2]))
    ours = evaluate(ImageMetric(recolor=True, clamp=False), sample(rgb=noisy))
    assert ours['psnr_recolored'] > figures['psnr_recolored'] > figures['psnr']


def test_each_unit_of_a_protocol_is_recolored():
    inside = dataclasses.replace(TARGETS, images=TARGETS.images * 0.8 + 0.1)
    about = {'colors': {'': [[0], [1]], 'novel': [[2], [3]]}, 'depths': {}}
    one = sample(rgb=changed(inside.images, common=False), target_views=inside, protocol=about)
    figures = evaluate(ProtocolImageMetric(clamp=False, recolor=True), one)
    assert figures['psnr_recolored'] == figures['novel/psnr_recolored'] == pytest.approx(100, abs=1e-3)


def test_a_rendering_with_nan_is_skipped_as_ever(capsys):
    broken = TARGETS.images.clone()
    broken[0, 0, 0, 0] = math.nan
    metric = ImageMetric(recolor=True, novel_view=False)
    figures = evaluate(metric, sample(rgb=broken), sample(rgb=TARGETS.images))
    assert figures['psnr_recolored'] == pytest.approx(100) and 'NaN in an image' in capsys.readouterr().err


def test_wrong_settings_are_refused():
    with pytest.raises(InputError, match='set recolor'):
        ImageMetric(published_quirks=True)
    four = dataclasses.replace(TARGETS, names=('A', 'B', 'C', 'D'), frames=(0,) * 4)
    metric = ImageMetric(recolor=True, published_quirks=True)
    with pytest.raises(InputError, match='4 here; leave published_quirks away'):
        evaluate(metric, sample(rgb=four.images, target_views=four, input_views=four))


GATHER = """
import json
from mmengine.dataset import DefaultSampler
from projects.DistillNeRF.evaluation.metrics import ImageMetric
from tests.evaluation.test_metrics import TARGETS, sample
from tests.evaluation.test_recoloring import random

samples = [sample(rgb=random(*TARGETS.images.shape, seed=number), token=str(number)) for number in range(3)]
found = []
for numbers in (list(DefaultSampler(range(3), shuffle=False)), range(3)):
    metric = ImageMetric(recolor=True)
    metric.process(None, [samples[number] for number in numbers])
    found.append(metric.evaluate(3) if numbers != range(3) else metric.merge([one.result for one in metric.results]))
print(json.dumps(found))
"""


def test_two_processes_give_the_figures_of_one():
    for text in run_script(GATHER):
        shared, alone = json.loads(text.splitlines()[-1])
        assert shared == pytest.approx(alone) and 'next/psnr_recolored' in shared
