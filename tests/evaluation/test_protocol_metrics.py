"""Figures of a protocol's groups: each unit counts once, whatever sample it is in."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from projects.DistillNeRF.evaluation.image import psnr
from projects.DistillNeRF.evaluation.metrics import DepthMetric, ImageMetric
from projects.DistillNeRF.evaluation.protocols.metrics import ProtocolDepthMetric, ProtocolImageMetric, UnitFigures
from tests.helpers.cameras import unit_cameras
from tests.helpers.views import make_views

SIZE = (8, 9)


def sample(seed: int, count: int, colors=None, depths=None, scene: str = 's') -> dict:
    """A sample of random images and depths; all of its views have other frames than the inputs."""
    generator = torch.Generator().manual_seed(seed)
    cameras = unit_cameras(count, *SIZE)
    truth = torch.rand(count, *SIZE, generator=generator) * 50 + 1
    images = torch.rand(count, 3, *SIZE, generator=generator)
    targets = make_views(cameras, images, None, (2,) * count, true_depth=truth)
    inputs = make_views(unit_cameras(1, *SIZE), 0.5, ('C0',), true_depth=truth[:1])
    return {
        **{'scene': scene, 'token': f't{seed}', 'input_views': inputs, 'target_views': targets},
        'rgb': torch.rand(count, 3, *SIZE, generator=generator),
        'depth': torch.rand(count, *SIZE, generator=generator) * 50 + 1,
        'coarse_depth': torch.rand(1, *SIZE, generator=generator) * 50 + 1,
        'protocol': {'colors': colors or {}, 'depths': depths or {}},
    }


def evaluated(metric, *samples: dict) -> dict[str, float]:
    metric.process(None, samples)
    return metric.compute_metrics(metric.results)


def each(one: dict, positions: list[int]) -> float:
    return psnr(one['rgb'][positions], one['target_views'].images[positions])


def test_every_image_counts_once_whatever_sample_it_is_in():
    """One image in a sample and three in another: the mean of four, not of two."""
    first, second = sample(0, 1, {'novel': [[0]]}), sample(1, 3, {'novel': [[0], [1], [2]]})
    figures = evaluated(ProtocolImageMetric(), first, second)
    values = [each(first, [0]), *(each(second, [position]) for position in range(3))]
    assert figures['novel/psnr'] == pytest.approx(np.mean(values), rel=1e-12)


def test_images_of_a_unit_are_measured_together():
    one = sample(2, 4, {'novel': [[1, 3], [0]]})
    expected = (each(one, [1, 3]) + each(one, [0])) / 2
    assert evaluated(ProtocolImageMetric(), one)['novel/psnr'] == pytest.approx(expected, rel=1e-12)


def test_groups_are_reconstruction_or_novel_views():
    groups = {'': [[0]], 'novel': [[1]], 'all': [[0], [1]]}
    for options, expected in (
        ({'novel_view': False}, {'psnr'}),
        ({'reconstruction': False}, {'novel/psnr', 'all/psnr'}),
        ({}, {'psnr', 'novel/psnr', 'all/psnr'}),
    ):
        figures = evaluated(ProtocolImageMetric(**options), sample(3, 2, groups))
        assert {name for name in figures if name.endswith('psnr')} == expected


def test_colors_are_clamped_or_not():
    bright = sample(4, 1, {'novel': [[0]]})
    bright['rgb'] = bright['target_views'].images + 1
    assert evaluated(ProtocolImageMetric(clamp=False), bright)['novel/psnr'] == pytest.approx(0, abs=1e-5)
    assert evaluated(ProtocolImageMetric(), bright)['novel/psnr'] > 1


def test_depth_of_groups_and_of_the_estimates_of_inputs():
    one = sample(5, 3, depths={'novel': [[1, 2]], '': [[0]]})
    figures = evaluated(ProtocolDepthMetric(), one)
    usual = evaluated(DepthMetric(), {**one, 'depth': one['depth'][[0]], 'target_views': one['target_views'][[0]]})
    assert figures['abs_rel'] == pytest.approx(usual['frame+2/abs_rel'], rel=1e-12)
    assert figures['coarse/abs_rel'] == pytest.approx(usual['coarse/abs_rel'], rel=1e-12)
    assert 'novel/abs_rel' in figures
    novel_alone = evaluated(ProtocolDepthMetric(), sample(5, 3, depths={'novel': [[0]]}))
    assert novel_alone and not any(name.startswith('coarse') for name in novel_alone)


def test_one_group_of_all_views_is_what_the_usual_metric_gives():
    one = sample(6, 3, {'g': [[0, 1, 2]]})
    ours, usual = evaluated(ProtocolImageMetric(), one), evaluated(ImageMetric(), one)
    assert {name.removeprefix('g/'): value for name, value in ours.items()} == {
        name.removeprefix('frame+2/'): value for name, value in usual.items()
    }


def test_intervals_are_of_units():
    """Scene a has one image, scene b three: drawn once each, they give the mean of four."""
    metric = ProtocolImageMetric()
    a, b = sample(7, 1, {'novel': [[0]]}, scene='a'), sample(8, 3, {'novel': [[0], [1], [2]]}, scene='b')
    mean = evaluated(metric, a, b)['novel/psnr']
    scenes = [[one.result] for one in metric.results]
    drawn = metric.resampled(scenes, np.array([[1, 1], [2, 0]]))['novel/psnr']
    assert drawn == pytest.approx([mean, each(a, [0])], rel=1e-12)
    assert set(metric.intervals()) >= {'novel/psnr'}


def test_figures_of_units_survive_the_way_between_processes():
    figures = UnitFigures([{'psnr': 10.0}, {'psnr': 20.0, 'ssim': 0.5}])
    again = pickle.loads(pickle.dumps(figures))
    assert again == {'psnr': 15.0, 'ssim': 0.5} and again.units == figures.units and type(again) is UnitFigures
    assert UnitFigures() == {} and UnitFigures().units == []
