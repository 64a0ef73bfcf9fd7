"""Losses against the published values and gradients, and in the cases where the published code gives NaN."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet3d.registry import MODELS

from projects.DistillNeRF.losses import registered
from projects.DistillNeRF.losses.density import density_loss
from projects.DistillNeRF.losses.depth import clamped_depth_loss, depth_loss, log_depth_loss, teacher_depth_loss
from projects.DistillNeRF.losses.depth_edges import near_depth_edges
from projects.DistillNeRF.losses.line_of_sight import line_of_sight_epsilon, line_of_sight_loss
from projects.DistillNeRF.losses.weights import opacity_loss, weight_entropy

DEPTH, IMAGE, WEIGHTS = ('depth_estimate', 'depth_gt'), ('img_est', 'img_gt'), ('weights',)
# Published name, our module, inputs (the first is what the gradient is taken of).
PUBLISHED = [
    ('RGBL1Loss', registered.RGBL1Loss(loss_weight=1.5), IMAGE),
    ('DepthLoss', registered.DepthLoss(loss_weight=3, max_depth=80), DEPTH),
    ('DepthClampLoss', registered.DepthClampLoss(loss_weight=10, max_depth=80), DEPTH),
    ('MidasDepthClampLoss', registered.DepthClampLoss(loss_weight=2, max_depth=120), DEPTH),
    ('DepthAnythingDepthClampLoss', registered.DepthClampLoss(loss_weight=2, max_depth=120), DEPTH),
    ('EmernerfDepthClampLoss', registered.TeacherDepthLoss(), DEPTH),
    ('NerfWeightEntropyLoss', registered.WeightEntropyLoss(), WEIGHTS),
    ('OpacityLoss', registered.OpacityLoss(), WEIGHTS),
]


@pytest.fixture(scope='module')
def vectors(shared_dir: Path) -> dict[str, np.ndarray]:
    with np.load(shared_dir / 'parity/public/unit.npz') as archive:
        return {key.removeprefix('loss/'): archive[key] for key in archive if key.startswith('loss/')}


def tensors(vectors: dict[str, np.ndarray], names: tuple[str, ...]) -> list[torch.Tensor]:
    first, *others = [torch.from_numpy(vectors[name]) for name in names]
    return [first.clone().requires_grad_(), *others]


def assert_published(loss: torch.Tensor, leaf: torch.Tensor, vectors: dict[str, np.ndarray], name: str) -> None:
    loss.backward()
    # The published line-of-sight gradient is NaN at pixels without a return; ours is 0 there.
    expected = torch.from_numpy(vectors[f'{name}_grad']).nan_to_num(0.0)
    torch.testing.assert_close(loss.item(), float(vectors[f'{name}_value']), rtol=2e-6, atol=0)
    torch.testing.assert_close(leaf.grad, expected, rtol=1e-4, atol=1e-6 * expected.abs().max().item())


@pytest.mark.parametrize(('name', 'module', 'inputs'), PUBLISHED, ids=[case[0] for case in PUBLISHED])
def test_value_and_gradient_are_the_published_ones(vectors, name, module, inputs):
    arguments = tensors(vectors, inputs)
    assert_published(module(*arguments), arguments[0], vectors, name)


@pytest.mark.parametrize(('iteration', 'epsilon'), [(14000, 6.0), (28000, 2.5)])
def test_line_of_sight_is_the_published_one(vectors, iteration, epsilon):
    weights, mids, target = tensors(vectors, ('weights', 'los_t', 'los_gt'))
    loss = registered.LineOfSightLoss()(weights, mids, target[0], iteration)
    assert_published(loss, weights, vectors, f'LineOfSightLoss_eps{epsilon}')


def test_every_loss_is_registered():
    classes = {name for name in vars(registered) if name.endswith('Loss')}
    assert len(classes) == 12
    assert classes <= set(MODELS.module_dict)


def test_line_of_sight_schedule(vectors):
    for iteration, expected in vectors['los_epsilon_schedule']:
        epsilon = line_of_sight_epsilon(int(iteration))
        assert (epsilon is None) == math.isnan(expected)
        assert epsilon is None or epsilon == pytest.approx(expected)


def test_line_of_sight_is_off_before_its_start():
    weights = torch.rand(2, 5, 3, 4, requires_grad=True)
    loss = registered.LineOfSightLoss()(weights, weights.detach(), torch.ones(2, 3, 4), 13999)
    loss.backward()
    assert loss.item() == 0
    assert not weights.grad.any()


DEPTH_LOSSES = [
    lambda estimate, target: depth_loss(estimate, target, 80.0),
    lambda estimate, target: clamped_depth_loss(estimate, target, 1e-5, 80.0),
    lambda estimate, target: teacher_depth_loss(estimate, target, 1e-5, 120.0, 50.0),
]


@pytest.mark.parametrize('loss_function', DEPTH_LOSSES)
def test_nothing_known_is_zero_and_connected(loss_function):
    estimate = torch.rand(2, 4, 5, requires_grad=True)
    loss = loss_function(estimate, torch.full((2, 4, 5), math.nan))
    loss.backward()
    assert loss.item() == 0
    assert not estimate.grad.any()


@pytest.mark.parametrize('loss_function', DEPTH_LOSSES)
def test_unknown_pixels_do_not_count(loss_function):
    estimate, target = torch.rand(2, 4, 5) * 60, torch.rand(2, 4, 5) * 60
    target[:, :2] = math.nan
    estimate.requires_grad_()
    loss = loss_function(estimate, target)
    loss.backward()
    torch.testing.assert_close(loss, loss_function(estimate[:, 2:], target[:, 2:]))
    assert not estimate.grad[:, :2].any()
    assert estimate.grad[:, 2:].all()


def test_teacher_loss_with_an_empty_group_is_that_of_the_other():
    estimate, target = torch.rand(3, 4) * 40, torch.rand(3, 4) * 40
    loss = teacher_depth_loss(estimate, target, 1e-5, 120.0, 50.0)
    torch.testing.assert_close(loss, clamped_depth_loss(estimate, target, 1e-5, 50.0))


def test_line_of_sight_without_returns_is_zero_and_connected():
    weights = torch.rand(1, 6, 2, 3, requires_grad=True)
    loss = line_of_sight_loss(weights, torch.full_like(weights, math.nan), torch.full((1, 2, 3), math.nan), 2.5)
    loss.backward()
    assert loss.item() == 0
    assert not weights.grad.any()


def test_shapes_must_agree():
    with pytest.raises(ValueError, match=r'\(2, 3, 4\).*\(3, 4\)'):
        depth_loss(torch.ones(2, 3, 4), torch.ones(3, 4), 80.0)
    with pytest.raises(ValueError, match='mids'):
        line_of_sight_loss(torch.ones(1, 5, 2, 3), torch.ones(1, 5, 2, 3), torch.ones(2, 2, 3), 2.5)


def test_losses_work_in_autocast():
    weights = torch.rand(2, 5, 3, 4, requires_grad=True)
    plain = opacity_loss(weights) + weight_entropy(weights)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        mixed = opacity_loss(weights) + weight_entropy(weights)
    torch.testing.assert_close(mixed, plain)


def test_samples_may_be_on_any_axis():
    weights = torch.rand(2, 5, 3, 4)
    last = weights.movedim(1, -1)
    torch.testing.assert_close(opacity_loss(last, dim=-1), opacity_loss(weights))
    torch.testing.assert_close(weight_entropy(last, dim=-1), weight_entropy(weights))


def test_log_depth_loss_counts_in_proportion_and_ignores_unknown_pixels():
    target = torch.tensor([2.0, 40.0, torch.nan, 500.0], dtype=torch.float64)
    estimate = torch.tensor([3.0, 60.0, 7.0, 90.0], dtype=torch.float64, requires_grad=True)
    loss = log_depth_loss(estimate, target, min_depth=0.1, max_depth=100.0)
    assert loss.item() == pytest.approx((2 * math.log(1.5) + math.log(100 / 90)) / 3, rel=1e-6)
    (gradient,) = torch.autograd.grad(loss, estimate)
    expected = torch.tensor([1 / 3, 1 / 60, 0, -1 / 90], dtype=torch.float64) / 3
    torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=0)


def test_log_depth_loss_of_no_known_pixel_is_zero_and_connected():
    estimate = torch.ones(3, requires_grad=True)
    loss = log_depth_loss(estimate, torch.full((3,), torch.nan), 0.1, 100.0)
    loss.backward()
    assert loss.item() == 0
    assert estimate.grad.eq(0).all()


def test_weights_that_are_no_numbers_make_the_losses_nan():
    """A diverged training has to see it; binary cross entropy alone would raise."""
    weights = torch.full((1, 3, 2, 2), 0.1)
    weights[0, 1, 0, 0] = torch.nan
    assert opacity_loss(weights).isnan()
    assert weight_entropy(weights).isnan()


def jump(near: float = 10.0, far: float = 20.0) -> torch.Tensor:
    """``(1, 12, 16)`` depth: near on the left half, far on the right."""
    depth = torch.full((1, 12, 16), near)
    depth[..., 8:] = far
    return depth


@pytest.mark.parametrize('distance', [0, 1, 3])
def test_edges_are_where_the_depth_jumps(distance):
    near = near_depth_edges(jump(), distance)[0]
    inner = near[4:-4]
    columns = inner.any(0).nonzero()[:, 0].tolist()
    # Canny marks one of the two columns at the jump.
    assert len(columns) == 2 * distance + 1
    assert columns[distance] in (7, 8)
    assert torch.equal(inner, inner[:1].expand_as(inner))


def test_slopes_and_small_steps_are_no_edges():
    slope = torch.linspace(10, 20, 16).expand(1, 12, 16)
    assert not near_depth_edges(slope, 2).any()
    assert not near_depth_edges(jump(10, 11), 2).any()
    assert not near_depth_edges(jump(100, 120), 2).any(), 'beyond the scale'
    assert near_depth_edges(torch.cat([slope, jump()]), 2).flatten(1).any(1).tolist() == [False, True]
    assert near_depth_edges(jump()[:0], 2).shape == (0, 12, 16)


def test_depth_edge_loss_is_the_depth_loss_near_edges_from_its_start_on():
    estimate = jump().requires_grad_()
    target = torch.full_like(jump(), 12.0)
    target[0, 5] = float('nan')
    loss = registered.DepthEdgeLoss(loss_weight=3.0, start=10, distance=1)
    loss(estimate, target, 9).backward()
    assert not estimate.grad.any()
    near = near_depth_edges(estimate, 1) & target.isfinite()
    value = loss(estimate, target, 10)
    expected = ((estimate - target) / 80)[near]
    torch.testing.assert_close(value, 3 * (expected.square() + 0.1 * expected.abs()).mean())
    value.backward()
    assert torch.equal(estimate.grad != 0, near)


def test_density_loss_is_the_squared_error_of_opacity_over_a_step():
    free = torch.tensor([0.0, 0.4, 7.0], requires_grad=True)
    surface = torch.tensor([0.0, 2.0], requires_grad=True)
    value = density_loss(free, surface, step=0.5)
    expected = ((1 - torch.exp(-0.5 * free)) ** 2).mean() + (torch.exp(-0.5 * surface) ** 2).mean()
    torch.testing.assert_close(value, expected)
    value.backward()
    assert (free.grad[1:] > 0).all() and (surface.grad < 0).all()
    assert density_loss(torch.zeros(0), torch.full((1,), 99.0), 0.5) < 1e-30
