"""Figures of cameras, scenes, ranges of distances and of what moves, by hand."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from projects.DistillNeRF.evaluation.depth import depth_errors
from projects.DistillNeRF.evaluation.image import psnr, ssim
from projects.DistillNeRF.evaluation.metrics import DepthMetric, ImageMetric
from projects.DistillNeRF.evaluation.parts import RANGES, part_key, parts, pixel_masks, split_key, whole
from projects.DistillNeRF.utils.errors import InputError
from tests.helpers.cameras import unit_cameras
from tests.helpers.views import make_views

SIZE = (12, 16)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def sample(seed: int = 0, **changes) -> dict:
    """Two cameras now and one in the next frame; the left half of the first view moves."""
    moving = torch.zeros(3, *SIZE)
    moving[0, :, :8] = 1
    moving[2, :6] = math.nan
    truth = 90 * random(3, *SIZE, seed=seed + 1)
    inputs = make_views(unit_cameras(2, *SIZE), None, ('A', 'B'))
    images = random(3, 3, *SIZE, seed=seed)
    targets = make_views(unit_cameras(3, *SIZE), images, ('A', 'B', 'A'), (0, 0, 1), true_depth=truth, moving=moving)
    return {
        'rgb': random(3, 3, *SIZE, seed=seed + 2),
        'depth': 90 * random(3, *SIZE, seed=seed + 3),
        'input_views': inputs,
        'target_views': targets,
        'scene': f'scene {seed}',
        **changes,
    }


def measure(metric, *samples: dict) -> dict[str, float]:
    metric.process(None, list(samples))
    return metric.evaluate(len(samples))


def test_names_of_parts():
    name = part_key('next/psnr', 'camera', 'CAM=A@B')
    assert split_key(name) == ('next/psnr', 'camera', 'CAM=A@B')
    assert split_key('psnr') == ('psnr', '', '')
    figures = {'psnr': 1.0, name: 2.0, 'psnr@scene=x': 3.0}
    assert whole(figures) == {'psnr': 1.0}
    assert parts(figures, 'scene') == {'psnr@scene=x': 3.0} and len(parts(figures)) == 2


def test_images_by_camera_and_motion():
    data = sample()
    figures = measure(ImageMetric(by=('motion', 'camera')), data)
    rendered, images = data['rgb'], data['target_views'].images
    assert figures['psnr@camera=B'] == psnr(rendered[1:2], images[1:2])
    assert figures['ssim@camera=B'] == ssim(rendered[1:2], images[1:2])
    assert figures['next/psnr@camera=A'] == psnr(rendered[2:], images[2:]) == figures['next/psnr']
    assert figures['psnr@motion=moving'] == pytest.approx(psnr(rendered[:1, ..., :8], images[:1, ..., :8]))
    error = (rendered - images).double().square()
    static = torch.cat([error[0, ..., 8:].flatten(), error[1].flatten()]).mean().item()
    assert figures['psnr@motion=static'] == pytest.approx(-10 * math.log10(static))
    assert figures['next/psnr@motion=static'] == pytest.approx(-10 * math.log10(error[2, :, 6:].mean().item()))
    assert 'next/psnr@motion=moving' not in figures and not parts(figures, 'scene')
    assert whole(figures) == measure(ImageMetric(), data)


def test_views_that_are_repeated_belong_to_one_camera():
    """Without a next frame the current one is a target twice."""
    data = sample()
    data['target_views'] = dataclasses.replace(data['target_views'], frames=(0, 0, 0))
    figures = measure(ImageMetric(by=['camera']), data)
    chosen = data['rgb'][[0, 2]], data['target_views'].images[[0, 2]]
    assert figures['psnr@camera=A'] == psnr(*chosen) and figures['ssim@camera=A'] == ssim(*chosen)


def test_depth_by_distance_and_motion():
    data = sample()
    figures = measure(DepthMetric(by=['distance', 'motion'], published_quirks=True), data)
    estimate, truth = data['depth'][:2], data['target_views'].true_depth[:2]
    for low, high in RANGES:
        inside = (truth >= low) & (truth < high)
        expected = depth_errors(estimate[inside], truth[inside], 80)
        for name, value in expected.items():
            assert figures[f'{name}@distance={low}-{high}m'] == pytest.approx(value)
    moving = torch.zeros(2, *SIZE, dtype=torch.bool)
    moving[0, :, :8] = True
    for name, mask in (('moving', moving), ('static', ~moving)):
        assert figures[f'rmse@motion={name}'] == pytest.approx(depth_errors(estimate[mask], truth[mask])['rmse'])
    assert 'abs_rel@camera=A' not in figures


def test_ranges_have_all_pixels_of_the_full_range():
    data = sample()
    depth = data['target_views'].true_depth
    masks = torch.stack([mask for *_, mask in pixel_masks(('distance',), data['target_views'], *SIZE, depth)])
    assert torch.equal(masks.sum(0), (depth < 80).long())


def test_masks_of_motion_show_what_is_at_the_middle_of_each_pixel():
    moving = torch.zeros(1, 4, 6)
    moving[0, 1, 4] = 1
    views = make_views(unit_cameras(1, 4, 6), 0.5, moving=moving)
    (_, _, static), (_, _, found) = pixel_masks(['motion'], views, 2, 2)
    # Rows 1 and 3, columns 1 and 4.
    assert found.int().tolist() == [[[0, 1], [0, 0]]] and torch.equal(static, ~found)


def test_what_moves_is_not_known_of_most_data():
    data = sample()
    for unknown in (None, torch.full((3, 1, 1), math.nan)):
        views = dataclasses.replace(data['target_views'], moving=unknown)
        for metric in (ImageMetric(by=['motion']), DepthMetric(by=['motion'])):
            assert not parts(measure(metric, {**data, 'target_views': views}))


def test_scenes_have_the_figures_of_their_samples_and_parts_have_intervals():
    samples = [sample(0), sample(5, scene='scene 0'), sample(10), sample(15)]
    metric = ImageMetric(by=('scene', 'camera'))
    figures = measure(metric, *samples)
    assert {name for name in figures if name.endswith('@scene=scene 10')} == {
        f'{name}@scene=scene 10' for name in whole(figures)
    }
    alone = measure(ImageMetric(), *samples[:2])
    for name, value in alone.items():
        assert figures[f'{name}@scene=scene 0'] == pytest.approx(value)
    intervals = metric.intervals()
    assert set(intervals) == set(whole(figures)) | set(parts(figures, 'camera'))
    for name, (low, high) in intervals.items():
        assert low <= figures[name] <= high


def test_samples_that_do_not_say_their_scene_have_no_figures_of_scenes():
    figures = measure(ImageMetric(by=['scene']), sample(), sample(5, scene=None))
    assert not parts(figures)


def test_unknown_kinds_are_refused():
    with pytest.raises(InputError, match="by has 'cameras'; choose from camera, scene, distance, motion"):
        ImageMetric(by=['cameras'])
    assert ImageMetric(by=['distance', 'camera']).by == ('camera',)
