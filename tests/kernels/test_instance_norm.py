"""Instance norm in Triton against the torch path."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

pytest.importorskip('triton')

from projects.DistillNeRF.kernels import instance_norm as kernels
from projects.DistillNeRF.modules import layers

SHAPES = [
    (1, 1, 1, 1),
    (2, 5, 7, 9),
    (2, 130, 3, 3),  # several blocks of channels, the last one not full
    (1, 48, 61, 41),  # several chunks of positions, the last one not full
]


def reference(x: Tensor, slope: float) -> Tensor:
    return layers.instance_norm(x, slope) if slope else F.relu(layers.instance_norm(x))


def results(function, x: Tensor, slope: float) -> tuple[Tensor, Tensor]:
    """The output, and the gradient for random cotangents."""
    leaf = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    y = function(leaf, slope)
    cotangent = torch.randn(y.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    return y, torch.autograd.grad(y, leaf, cotangent.to(y))[0]


def maps(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device, mean: float = 2.0) -> Tensor:
    x = mean + torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return x.to(device, dtype, memory_format=torch.channels_last)


@pytest.mark.parametrize('slope', [1.0, 0.2, 0.0])
@pytest.mark.parametrize('shape', SHAPES)
def test_values_and_gradients_equal_the_torch_path(shape, slope, device, dtype):
    x = maps(shape, dtype, device)
    for ours, theirs in zip(results(kernels.instance_norm, x, slope), results(reference, x, slope), strict=True):
        torch.testing.assert_close(ours, theirs)
        assert ours.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize('slope', [1.0, 0.2, 0.0])
@pytest.mark.parametrize('half', [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize('shape', [(2, 24, 9, 8), (1, 16, 60, 50)])
def test_lower_precision_rounds_only_what_it_reads_and_writes(shape, half, slope, device):
    x = maps(shape, half, device)
    y, grad = results(kernels.instance_norm, x, slope)
    exact_y, exact_grad = results(reference, x.double(), slope)
    assert y.dtype == grad.dtype == half
    rounding = (16 if half == torch.float32 else 2) * torch.finfo(half).eps
    torch.testing.assert_close(y.double(), exact_y, rtol=rounding, atol=rounding)
    torch.testing.assert_close(grad.double(), exact_grad, rtol=rounding, atol=rounding)


@pytest.mark.parametrize('shape', [(1, 2, 8, 9), (1, 2, 60, 50)])
def test_values_that_round_to_zero_keep_the_slope_of_their_sign(shape, device):
    """A few of many values have a norm that float16 rounds to zero."""
    x = torch.full(shape, 8.0)
    x.view(-1)[::2].neg_()
    x[..., 0, :4] = torch.tensor([1.0, -1, 1, -1]) * 2.0**-24  # the smallest of float16
    x = x.to(device, torch.float16, memory_format=torch.channels_last)
    y, grad = results(kernels.instance_norm, x, 0.2)
    _, exact_grad = results(reference, x.double(), 0.2)
    assert (y[..., 0, :4] == 0).all()
    torch.testing.assert_close(grad.double(), exact_grad, rtol=0, atol=2 * torch.finfo(torch.float16).eps)


@pytest.mark.parametrize('shape', [(1, 2, 8, 9), (1, 2, 60, 50)])
def test_zeros_are_not_positive(shape, device, dtype):
    """As in torch, whose leaky ReLU has its slope at zero; of a constant map all values are."""
    x = torch.full(shape, 3.0, dtype=dtype).to(device, memory_format=torch.channels_last)
    for ours, theirs in zip(results(kernels.instance_norm, x, 0.2), results(reference, x, 0.2), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize('shape', [(1, 3, 20, 20), (1, 3, 60, 60)])
def test_the_variance_does_not_cancel_where_the_mean_is_large(shape, device):
    x = maps(shape, torch.float32, device, mean=3000.0)
    exact = layers.instance_norm(x.double(), 0.2)
    error = (kernels.instance_norm(x, 0.2) - exact).abs().max()
    assert error < 5e-4  # the rounding of the mean; sums of squares would be off by one


def test_maps_that_are_not_channels_last_and_expanded_gradients(device, dtype):
    x = maps((2, 6, 5, 4), dtype, device).contiguous().requires_grad_()
    ours, theirs = (
        torch.autograd.grad((f(x, 0.2) ** 2).sum((2, 3)).mean(), x)[0] for f in (kernels.instance_norm, reference)
    )
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize('shape', [(0, 3, 4, 4), (2, 0, 4, 4)])
def test_nothing_to_normalize(shape, device):
    x = torch.zeros(shape, device=device, requires_grad=True)
    y = kernels.instance_norm(x, 0.2)
    assert y.shape == shape
    assert torch.autograd.grad(y.sum(), x)[0].shape == shape


def test_two_runs_give_the_same_bits(device):
    x = maps((1, 16, 60, 50), torch.float32, device)
    first, second = (results(kernels.instance_norm, x, 0.2) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
