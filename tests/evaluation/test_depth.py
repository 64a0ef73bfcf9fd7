"""Depth errors by hand."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from projects.DistillNeRF.evaluation.depth import (
    average,
    depth_errors,
    distance_to_z,
    errors_up_to,
    point_depth_errors,
    resample_depth,
)
from projects.DistillNeRF.geometry.cameras import Cameras
from tests.helpers.cameras import pinhole
from verification.reference.depth_errors import plain_depth_errors


def test_the_seven_errors_by_hand():
    """Ratios 1.2, 1.5 and 1.9: one below 1.25, two below 1.5625, all below 1.953."""
    estimate, target = torch.tensor([12.0, 20.0, 38.0, 7.0]), torch.tensor([10.0, 30.0, 20.0, math.nan])
    errors = depth_errors(estimate, target)
    logs = [math.log(1.2), math.log(2 / 3), math.log(1.9)]
    assert errors == pytest.approx(
        {
            'abs_rel': (2 / 10 + 10 / 30 + 18 / 20) / 3,
            'sq_rel': (4 / 10 + 100 / 30 + 324 / 20) / 3,
            'rmse': math.sqrt((4 + 100 + 324) / 3),
            'rmse_log': math.sqrt(sum(log * log for log in logs) / 3),
            'a1': 1 / 3,
            'a2': 2 / 3,
            'a3': 1.0,
        }
    )


def test_only_targets_within_the_bounds_count_and_estimates_are_clipped_to_them():
    estimate = torch.tensor([90.0, 3.0, 3.0, -1.0, 3.0])
    target = torch.tensor([40.0, 80.0, 79.0, 0.002, 0.0005])
    assert depth_errors(estimate[:1], target[:1])['rmse'] == pytest.approx(40)
    assert depth_errors(estimate[1:2], target[1:2]) == {}
    assert depth_errors(estimate[2:3], target[2:3])['rmse'] == pytest.approx(76)
    assert depth_errors(estimate[3:4], target[3:4])['abs_rel'] == pytest.approx(0.5)
    assert depth_errors(estimate[4:], target[4:]) == {}
    assert depth_errors(estimate[:1], target[:1], max_depth=50.0)['rmse'] == pytest.approx(10)
    with pytest.raises(ValueError, match='target'):
        depth_errors(torch.ones(2), torch.ones(3))


def test_a_ratio_at_the_bound_is_not_below_it():
    assert depth_errors(torch.tensor([12.5]), torch.tensor([10.0]))['a1'] == 0
    assert depth_errors(torch.tensor([8.0]), torch.tensor([10.0]))['a2'] == 1


def test_distances_become_z():
    """At the corners of an image of focal length 1 the ray is sqrt(1 + u^2 + v^2) long per meter of z."""
    cameras = Cameras(pinhole(1.0, (1, 0)), torch.eye(4)[None], 2, 3)
    z = distance_to_z(torch.full((1, 2, 3), 6.0), cameras)
    lengths = torch.tensor([[[2.0, 1, 2], [3, 2, 3]]]).sqrt()
    torch.testing.assert_close(z, 6 / lengths)


def test_resampling_by_hand():
    """Corner to corner: three columns from two lie at 0, 0.5 and 1."""
    depth = torch.tensor([[[2.0, 4.0], [6.0, 8.0]]])
    assert resample_depth(depth, 3, 3).tolist() == [[[2, 3, 4], [4, 5, 6], [6, 7, 8]]]
    assert resample_depth(depth, 2, 2) is depth
    assert resample_depth(depth, 1, 3).shape == (1, 1, 3)


def test_points_are_compared_where_they_are():
    """Locations are shares (u, v) of the image; the border is repeated; the mean over cameras."""
    depth = torch.tensor([[[2.0, 4.0], [6.0, 8.0]], [[10.0, 10.0], [10.0, 10.0]]])
    locations = torch.tensor([[[1.0, 0.0], [0.5, 0.5]], [[0.2, 0.3], [0.0, 0.0]]])
    target = torch.tensor([[4.0, 10.0], [8.0, 1.0]])
    mask = torch.tensor([[True, True], [True, False]])
    errors = point_depth_errors(depth, locations, target, mask)
    assert errors['abs_rel'] == pytest.approx(((0 + 0.5) / 2 + 0.25) / 2)
    assert point_depth_errors(depth, locations, target, torch.zeros(2, 2, dtype=torch.bool)) == {}
    near = point_depth_errors(depth, locations, target, mask, max_depth=9.0)
    # Without the point at 10 m; the second camera's estimate is clipped to 9 m.
    assert near['abs_rel'] == pytest.approx((0 + 1 / 8) / 2)


def test_averages_are_over_the_results_that_have_the_figure():
    assert average([{'a': 1.0}, {'a': 3.0, 'b': 5.0}, {}]) == {'a': 2.0, 'b': 5.0}
    assert list(average([{'b': 1.0}, {'a': 1.0}])) == ['b', 'a']
    assert average([]) == {}


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64, torch.float16])
def test_errors_are_those_of_whole_tensors(dtype):
    """float64 sums of 20,000 numbers in another order: 1e-12 is some thousand times their rounding."""
    generator = torch.Generator().manual_seed(0)
    target = 100 * torch.rand(2, 100, 100, generator=generator)
    estimate = (target * (0.5 + torch.rand(target.shape, generator=generator))).to(dtype)
    target[:, ::7], estimate[0, 5], estimate[1, 9] = math.nan, math.inf, -math.inf
    for one, other in ((estimate, target), (estimate.mT, target.mT), (estimate[..., ::3], target[..., ::3])):
        for limit, errors in zip((80.0, 50.0), errors_up_to(one, other, (80.0, 50.0)), strict=True):
            expected = plain_depth_errors(one.double(), other.double(), limit).tolist()
            assert list(errors.values()) == pytest.approx(expected, rel=1e-12, abs=0)


def test_pixels_that_only_some_ranges_have_are_added_to_the_others():
    """Of every pixel it is tested, alone and beside another, whether it counts up to 80 and up to 50 m, and how."""
    values = [0.0005, 0.002, 3.0, 49.999, 50.0, 50.001, 79.999, 80.0, 90.0, math.inf, -1.0]
    pixels = list(itertools.product(values, [*values, math.nan]))
    beside = torch.tensor([12.0, 10.0])
    for pair in pixels:
        one = torch.tensor(pair, dtype=torch.float64)
        for pixel in (one[:, None], torch.stack([one, beside.double()], 1), torch.stack([beside.double(), one], 1)):
            for limit, errors in zip((50.0, 80.0), errors_up_to(*pixel, (50.0, 80.0)), strict=True):
                expected = plain_depth_errors(*pixel, limit).tolist()
                assert list(errors.values()) == (pytest.approx(expected) if not math.isnan(expected[0]) else [])


def test_an_unknown_estimate_makes_errors_unknown_and_not_small():
    errors = depth_errors(torch.tensor([10.0, math.nan]), torch.tensor([10.0, 20.0]))
    assert all(math.isnan(errors[name]) for name in ('abs_rel', 'sq_rel', 'rmse', 'rmse_log')) and errors['a1'] == 0.5
    assert depth_errors(torch.tensor([10.0, math.nan]), torch.tensor([10.0, math.nan]))['rmse'] == 0


def test_several_ranges_in_one_go_are_those_of_a_loop():
    """Estimates beyond a range are clipped to its own end, and each range has the pixels within it alone."""
    generator = torch.Generator().manual_seed(0)
    target, estimate = (100 * torch.rand(2, 5, 7, generator=generator) for _ in range(2))
    target[0, 0] = math.nan
    limits = (80.0, 50.0, 20.0)
    for limit, errors in zip(limits, errors_up_to(estimate, target, limits), strict=True):
        pairs = [
            (min(max(e, 1e-3), limit), t)
            for e, t in zip(estimate.flatten().tolist(), target.flatten().tolist(), strict=True)
            if 1e-3 < t < limit
        ]
        expected = {
            'abs_rel': [abs(e - t) / t for e, t in pairs],
            'sq_rel': [(e - t) ** 2 / t for e, t in pairs],
            'a1': [max(e / t, t / e) < 1.25 for e, t in pairs],
        }
        for name, values in expected.items():
            assert errors[name] == pytest.approx(sum(values) / len(values))
        for name, values in (
            ('rmse', [(e - t) ** 2 for e, t in pairs]),
            ('rmse_log', [math.log(e / t) ** 2 for e, t in pairs]),
        ):
            assert errors[name] == pytest.approx(math.sqrt(sum(values) / len(values)))
    assert errors_up_to(estimate, target + 60, (80.0, 50.0))[1] == {}
