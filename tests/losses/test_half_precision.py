"""Losses under autocast, as with a scaled loss in float16: the same values and gradients as in float32."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from mmdet3d.registry import MODELS
from torch import Tensor, nn

from projects.DistillNeRF.losses import modules as registered
from projects.DistillNeRF.models.network import DistillNeRF
from projects.DistillNeRF.models.objective import Objective
from tests.helpers.networks import TINY, lidar_views

SIZE = (12, 16)
Inputs = tuple[Tensor, ...]


def images() -> Inputs:
    """Bright and nearly flat: variances are differences of nearly equal numbers."""
    return 0.9 + 0.05 * torch.rand(2, 3, 37, 45), 0.9 + 0.05 * torch.rand(2, 3, 37, 45)


def depths() -> Inputs:
    target = 1 + 70 * torch.rand(2, *SIZE)
    target[:, ::3] = torch.nan
    return 1 + 70 * torch.rand(2, *SIZE), target


def steps() -> Inputs:
    """Depth with an edge."""
    estimate = torch.full((2, *SIZE), 5.0)
    estimate[..., 7:] = 40
    return estimate + torch.rand(2, *SIZE), 1 + 70 * torch.rand(2, *SIZE), 9


def weights() -> Inputs:
    return (torch.rand(2, 5, *SIZE) / 6,)


def line_of_sight() -> Inputs:
    mids = torch.arange(1.0, 6)[None, :, None, None].expand(2, 5, *SIZE) * 3
    return weights()[0], mids, 5 + 10 * torch.rand(2, *SIZE), 20000


def bins() -> Inputs:
    edges = torch.tensor([1.0, 3.0, 9.0, 20.0, 40.0, 80.0]).expand(2, -1)
    return weights()[0], edges, depths()[1]


def densities() -> Inputs:
    return 3 * torch.rand(200), 3 * torch.rand(100)


# Every registered class -> its inputs; the gradient is that of the first.
INPUTS: dict[str, Callable[[], Inputs]] = {
    'RGBL1Loss': images,
    'FeatureL2Loss': images,
    'DSSIMLoss': images,
    'LPIPSLoss': images,
    'DepthLoss': depths,
    'DepthClampLoss': depths,
    'TeacherDepthLoss': depths,
    'LogDepthLoss': depths,
    'DepthBinsLoss': bins,
    'DepthEdgeLoss': steps,
    'DensityLoss': densities,
    'WeightEntropyLoss': weights,
    'OpacityLoss': weights,
    'LineOfSightLoss': line_of_sight,
}
SCALE = 2.0**6


def registered_losses() -> set[str]:
    return {name for name, kind in MODELS.module_dict.items() if kind.__module__ == registered.__name__}


def build(name: str) -> nn.Module:
    """A loss of the usual settings; LPIPS of random weights."""
    if name != 'LPIPSLoss':
        return registered.build_loss({'type': name})
    loss = registered.LPIPSLoss(loss_weight=0.0)
    loss.loss_weight = 1.0
    for buffer_name, buffer in loss.distance.named_buffers():
        if buffer_name.startswith('weight'):
            buffer.copy_(torch.randn_like(buffer) * (2 / 9 / buffer.shape[1]) ** 0.5)
        elif buffer_name.startswith('lin'):
            buffer.copy_(torch.rand_like(buffer))
    return loss


def test_every_registered_loss_is_here():
    assert registered_losses() == set(INPUTS)


@pytest.mark.parametrize('name', INPUTS)
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_a_loss_under_autocast_is_that_of_float32(name, dtype):
    """The inputs are half precision, like the results of layers; all that follows is not."""
    torch.manual_seed(0)
    loss, (first, *others) = build(name), INPUTS[name]()
    first = first.to(dtype).float()
    expected_leaf = nn.Parameter(first.clone())
    expected = loss(expected_leaf, *others)
    expected.backward()

    leaf = nn.Parameter(first.clone())
    scaler = torch.amp.GradScaler('cpu', init_scale=SCALE)
    with torch.autocast('cpu', dtype=dtype):
        half = leaf.to(dtype)
        ours = loss(half, *others)
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours, expected, rtol=1e-6, atol=0)
    optimizer = torch.optim.SGD([leaf], lr=1.0)
    scaler.scale(ours).backward()
    scaler.unscale_(optimizer)
    # The gradient passes the half precision of the input once.
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(leaf.grad, expected_leaf.grad, rtol=eps, atol=torch.finfo(dtype).tiny)
    assert leaf.grad.abs().max() > 0


@pytest.mark.parametrize('name', INPUTS)
def test_a_loss_of_float32_is_bit_for_bit_the_same_under_autocast(name):
    torch.manual_seed(0)
    loss, (first, *others) = build(name), INPUTS[name]()
    results = []
    for enabled in (False, True):
        leaf = nn.Parameter(first.clone())
        with torch.autocast('cpu', dtype=torch.float16, enabled=enabled):
            value = loss(leaf, *others)
        value.backward()
        results.append((value, leaf.grad))
    assert all(torch.equal(plain, mixed) for plain, mixed in zip(*results, strict=True))


def test_losses_of_users_are_computed_without_autocast():
    """A loss with a convolution, which autocast would compute in half precision."""

    class Blurred(nn.Module):
        compares = 'image'

        def forward(self, estimate: Tensor, target: Tensor) -> Tensor:
            seen.append(
                (torch.is_autocast_enabled('cpu'), estimate.dtype, nn.functional.conv2d(estimate, kernel).dtype)
            )
            return (estimate - target).square().mean()

    seen, kernel, views = [], torch.ones(1, 3, 3, 3), lidar_views(1, 0)
    torch.manual_seed(0)
    network = DistillNeRF(**TINY)
    objective = Objective({'mine': Blurred()}, network.space, published_quirks=False)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        (encoded,) = network.encode([views])
        objective([encoded], [encoded.scene.render(views.cameras)], [views], [views])
    assert seen == [(False, torch.float32, torch.float32)]


def test_occupancy_and_densities_are_in_float32_under_autocast():
    """In half precision a probability of nearly one is one."""
    torch.manual_seed(0)
    network, views = DistillNeRF(**TINY), lidar_views(1, 0)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        (encoded,) = network.encode([views])
    coarse, fine = encoded.coarse, encoded.fine
    values = (coarse.depth, coarse.weights, fine.depth, fine.weights, fine.candidates, fine.occupancy, fine.logits)
    assert {value.dtype for value in values} == {torch.float32}
    assert len(fine.occupancy.unique()) > len(fine.occupancy.bfloat16().unique())
