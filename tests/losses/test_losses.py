"""Losses against the published values and gradients, and in the cases where the published code gives NaN."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from mmdet3d.registry import MODELS

from projects.DistillNeRF.geometry.tensors import masked_mean
from projects.DistillNeRF.losses import modules as registered
from projects.DistillNeRF.losses.density import (
    density_loss,
    line_of_sight_epsilon,
    line_of_sight_loss,
    opacity_loss,
    weight_entropy,
)
from projects.DistillNeRF.losses.depth import (
    clamp_depth,
    clamped_depth_loss,
    depth_loss,
    fill_sky,
    log_depth_loss,
    near_depth_edges,
    resize_mask,
    teacher_depth_loss,
)
from projects.DistillNeRF.losses.image import l1, l2
from tests.helpers.data import PARITY

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


@pytest.fixture(scope='module', params=PARITY)
def vectors(request: pytest.FixtureRequest) -> dict[str, np.ndarray]:
    with np.load(PARITY[request.param] / 'unit.npz') as archive:
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
    assert len(classes) == 14
    assert classes <= set(MODELS.module_dict)


def test_the_line_of_sight_schedule_is_the_published_one(vectors):
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


def test_weights_that_are_nan_make_the_losses_nan():
    """A diverged training has to see it; binary cross entropy alone would raise."""
    weights = torch.full((1, 3, 2, 2), 0.1)
    weights[0, 1, 0, 0] = torch.nan
    assert opacity_loss(weights).isnan()
    assert weight_entropy(weights).isnan()


def jump(near: float = 10.0, far: float = 20.0) -> torch.Tensor:
    """Return depth ``(1, 12, 16)``: near on the left half, far on the right."""
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


def test_logarithmic_density_loss_pulls_at_what_is_transparent():
    free = torch.tensor([0.0, 0.4], dtype=torch.float64)
    logits = torch.tensor([-11.0, -2, 0, 3], dtype=torch.float64, requires_grad=True)
    value = density_loss(free, torch.cat([logits.exp(), logits.new_zeros(1)]), step=0.5, logarithmic=True)
    terms = [-math.log(1 - math.exp(-0.5 * math.exp(x))) for x in (-11, -2, 0, 3)]
    expected = (1 - math.exp(-0.2)) ** 2 / 2 + (sum(terms) - math.log(1e-6)) / 5
    assert value.item() == pytest.approx(expected, rel=1e-5)
    value.backward()
    # The force at a logit is x / (exp(x) - 1) of the optical depth x: 1 where nothing is stopped.
    depths = 0.5 * logits.detach().exp()
    torch.testing.assert_close(logits.grad, -depths / depths.expm1() / 5, rtol=1e-4, atol=1e-7)
    assert density_loss(torch.zeros(0), torch.zeros(0), 0.5, logarithmic=True) == 0
    loss = registered.DensityLoss(2.0, logarithmic=True)(free, depths)
    assert loss == 2 * density_loss(free, depths, 0.5, logarithmic=True)


RAND = torch.Generator().manual_seed(0)
NEAR, FAR_OFF = torch.rand(1, 3, 12, 16, generator=RAND), torch.rand(1, 3, 12, 16, generator=RAND)
JUMP = torch.cat([NEAR[0, :1] + 9, NEAR[0, :1] + 49], 2)
WEIGHTS_OF_RAYS = torch.rand(1, 5, 12, 16, generator=RAND) / 5
BIN_WEIGHTS = torch.full((1, 3, 12, 16), 0.25)
# Every registered loss with its other settings and inputs that give it a value.
COEFFICIENTS = {
    'RGBL1Loss': ({}, (NEAR, FAR_OFF)),
    'FeatureL2Loss': ({}, (NEAR, FAR_OFF)),
    'DepthLoss': ({}, (30 * NEAR, 30 * FAR_OFF)),
    'DepthClampLoss': ({}, (30 * NEAR, 30 * FAR_OFF)),
    'TeacherDepthLoss': ({}, (90 * NEAR, 90 * FAR_OFF)),
    'LogDepthLoss': ({}, (30 * NEAR, 30 * FAR_OFF)),
    'DepthBinsLoss': ({}, (BIN_WEIGHTS, torch.tensor([[1.0, 2.0, 4.0, 8.0]]), torch.full((1, 12, 16), 3.0))),
    'DepthEdgeLoss': ({'distance': 20}, (JUMP, torch.full_like(JUMP, 5.0), 0)),
    'DensityLoss': ({}, (NEAR, FAR_OFF)),
    'WeightEntropyLoss': ({}, (WEIGHTS_OF_RAYS,)),
    'OpacityLoss': ({}, (WEIGHTS_OF_RAYS,)),
    'LineOfSightLoss': ({'start': 0}, (WEIGHTS_OF_RAYS, 20 * WEIGHTS_OF_RAYS, torch.full((1, 12, 16), 3.0), 0)),
    'LPIPSLoss': ({}, (NEAR, FAR_OFF)),
    'DSSIMLoss': ({}, (NEAR, FAR_OFF)),
}


def test_every_loss_is_among_those_whose_coefficient_is_tested():
    assert {name for name in vars(registered) if name.endswith('Loss')} == set(COEFFICIENTS)


@pytest.mark.parametrize('name', COEFFICIENTS)
def test_the_coefficient_of_every_loss_counts(monkeypatch, name):
    """Three times the coefficient, three times the loss; none at all, no loss."""
    # LPIPS has no weights here: any distance of the two images will do.
    monkeypatch.setattr(registered.PerceptualDistance, 'load', lambda *_: None)
    monkeypatch.setattr(registered.PerceptualDistance, 'forward', lambda _, a, b: (a - b).square().mean())
    settings, inputs = COEFFICIENTS[name]
    one, three, none = (
        getattr(registered, name)(loss_weight=weight, **settings)(*inputs) for weight in (1.0, 3.0, 0.0)
    )
    assert one > 1e-4
    torch.testing.assert_close(three, 3 * one)
    assert none == 0


@pytest.mark.parametrize(
    ('name', 'settings'),
    [
        ('RGBL1Loss', {'loss_weight': 1.0}),
        ('FeatureL2Loss', {'loss_weight': 1.0}),
        ('DepthLoss', {'loss_weight': 1.0, 'max_depth': 80.0}),
        ('DepthClampLoss', {'loss_weight': 10.0, 'min_depth': 1e-5, 'max_depth': 80.0}),
        ('TeacherDepthLoss', {'loss_weight': 10.0, 'min_depth': 1e-5, 'max_depth': 120.0, 'inner_range': 50.0}),
        ('LogDepthLoss', {'loss_weight': 1.0, 'min_depth': 0.1, 'max_depth': 120.0}),
        ('DepthBinsLoss', {'loss_weight': 1.0}),
        ('DepthEdgeLoss', {'loss_weight': 10.0, 'start': 0, 'distance': 2, 'min_depth': 1e-5, 'max_depth': 80.0}),
        ('DensityLoss', {'loss_weight': 0.1, 'step': 0.5, 'margin': 1.0, 'behind': 0.0, 'logarithmic': False}),
        ('WeightEntropyLoss', {'loss_weight': 0.01, 'dim': 1}),
        ('OpacityLoss', {'loss_weight': 0.1, 'dim': 1}),
        (
            'LineOfSightLoss',
            {'loss_weight': 0.1, 'start': 14000, 'end': 28000, 'first_epsilon': 6.0, 'last_epsilon': 2.5, 'dim': 1},
        ),
        ('DSSIMLoss', {'loss_weight': 1.0}),
    ],
)
def test_the_defaults_of_every_loss_are_kept_and_printed(name, settings):
    loss = getattr(registered, name)()
    assert {key: getattr(loss, key) for key in settings} == settings
    assert all(f'{key}={value}' in repr(loss) for key, value in settings.items())


DISTANCES, TRUTH = torch.tensor([10.0, 90.0, 40.0, 3.0]), torch.tensor([14.0, 70.0, math.nan, 1.0])


def mixed(*differences: float) -> float:
    return sum(d * d + 0.1 * abs(d) for d in differences) / len(differences)


def test_depth_losses_by_hand():
    """Squared plus a tenth of absolute differences, as shares of the largest depth."""
    assert depth_loss(DISTANCES, TRUTH, 80.0).item() == pytest.approx(mixed(4 / 80, 20 / 80, 2 / 80))
    assert clamped_depth_loss(DISTANCES, TRUTH, 2.0, 80.0).item() == pytest.approx(mixed(4 / 80, 10 / 80, 1 / 80))
    near, far = mixed(4 / 50, 1 / 50), mixed(10 / 80)
    assert teacher_depth_loss(DISTANCES, TRUTH, 2.0, 80.0, 50.0).item() == pytest.approx(near + far)
    # A target at the border of the groups belongs to the far one.
    at_border = teacher_depth_loss(torch.tensor([40.0]), torch.tensor([50.0]), 2.0, 80.0, 50.0)
    assert at_border.item() == pytest.approx(mixed(10 / 80))
    assert depth_loss(DISTANCES, torch.full((4,), math.inf), 80.0) == 0


def test_entropy_by_hand():
    """Two rays of two samples: halves have log 2, one alone has none; the mean over the rays."""
    weights = torch.tensor([[0.5, 1.0], [0.5, 0.0]])[None, :, :, None].requires_grad_()
    entropy = weight_entropy(weights)
    assert entropy.item() == pytest.approx(math.log(2) / 2, rel=1e-5)
    entropy.backward()
    # d(-p log p) = -(log p + 1), halved by the mean; 1e-10 is added to every weight.
    expected = torch.tensor([[math.log(2) - 1, -1.0], [math.log(2) - 1, 10 * math.log(10) - 1]]) / 2
    torch.testing.assert_close(weights.grad[0, :, :, 0], expected, rtol=1e-4, atol=1e-5)


def test_opacity_by_hand():
    """The mean of -log of what rays stop; rays that stop everything cost nothing, and more than that neither."""
    weights = torch.tensor([[0.25, 0.7, 0.9], [0.25, 0.3, 0.9]])[None, :, :, None].requires_grad_()
    loss = opacity_loss(weights)
    assert loss.item() == pytest.approx(math.log(2) / 3, rel=1e-5)
    loss.backward()
    torch.testing.assert_close(weights.grad[0, :, 0, 0], torch.full((2,), -2.0 / 3))
    assert not weights.grad[0, :, 2].any()


def test_line_of_sight_by_hand():
    """Samples at 1, 4, 5 and 9 m, a return at 5 m, a band of 3 m around it: one before, two inside, one behind."""
    weights = torch.tensor([0.1, 0.2, 0.3, 0.4]).view(1, 4, 1, 1)
    mids = torch.tensor([1.0, 4.0, 5.0, 9.0]).view(1, 4, 1, 1)
    peak = 1 / math.sqrt(2 * math.pi)
    inside = ((0.2 - peak * math.exp(-0.5)) ** 2 + (0.3 - peak) ** 2) / 2
    loss = line_of_sight_loss(weights, mids, torch.full((1, 1, 1), 5.0), 3.0)
    assert loss.item() == pytest.approx(0.1**2 + inside + 0.4**2, rel=1e-5)
    assert line_of_sight_loss(weights, mids, torch.zeros(1, 1, 1), 3.0) == 0
    # A sample on the border of the band is in no group.
    assert line_of_sight_loss(weights[:, :1], mids[:, :1], torch.full((1, 1, 1), 4.0), 3.0) == 0
    last = line_of_sight_loss(weights.movedim(1, -1), mids.movedim(1, -1), torch.full((1, 1, 1), 5.0), 3.0, dim=-1)
    torch.testing.assert_close(last, loss)


@pytest.mark.parametrize(('iteration', 'expected'), [(9, None), (10, 4.0), (15, 3.0), (20, 2.0), (99, 2.0)])
def test_the_band_narrows_from_its_start_to_its_end(iteration, expected):
    assert line_of_sight_epsilon(iteration, 10, 20, 4.0, 2.0) == expected


def test_the_loss_has_its_own_schedule():
    weights, mids, target = (
        torch.full((1, 2, 1, 1), 0.5),
        torch.tensor([2.0, 9.0]).view(1, 2, 1, 1),
        torch.ones(1, 1, 1),
    )
    loss = registered.LineOfSightLoss(2.0, start=10, end=20, first_epsilon=4.0, last_epsilon=2.0)
    assert loss(weights, mids, target, 9) == 0
    torch.testing.assert_close(loss(weights, mids, target, 15), 2 * line_of_sight_loss(weights, mids, target, 3.0))


def test_colors_differ_by_the_mean_of_absolute_differences():
    assert l1(torch.tensor([0.0, 1.0, 0.5]), torch.tensor([0.3, 0.4, 0.5])).item() == pytest.approx(0.3)
    with pytest.raises(ValueError, match=r'\(1, 3\).*\(2, 3\)'):
        l1(torch.zeros(1, 3), torch.zeros(2, 3))


def test_features_differ_by_the_mean_of_squared_differences():
    estimate = torch.tensor([0.0, 1.0, 0.5], requires_grad=True)
    loss = l2(estimate, torch.tensor([0.3, 0.4, 0.5]))
    loss.backward()
    assert loss.item() == pytest.approx(0.15)
    torch.testing.assert_close(estimate.grad, torch.tensor([-0.2, 0.4, 0.0]))
    with pytest.raises(ValueError, match=r'\(1, 3\).*\(2, 3\)'):
        l2(torch.zeros(1, 3), torch.zeros(2, 3))


def test_a_masked_mean_counts_only_the_mask_and_is_zero_without_any():
    values, mask = torch.tensor([1.0, 2.0, 9.0], requires_grad=True), torch.tensor([True, True, False])
    mean = masked_mean(values, mask)
    mean.backward()
    assert mean.item() == 1.5 and values.grad.tolist() == [0.5, 0.5, 0]
    assert masked_mean(values, torch.zeros(3, dtype=torch.bool)) == 0


@pytest.mark.parametrize(
    ('near', 'far', 'edge'), [(10.0, 11.5, False), (10.0, 16.0, True), (3.0, 5.0, True), (1.0, 1.9, False)]
)
def test_an_edge_begins_where_depth_grows_by_a_half(near, far, edge):
    assert near_depth_edges(jump(near, far), 0).any().item() == edge


def test_a_mask_is_resized_without_new_values():
    mask = torch.tensor([[[0, 10, 3, 10], [1, 10, 2, 10]]])
    assert resize_mask(mask, 1, 2).tolist() == [[[0, 3]]]


def test_unknown_outside_the_sky_stays_unknown():
    depth = torch.tensor([[[math.nan, math.nan, 7.0]]])
    sky = torch.tensor([[[True, False, True]]])
    filled = clamp_depth(fill_sky(depth, sky, 50.0, only_unknown=True), 1e-5, 50.0)
    torch.testing.assert_close(filled, torch.tensor([[[45.0, math.nan, 7.0]]]), equal_nan=True)


def test_the_sky_of_the_teacher_is_filled_whole_and_a_meter_of_margin_is_kept():
    """5 m before the far end, in every pixel of the mask or in those alone that are unknown."""
    depth = torch.tensor([[[3.0, math.nan], [9.0, math.nan]]])
    sky = torch.tensor([[[1.0, 1.0], [0.0, 0.0]]])
    whole = fill_sky(depth, sky, 50.0, only_unknown=False)
    torch.testing.assert_close(whole, torch.tensor([[[45.0, 45.0], [9.0, math.nan]]]), equal_nan=True)
    unknown = fill_sky(depth, sky, 50.0, only_unknown=True)
    torch.testing.assert_close(unknown, torch.tensor([[[3.0, 45.0], [9.0, math.nan]]]), equal_nan=True)
    assert depth[0, 0, 0] == 3, 'a new tensor'


def test_masks_of_another_size_are_resized():
    mask = torch.tensor([[[1.0, 0.0]]])
    filled = fill_sky(torch.ones(1, 2, 4), mask, 50.0, only_unknown=False)
    assert filled.tolist() == [[[45, 45, 1, 1]] * 2]


def test_depths_are_clamped_on_both_sides():
    clamped = clamp_depth(torch.tensor([-3.0, 0.5, 30.0, 46.0, math.nan]), 0.1, 50.0)
    torch.testing.assert_close(clamped, torch.tensor([0.1, 0.5, 30.0, 45.0, math.nan]), equal_nan=True)
