"""The fine depth net: its candidate scorer against literal 3-D convolutions, and its outputs' ranges."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from projects.DistillNeRF.modules.coarse_depth import CoarseDepth
from projects.DistillNeRF.modules.fine_depth import CandidateScorer, FineDepthNet
from tests.helpers.arrays import defaults
from verification.reference import kernels as reference


def random_scorer(channels: int, hidden: int) -> CandidateScorer:
    torch.manual_seed(0)
    scorer = CandidateScorer(channels, hidden).double()
    for parameter in scorer.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return scorer


@pytest.mark.parametrize('shape', [(2, 3, 5, 15), (1, 1, 1, 4), (1, 2, 2, 1)])
@pytest.mark.parametrize('case', ['meters', 'zero', 'equal'])
def test_scorer_and_gradients_equal_the_literal_convolutions(shape, case, dtype):
    scorer = random_scorer(9, 4)
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(shape[0], 9, *shape[1:3], dtype=dtype, generator=generator, requires_grad=True)
    candidates = torch.rand(shape, dtype=dtype, generator=generator) * 100
    if case == 'zero':
        candidates[..., : shape[-1] // 2] = 0
    elif case == 'equal':
        candidates[:] = 7.0
    candidates = candidates.sort(dim=-1).values.requires_grad_()
    cotangent = torch.randn(shape, dtype=dtype, generator=generator)
    leaves = [features, candidates, *scorer.parameters()]

    def evaluate(scores: Tensor) -> tuple[Tensor, ...]:
        gradients = torch.autograd.grad(scores, leaves, cotangent)
        return (scores, *gradients)

    ours = evaluate(scorer(features, candidates))
    expected = evaluate(reference.score_candidates(features, candidates, dict(scorer.named_parameters())))
    torch.testing.assert_close(ours, expected, rtol=1e-7, atol=1e-8)


def test_scorer_accepts_a_code_that_does_not_depend_on_distance(dtype):
    """Slope zero and offset zero: the variance of the code is zero, and layer norm divides by its epsilon."""
    scorer = random_scorer(9, 4)
    torch.nn.init.constant_(scorer.expand.weight, 0.3)
    torch.nn.init.constant_(scorer.expand.bias, 0.1)
    features = torch.randn(1, 9, 2, 3, dtype=dtype, generator=torch.Generator().manual_seed(1))
    candidates = torch.rand(1, 2, 3, 5, dtype=dtype, generator=torch.Generator().manual_seed(2)).requires_grad_()
    scores = scorer(features, candidates)
    expected = reference.score_candidates(features, candidates, dict(scorer.named_parameters()))
    torch.testing.assert_close(scores, expected, rtol=1e-6, atol=1e-6)
    scores.sum().backward()
    assert torch.isfinite(candidates.grad).all()


def test_scorer_in_float32_is_close_to_the_literal_convolutions(dtype):
    """The rank-3 form subtracts no large numbers: float32 keeps its accuracy at 100 m and at 0 m."""
    scorer = random_scorer(65, 16)
    features = torch.randn(1, 65, 6, 8, dtype=dtype, generator=torch.Generator().manual_seed(1))
    candidates = torch.rand(1, 6, 8, 15, dtype=dtype, generator=torch.Generator().manual_seed(2)) * 100
    candidates[0, 0] = 0
    expected = reference.score_candidates(features, candidates, dict(scorer.named_parameters()))
    scores = scorer.float()(features.float(), candidates.float())
    torch.testing.assert_close(scores, expected.float(), rtol=1e-4, atol=2e-4)


@pytest.mark.parametrize(('given', 'first'), [(None, -7), (-8, -8)])
def test_candidates(given, first):
    net = FineDepthNet(channels=4, context_channels=4, first_candidate=given)
    candidates = net.candidates(torch.tensor([[[0.1, 4.0, 40.0]]]))[0, 0]
    steps = first + torch.arange(15.0)
    torch.testing.assert_close(candidates[0], (0.1 + 0.05 * steps).clamp_min(0))
    torch.testing.assert_close(candidates[1], 4 + 0.1 * steps)
    torch.testing.assert_close(candidates[2], 40 + 0.3 * steps)


def test_outputs_and_gradients_of_the_whole_net():
    torch.manual_seed(0)
    net = FineDepthNet(channels=6, context_channels=3, width=4, hidden=4, blocks=(1, 1, 1, 1))
    depth = torch.tensor([0.0, 3.0, 50.0, 300.0]).repeat(2, 17, 5).requires_grad_()
    context = torch.randn(2, 3, 17, 20, requires_grad=True)
    images = torch.rand(2, 3, 17, 20)
    fine = net(images, CoarseDepth(depth, torch.empty(0), context, torch.empty(0)))
    assert fine.depth.shape == (2, 17, 20)
    assert fine.weights.shape == (2, 17, 20, 14)
    assert fine.candidates.shape == fine.occupancy.shape == fine.logits.shape == (2, 17, 20, 15)
    assert fine.features.shape == (2, 6, 17, 20)
    assert (fine.candidates.diff(dim=-1) >= 0).all()
    assert (fine.occupancy > 0).all()
    assert (fine.occupancy < 1).all()
    assert (fine.features.abs() <= 5).all()
    torch.testing.assert_close(fine.logits, (2 * fine.occupancy - 1) * 30)
    # Gradients reach the coarse net through its feature and through the candidates.
    (fine.depth.sum() + fine.features.sum() + fine.occupancy.sum()).backward()
    for gradient in (depth.grad, context.grad):
        assert torch.isfinite(gradient).all()
        assert gradient.abs().max() > 0


def test_the_whole_net_written_out():
    """Its outputs from its own parts; the image features are clamped softly, the logits are not."""
    torch.manual_seed(0)
    bounds = {'feature_bound': 0.05, 'logit_bound': 4.0, 'num_candidates': 5}
    net = FineDepthNet(channels=6, context_channels=3, width=4, hidden=4, blocks=(1, 1, 1, 1), **bounds).double()
    images, context = torch.rand(2, 3, 16, 20).double(), torch.randn(2, 3, 16, 20).double()
    depth = 2 + 30 * torch.rand(2, 16, 20).double()
    fine = net(images, CoarseDepth(depth, torch.empty(0), context, torch.empty(0)))

    def conv(x: Tensor, layer: torch.nn.Conv2d) -> Tensor:
        return F.conv2d(x, layer.weight, layer.bias, padding=layer.padding)

    def head(x: Tensor, layers: torch.nn.Sequential) -> Tensor:
        return conv(F.leaky_relu(conv(x, layers[0]), 0.2), layers[2])

    x = torch.cat([net.pyramid(images), context], 1)
    for layer in (net.combiner[0], net.combiner[2]):
        assert layer.padding == (1, 1)
        x = F.leaky_relu(F.instance_norm(conv(x, layer), eps=1e-5), 0.2)
    torch.testing.assert_close(fine.features, 0.05 * torch.tanh(head(x, net.feature_head) / 0.05))
    candidates = net.candidates(depth)
    occupancy = net.scorer(head(x, net.depth_head), candidates).sigmoid()
    logits = 4 * (2 * occupancy - 1)
    torch.testing.assert_close((fine.candidates, fine.occupancy, fine.logits), (candidates, occupancy, logits))
    density = torch.exp((logits[..., 1:] + logits[..., :-1]) / 2 - 1)
    weights = reference.interval_weights(density * candidates.diff(dim=-1))
    middle = (candidates[..., 1:] + candidates[..., :-1]) / 2
    torch.testing.assert_close(fine.weights, weights)
    torch.testing.assert_close(fine.depth, (weights * middle).sum(-1) / weights.sum(-1).clamp(1e-6, 1))


def test_candidates_of_other_spacing_and_number():
    net = FineDepthNet(4, 4, num_candidates=3, candidate_ratio=0.1, candidate_step=(0.5, 2.0))
    found = net.candidates(torch.tensor([[[1.0, 10.0, 90.0, 0.2]]]))[0, 0]
    expected = [[0.5, 1, 1.5], [9, 10, 11], [88, 90, 92], [0, 0.2, 0.7]]
    torch.testing.assert_close(found, torch.tensor(expected))


def test_usual_settings_are_the_published_ones():
    assert defaults(FineDepthNet) == {
        'channels': 64,
        'context_channels': 64,
        'width': 16,
        'hidden': 32,
        'blocks': (2, 3, 5, 5),
        'num_candidates': 15,
        'first_candidate': None,
        'candidate_ratio': 0.025,
        'candidate_step': (0.05, 0.3),
        'density_activation': 'exp',
        'feature_bound': 5.0,
        'logit_bound': 30.0,
        'in_channels': 3,
    }


def test_every_width_is_its_own():
    net = FineDepthNet(channels=6, context_channels=3, width=4, hidden=5, blocks=(1, 1, 1, 1))
    shapes = {name: tuple(value.shape) for name, value in net.state_dict().items()}
    assert shapes['pyramid.stem.weight'][0] == shapes['pyramid.final.weight'][0] == 4
    assert shapes['combiner.0.weight'] == (5, 7, 3, 3) and shapes['combiner.2.weight'] == (5, 5, 3, 3)
    assert shapes['feature_head.0.weight'] == (4, 5, 3, 3) and shapes['feature_head.2.weight'] == (6, 4, 1, 1)
    assert shapes['depth_head.0.weight'] == (4, 5, 3, 3) and shapes['depth_head.2.weight'] == (7, 4, 1, 1)
    assert shapes['scorer.expand.weight'] == (7, 1) and shapes['scorer.conv1.weight'] == (4, 7, 3)
    assert shapes['scorer.conv3.weight'] == (1, 4, 3)
