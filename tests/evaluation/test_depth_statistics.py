"""The median depth of every pixel of a training set."""

from __future__ import annotations

import math

import pytest
import torch

from projects.DistillNeRF.evaluation.depth_statistics import BINS, FARTHEST, NEAREST, DepthHistograms
from projects.DistillNeRF.evaluation.guesses import distance_of
from projects.DistillNeRF.geometry.views import Views
from tests.helpers.cameras import random_cameras, unit_cameras

# Half of a bin.
STEP = (FARTHEST / NEAREST) ** (0.5 / BINS)


def views(depth: torch.Tensor, name: str = 'A', field: str = 'true_depth') -> Views:
    count, height, width = depth.shape
    images = torch.zeros(count, 3, 2 * height, 2 * width)
    return Views(images, unit_cameras(count, 2 * height, 2 * width), (name,) * count, (0,) * count, **{field: depth})


def medians(*training: Views) -> dict[str, torch.Tensor]:
    histograms = DepthHistograms()
    assert list(histograms.watch(training)) == list(training)
    return histograms.medians()


@pytest.mark.parametrize('count', [1, 2, 5, 8])
def test_medians_are_those_of_each_pixel_to_half_a_bin(count):
    generator = torch.Generator().manual_seed(count)
    depths = 0.6 * 200 ** torch.rand(count, 3, 4, generator=generator)
    found = medians(*[views(depth[None]) for depth in depths])['A']
    ratio = (found / depths.median(0).values).log().abs()
    assert found.shape == (3, 4) and ratio.max() <= math.log(STEP) + 1e-6


def test_unknown_depths_do_not_count_and_unknown_pixels_have_the_median_of_the_camera():
    known = torch.tensor([[[5.0, math.nan], [20.0, 0.0]]])
    found = medians(views(known), views(torch.full((1, 2, 2), math.nan), 'B'))
    assert list(found) == ['A']
    expected = torch.tensor([[5.0, 5.0], [20.0, 5.0]])
    assert (found['A'] / expected).log().abs().max() <= math.log(STEP) + 1e-6


def test_the_truth_is_trusted_before_the_teacher_and_lidar_last():
    one = views(torch.full((1, 2, 2), 4.0), field='lidar_depth')
    two = views(torch.full((1, 2, 2), 30.0), 'B', 'teacher_depth')
    both = Views(**{**vars(views(torch.full((1, 2, 2), 8.0), 'C')), 'lidar_depth': torch.full((1, 2, 2), 50.0)})
    found = {name: float(depth[0, 0]) for name, depth in medians(one, two, both).items()}
    assert found == {
        name: pytest.approx(value, rel=STEP - 1 + 1e-6) for name, value in zip('ABC', (4, 30, 8), strict=True)
    }


def test_what_is_out_of_range_is_in_the_outer_bins():
    found = medians(views(torch.tensor([[[0.01, 1000.0]]])))['A'][0]
    assert found.tolist() == pytest.approx([NEAREST * STEP, FARTHEST / STEP], rel=1e-5)


def test_distances_along_rays_come_back_as_exactly_the_same_z():
    generator = torch.Generator().manual_seed(0)
    cameras = random_cameras(3, 12, 16, generator, dtype=torch.float32)
    depth = 100 * torch.rand(3, 12, 16, generator=generator)
    distance = distance_of(depth, cameras)
    assert torch.equal(distance / cameras.ray_lengths(12, 16).double(), depth.double())
