"""The coarse depth net, written out with plain torch."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from projects.DistillNeRF.modules.coarse_depth import CoarseDepthNet, DepthFeatureCombiner
from tests.helpers.arrays import defaults, randomized
from verification.reference import kernels as reference

EDGES = torch.tensor([1.0, 2.0, 4.0, 7.0], dtype=torch.float64)


def rand(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(sum(shape)))


def net(**changes) -> CoarseDepthNet:
    settings = {'width': 2, 'channels': 3, 'blocks': (1, 1, 1, 1), 'depth_channels': 4} | changes
    return randomized(CoarseDepthNet(3, **settings), 0.4)


def test_the_combiner_adds_its_mixture_to_the_frozen_features():
    combiner = randomized(DepthFeatureCombiner(3, 4), 0.4)
    features, frozen = rand(2, 3, 6, 8), rand(2, 4, 3, 4)
    large = F.interpolate(frozen, size=(6, 8), mode='bilinear', align_corners=False)
    mixed = combiner.mix(torch.cat([features, large], 1))
    residual = F.instance_norm(F.conv2d(mixed, combiner.residual.weight, combiner.residual.bias), eps=1e-5)
    expected = F.leaky_relu(F.conv2d(large + residual, combiner.final.weight, combiner.final.bias), 0.2)
    torch.testing.assert_close(combiner(features, frozen), expected)


def test_depth_and_weights_are_those_of_volume_rendering(dtype):
    made = net(logit_bound=2.0)
    features = rand(2, 3, 4, 5)
    first, last = made.head[0], made.head[2]
    hidden = F.leaky_relu(F.conv2d(features, first.weight, first.bias, padding=1), 0.2)
    logits = F.conv2d(hidden, last.weight, last.bias).permute(0, 2, 3, 1)
    density = torch.exp(2 * torch.tanh(logits / 2) - 1)
    weights = reference.interval_weights(density * EDGES.diff())
    depth = (weights * torch.tensor([1.5, 3.0, 5.5], dtype=dtype)).sum(-1) / weights.sum(-1)
    coarse = made.render(features, EDGES)
    torch.testing.assert_close(coarse.weights, weights)
    torch.testing.assert_close(coarse.depth, depth)
    assert coarse.features is features


def test_forward_is_pyramid_then_combiner_then_rendering():
    made, images, frozen = net(), rand(2, 3, 16, 20), rand(2, 4, 8, 10)
    features = made.combiner(made.pyramid(images), frozen)
    coarse, expected = made(images, frozen, EDGES), made.render(features, EDGES)
    torch.testing.assert_close(coarse.features, features)
    torch.testing.assert_close(coarse.depth, expected.depth)
    without = net(depth_channels=None)
    torch.testing.assert_close(without.features(images, None), without.pyramid(images))


@pytest.mark.parametrize(
    ('activation', 'density'),
    [('exp', math.exp(-3)), ('softplus', math.log1p(math.exp(-3))), ('sigmoid', 1 / (1 + math.exp(3)))],
)
def test_it_starts_with_thin_fog(activation, density):
    """Logits of about -2; one bin of a meter then stops 1 - exp(-density) of the light."""
    made = CoarseDepthNet(1, 2, 3, (1, 1, 1, 1), None, density_activation=activation)
    made.head[-1].weight.data.zero_()
    weights = made.render(torch.zeros(1, 3, 1, 1), torch.tensor([1.0, 2.0])).weights
    # The soft clamp at 30 takes 0.15 % off a logit of -2.
    assert weights.item() == pytest.approx(1 - math.exp(-density), rel=0.005)


def test_frozen_features_are_given_if_and_only_if_it_was_built_for_them():
    with pytest.raises(ValueError, match='built for frozen depth features, but the views hold none'):
        net().features(rand(1, 3, 16, 16), None)
    with pytest.raises(ValueError, match='the network was built without them'):
        net(depth_channels=None).features(rand(1, 3, 16, 16), rand(1, 4, 16, 16))


def test_usual_settings_are_the_published_ones():
    assert defaults(CoarseDepthNet) == {
        'width': 64,
        'channels': 64,
        'blocks': (2, 3, 5, 5),
        'depth_channels': 128,
        'density_activation': 'exp',
        'logit_bound': 30.0,
        'distribution': 'density',
        'estimate': 'median',
        'window': 1,
        'in_channels': 3,
    }


def test_every_width_is_its_own():
    """Pyramid of width 2 with a stem and an output of 3, frozen features of 4, 7 bins."""
    made = CoarseDepthNet(7, width=2, channels=3, blocks=(1, 1, 1, 1), depth_channels=4)
    shapes = {name: tuple(value.shape) for name, value in made.state_dict().items()}
    assert shapes['pyramid.stem.weight'][0] == shapes['pyramid.final.weight'][0] == 3
    assert shapes['pyramid.final.weight'][1] == 6
    assert shapes['combiner.mix.0.conv1.weight'] == (4, 7, 1, 1) and shapes['combiner.mix.1.conv1.weight'] == (
        4,
        4,
        1,
        1,
    )
    assert shapes['combiner.residual.weight'] == (4, 4, 1, 1) and shapes['combiner.final.weight'] == (3, 4, 1, 1)
    assert shapes['head.0.weight'] == (3, 3, 3, 3) and shapes['head.2.weight'] == (7, 3, 1, 1)
    assert made.head[0].padding == (1, 1)
