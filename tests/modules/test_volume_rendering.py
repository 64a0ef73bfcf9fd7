"""Volume rendering against the published vectors, and its hand-written gradients against plain torch."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from projects.DistillNeRF.modules.volume_rendering import (
    activate_density,
    alpha_weights,
    expected_depth,
    render_intervals,
)
from tests.helpers.arrays import assert_same_gradients
from verification.reference import kernels as reference

CASES = ['random', 'empty', 'opaque', 'spike', 'single']


def densities(case: str) -> Tensor:
    """Densities ``(2, n)`` of the hard cases, float64."""
    values = torch.rand(2, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    if case == 'single':
        return values[:, :1].clone()
    if case == 'empty':
        values[:] = 0
    elif case == 'opaque':
        values[:] = 1e4
    elif case == 'spike':
        values[:, 3] = 800.0
    return values


@pytest.fixture
def edges() -> Tensor:
    """Ascending interval edges ``(2, 8)``, float64."""
    steps = 0.1 + torch.rand(2, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return steps.cumsum(1)


@pytest.mark.parametrize('case', CASES)
def test_interval_weights_and_gradients_equal_the_reference(case, edges):
    density = densities(case)
    edges = edges[:, : density.shape[1] + 1]

    def slow(density: Tensor, edges: Tensor) -> tuple[Tensor, Tensor]:
        weights = reference.interval_weights(density * edges.diff(dim=1))
        middle = (edges[:, 1:] + edges[:, :-1]) / 2
        return (weights * middle).sum(1) / weights.sum(1).clamp(1e-6, 1.0), weights

    assert_same_gradients(lambda d, e: render_intervals(d, e, dim=-1), slow, density, edges)


@pytest.mark.parametrize('case', CASES)
def test_interval_gradients_equal_finite_differences(case, edges):
    density = densities(case)
    if case == 'opaque':
        density = density / 1e3
    if case == 'empty':
        # At zero itself the opacity is on the edge of its clamp, where finite differences mean nothing.
        density = density + 0.1
    edges = edges[:, : density.shape[1] + 1]
    # The weights' sum may round to either side of the clamp at 1: test the weights, not the depth.
    assert torch.autograd.gradcheck(
        lambda d, e: render_intervals(d, e, dim=-1)[1], (density.requires_grad_(), edges.requires_grad_()), atol=1e-6
    )


def test_intervals_along_another_dimension(edges):
    density = densities('random')
    depth, weights = render_intervals(density, edges, dim=-1)
    other_depth, other_weights = render_intervals(density.T, edges.T, dim=0)
    torch.testing.assert_close(other_depth, depth)
    torch.testing.assert_close(other_weights.T, weights)


def test_shared_edges_broadcast():
    density = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    edges = torch.tensor([1.0, 2, 4, 5, 7, 8])
    depth, weights = render_intervals(density, edges, dim=-1)
    expected = render_intervals(density, edges.expand(2, 3, 4, 6), dim=-1)
    torch.testing.assert_close((depth, weights), expected)


def test_a_ray_without_density_has_depth_zero():
    depth, weights = render_intervals(torch.zeros(1, 4), torch.arange(5.0), dim=-1)
    assert depth.item() == 0
    assert weights.tolist() == [[0, 0, 0, 0]]


def test_an_opaque_interval_takes_everything():
    density = torch.zeros(1, 4)
    density[0, 2] = 1e8
    density[0, 3] = 1e8
    depth, weights = render_intervals(density, torch.arange(5.0), dim=-1)
    # What passes 80 optical depths counts as passing (1.8e-35), to spare the slow exp of less.
    torch.testing.assert_close(weights, torch.tensor([[0.0, 0, 1, 0]]), rtol=0, atol=1e-34)
    assert depth.item() == 2.5


@pytest.mark.parametrize('case', CASES)
def test_alpha_weights_and_gradients_equal_the_reference(case, edges):
    # Zero density is logit -inf; the samples of a renderer never go below the soft clamp, so -20 stands for it.
    logits = densities(case).log().clamp_min(-20)
    if case == 'single':
        logits = torch.cat([logits, logits], 1)
    depths = edges[:, : logits.shape[1]]

    def slow(logits: Tensor) -> tuple[Tensor]:
        return (reference.alpha_weights(logits, depths),)

    assert_same_gradients(lambda x: (alpha_weights(x, depths, 'exp'),), slow, logits)
    assert torch.autograd.gradcheck(lambda x: alpha_weights(x, depths, 'exp'), (logits.requires_grad_(),), atol=1e-6)


@pytest.mark.parametrize('case', CASES)
def test_weights_by_mean_density_and_gradients_equal_the_reference(case, edges):
    """An interval is as dense as the mean of its ends: the logit of that mean at both of them."""
    logits = densities(case).log().clamp_min(-20)
    if case == 'single':
        logits = torch.cat([logits, logits], 1)
    depths = edges[:, : logits.shape[1]]

    def slow(logits: Tensor) -> tuple[Tensor]:
        weights, passed = [], torch.ones_like(logits[:, 0])
        for n in range(logits.shape[1] - 1):
            density = (torch.exp(logits[:, n] - 1) + torch.exp(logits[:, n + 1] - 1)) / 2
            alpha = 1 - torch.exp(-density * (depths[:, n + 1] - depths[:, n]))
            weights.append((alpha + 1e-10) * passed)
            passed = passed * (1 - alpha + 1e-10)
        return (torch.stack(weights, 1),)

    assert_same_gradients(lambda x: (alpha_weights(x, depths, 'exp', mean_density=True),), slow, logits)
    assert torch.equal(alpha_weights(logits, depths, 'exp'), alpha_weights(logits, depths, 'exp', mean_density=False))


def test_a_surface_that_one_sample_hits_is_opaque_by_mean_density_alone():
    logits, depths = torch.tensor([[-30.0, -30, 8, -30]]), torch.arange(4.0)
    assert alpha_weights(logits, depths, 'exp').sum() < 1e-4
    weights = alpha_weights(logits, depths, 'exp', mean_density=True)
    assert weights.sum() == pytest.approx(1) and weights[0, 1] > 0.999


def test_gradients_stay_finite_in_float32_behind_a_wall():
    """Behind an opaque interval the transmittance is 1e-10 per interval, then zero: no 0 / 0."""
    logits = torch.full((1, 40), 10.0, requires_grad=True)
    weights = alpha_weights(logits, torch.arange(40.0), 'exp')
    (weights * torch.arange(39.0)).sum().backward()
    assert torch.isfinite(logits.grad).all()
    assert weights.sum().item() == pytest.approx(1)


def test_expected_depth_of_nothing_is_near():
    depths = torch.arange(4.0)
    weights = torch.tensor([[0.0, 0, 0], [0, 1, 0], [float('nan')] * 3])
    assert expected_depth(weights, depths.expand(3, 4), far=50).tolist() == [pytest.approx(1e-5), 1.5, 50]


def test_half_precision_is_computed_in_float32():
    density, edges = torch.rand(2, 5, dtype=torch.bfloat16), torch.arange(6.0)
    assert render_intervals(density, edges, dim=-1)[0].dtype == torch.float32
    assert alpha_weights(torch.zeros(2, 6, dtype=torch.float16), edges, 'exp').dtype == torch.float32
    # The largest density of the coarse net overflows float16.
    assert torch.isfinite(activate_density(torch.full((1,), 30.0, dtype=torch.float16), 'exp')).all()


def test_unknown_activation_is_refused():
    with pytest.raises(ValueError, match='relu'):
        activate_density(torch.zeros(1), 'relu')


def test_activations_by_hand():
    logit = torch.tensor([1.0, 3.0])
    torch.testing.assert_close(activate_density(logit, 'exp'), torch.tensor([1.0, math.exp(2)]))
    expected = torch.tensor([math.log(2), math.log(1 + math.exp(2))])
    torch.testing.assert_close(activate_density(logit, 'softplus'), expected)
    torch.testing.assert_close(activate_density(logit, 'sigmoid'), torch.tensor([0.5, 1 / (1 + math.exp(-2))]))


def test_two_intervals_by_hand():
    """Half of the light is stopped in the first meter, three quarters of the rest in the next two."""
    density = torch.tensor([[math.log(2), math.log(4) / 2]])
    depth, weights = render_intervals(density, torch.tensor([1.0, 2.0, 4.0]), dim=-1)
    torch.testing.assert_close(weights, torch.tensor([[0.5, 0.375]]))
    torch.testing.assert_close(depth, torch.tensor([(0.5 * 1.5 + 0.375 * 3) / 0.875]))


def test_a_march_by_hand():
    """The density of an interval is that of the mean logit of its ends; the logit 1 is a density of 1 per meter."""
    logits = torch.tensor([[0.0, 2.0, 0.0]]) + math.log(math.log(2))
    weights = alpha_weights(logits, torch.tensor([3.0, 4.0, 6.0]), 'exp')
    torch.testing.assert_close(weights, torch.tensor([[0.5, 0.375]]))
    soft = alpha_weights(torch.tensor([[0.0, 2.0]]), torch.tensor([[0.0, 1.0]]), 'softplus')
    torch.testing.assert_close(soft, torch.tensor([[0.5]]))


def test_expected_depths_by_hand():
    depths = torch.tensor([[1.0, 3.0, 5.0]]).repeat(3, 1)
    weights = torch.tensor([[0.2, 0.6], [0.5, 0.0], [0.0, 1.0]])
    torch.testing.assert_close(expected_depth(weights, depths, far=3.75), torch.tensor([3.5, 2.0, 3.75]))
    assert expected_depth(weights[:1], depths[:1], far=50, near=3.6).item() == pytest.approx(3.6)


def test_rays_that_hardly_stop_have_the_depth_of_what_they_stop_at(dtype):
    """Sums of weights down to 1e-6 are divided by."""
    depth, _ = render_intervals(torch.tensor([[2e-6, 0.0]], dtype=dtype), torch.tensor([1.0, 2, 3]).double(), -1)
    assert depth.item() == pytest.approx(1.5, rel=1e-6)
    depth, _ = render_intervals(torch.tensor([[1e-7, 0.0]], dtype=dtype), torch.tensor([1.0, 2, 3]).double(), -1)
    assert depth.item() == pytest.approx(0.15, rel=1e-3)
