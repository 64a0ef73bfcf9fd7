"""Bins of equal ratio, and depth from distributions over them, against slow plain versions."""

from __future__ import annotations

import math

import pytest
import torch

from projects.DistillNeRF.geometry.cameras import Cameras
from projects.DistillNeRF.modules.coarse_depth import CoarseDepthNet
from projects.DistillNeRF.modules.depth_bins import LogBins, expectation_around, log_centers, median_bin
from projects.DistillNeRF.modules.volume_rendering import render_intervals
from projects.DistillNeRF.utils.errors import InputError
from tests.helpers.arrays import randomized
from tests.helpers.cameras import pinhole

EDGES = LogBins(6, 1.0, 64.0).edges(torch.empty((), dtype=torch.float64))


def test_edges_have_equal_ratios(dtype):
    edges = LogBins(6, 1.0, 64.0).edges(torch.empty((), dtype=dtype))
    assert edges.dtype == dtype
    torch.testing.assert_close(edges, torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0], dtype=dtype))
    torch.testing.assert_close(log_centers(edges).exp(), edges[:-1] * math.sqrt(2))


@pytest.mark.parametrize('settings', [{'number': 1}, {'near': 0.0}, {'near': 120.0}, {'far': 0.1}])
def test_bins_that_cannot_be_are_refused(settings):
    with pytest.raises(InputError, match='2 or more'):
        LogBins(**settings)


@pytest.mark.parametrize('focal', [0.0, -3.0, math.nan, 60.0])
def test_focal_lengths_that_cannot_be_are_refused(focal):
    with pytest.raises(InputError, match='focal length in widths'):
        LogBins(focal=focal)


CENTERS = [math.sqrt(a * b) for a, b in zip(EDGES.tolist()[:-1], EDGES.tolist()[1:], strict=True)]


def slow_expectation(weights: list[float], center: int, window: int) -> float:
    near = range(max(0, center - window), min(len(weights), center + window + 1))
    total = sum(weights[i] for i in near)
    return math.exp(sum(weights[i] * math.log(CENTERS[i]) for i in near) / total)


def slow_median(weights: list[float]) -> int:
    """Return the bin whose center has the smallest expected relative error."""
    errors = [sum(w * abs(c - d) / c for w, c in zip(weights, CENTERS, strict=True)) for d in CENTERS]
    return errors.index(min(errors))


def draw(rows: int, seed: int) -> torch.Tensor:
    """Draw weights; the first rows are heaviest at either end."""
    weights = torch.rand(rows, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) ** 4
    weights[0, 0] = weights[1, 5] = 200.0
    return weights


@pytest.mark.parametrize('window', [0, 1, 2, 9])
def test_the_expectation_is_that_of_the_bins_around_one(window):
    weights = draw(40, 0)
    center = torch.arange(40) % 6
    expected = [slow_expectation(row, i, window) for row, i in zip(weights.tolist(), center.tolist(), strict=True)]
    found = expectation_around(weights, EDGES, center, window)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize('window', [0, 1, 2])
def test_the_gradient_of_the_expectation(window):
    weights, center = draw(6, 1).requires_grad_(), torch.arange(6)
    assert torch.autograd.gradcheck(lambda x: expectation_around(x, EDGES, center, window), weights)


def test_the_median_has_the_smallest_expected_relative_error():
    weights = draw(200, 2)
    expected = [slow_median(row) for row in weights.tolist()]
    assert median_bin(weights, EDGES).tolist() == expected and set(expected) == set(range(6))


def test_two_surfaces_do_not_blend_and_the_near_one_is_taken():
    weights = torch.tensor([[0.4, 0.0, 0.0, 0.0, 0.0, 0.6]], dtype=torch.float64)
    assert weights.argmax() == 5 and median_bin(weights, EDGES) == 0
    for center in (0, 5):
        found = expectation_around(weights, EDGES, torch.tensor([center]), 1)
        torch.testing.assert_close(found, torch.tensor([CENTERS[center]], dtype=torch.float64))


def net(**changes) -> CoarseDepthNet:
    settings = {'width': 2, 'channels': 3, 'blocks': (1, 1, 1, 1), 'depth_channels': None} | changes
    return randomized(CoarseDepthNet(6, **settings), 0.4)


@pytest.mark.parametrize('estimate', ['mode', 'median'])
def test_a_softmax_over_bins(estimate):
    made = net(distribution='softmax', estimate=estimate, logit_bound=2.0, window=2)
    features = torch.randn(2, 3, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    coarse = made.render(features, EDGES)
    weights = (2 * torch.tanh(made.head(features) / 2)).softmax(1).permute(0, 2, 3, 1)
    rows = weights.reshape(-1, 6).tolist()
    centers = [row.index(max(row)) if estimate == 'mode' else slow_median(row) for row in rows]
    expected = [slow_expectation(row, center, 2) for row, center in zip(rows, centers, strict=True)]
    torch.testing.assert_close(coarse.weights, weights)
    torch.testing.assert_close(coarse.depth.flatten(), torch.tensor(expected, dtype=torch.float64))
    assert torch.equal(coarse.edges, EDGES.expand(2, -1))


def test_the_gradient_through_the_softmax():
    made = net(distribution='softmax')
    features = torch.randn(1, 3, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(3)).requires_grad_()

    def outputs(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        coarse = made.render(x, EDGES)
        return coarse.depth, coarse.weights

    assert torch.autograd.gradcheck(outputs, features)


def test_unknown_settings_are_refused():
    with pytest.raises(InputError, match="'soft'; give one of density, softmax"):
        net(distribution='soft')
    with pytest.raises(InputError, match="'mean'; give one of median, mode"):
        net(estimate='mean')
    with pytest.raises(InputError, match='window is -1'):
        net(window=-1)


def test_the_head_reads_what_follows_the_colors():
    """The norms of the pyramid take away most of what is the same all over an image."""
    made = net(in_channels=5)
    images = torch.rand(1, 5, 16, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    features, rays = made.features(images, None), images[:, 3:]
    coarse = made.render(features, EDGES, rays)
    logits = made.head(torch.cat([features, rays], 1)).permute(0, 2, 3, 1)
    _, weights = render_intervals((made.logit_bound * torch.tanh(logits / made.logit_bound) - 1).exp(), EDGES, -1)
    torch.testing.assert_close(coarse.weights, weights)
    torch.testing.assert_close(made(images, None, EDGES).depth, coarse.depth)
    assert (made.render(features, EDGES, rays + 1).depth - coarse.depth).abs().max() > 0.01


def cameras_of(*focals: float) -> Cameras:
    matrices = torch.stack([pinhole(focal, (20.0, 10.0)) for focal in focals]).view(-1, 3, 3).double()
    return Cameras(matrices, torch.eye(4, dtype=torch.float64).repeat(len(focals), 1, 1), 20, 40)


def test_edges_follow_the_focal_length():
    """Of a camera of twice the focal length bins are twice as far, up to the end of the space."""
    bins = LogBins(6, 1.0, 64.0, focal=1.25)
    same, half, twice, long = bins.edges_of(cameras_of(50.0, 25.0, 100.0, 900.0)).tolist()
    assert same == pytest.approx([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0])
    assert half == pytest.approx([0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 64.0])
    assert twice == pytest.approx([2.0, 4.0, 8.0, 16.0, 32.0, 63.936, 64.0])
    assert long == pytest.approx([18.0, 36.0, 63.744, 63.808, 63.872, 63.936, 64.0])
    assert bins.edges_of(cameras_of(30.0)[[]]).shape == (0, 7)
    enlarged = Cameras(cameras_of(75.0).intrinsics, torch.eye(4, dtype=torch.float64)[None], 60, 120)
    torch.testing.assert_close(bins.edges_of(enlarged), bins.edges_of(cameras_of(25.0)))


def test_each_image_is_read_with_its_own_edges():
    """What the net makes of images with edges of their own is what it makes of each alone; gradients, too."""
    net = randomized(CoarseDepthNet(6, 8, 8, (1, 1, 1, 1), None, distribution='softmax'), 0)
    edges = LogBins(6, 1.0, 64.0, focal=1.25).edges_of(cameras_of(30.0, 70.0))
    images = torch.rand(2, 3, 16, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    together = net(images, None, edges)
    together.depth.log().sum().backward()
    gradient = net.head[-1].weight.grad.clone()
    net.zero_grad()
    alone = [net(image, None, own) for image, own in zip(images.split(1), edges, strict=True)]
    sum(one.depth.log().sum() for one in alone).backward()
    torch.testing.assert_close(net.head[-1].weight.grad, gradient, rtol=1e-4, atol=1e-6)
    for name in ('depth', 'weights', 'edges'):
        expected = torch.cat([getattr(one, name) for one in alone])
        torch.testing.assert_close(getattr(together, name), expected, rtol=1e-5, atol=1e-6)
