"""Shared layers against the published vectors and plain torch."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F

from projects.DistillNeRF.modules import layers
from projects.DistillNeRF.modules.fpn import FPN
from projects.DistillNeRF.modules.layers import (
    Bottleneck,
    LeakyInstanceNorm,
    LeakyReLU,
    enlarge,
    instance_norm,
    leaky_relu_,
    relu_conv,
    soft_clamp,
)
from tests.helpers.arrays import assert_same_gradients


def test_a_bottleneck_of_equal_widths_keeps_its_input():
    torch.manual_seed(0)
    block = Bottleneck(8, 8)
    assert block.shortcut is None
    block.conv3.weight.data.zero_()
    x = torch.randn(1, 8, 4, 5)
    torch.testing.assert_close(block(x), x.relu())


@pytest.mark.parametrize('layout', [torch.contiguous_format, torch.channels_last])
def test_instance_norm_and_its_gradient(layout, dtype):
    generator = torch.Generator().manual_seed(0)
    x = (torch.randn(3, 5, 6, 7, dtype=dtype, generator=generator) * 2 + 1).contiguous(memory_format=layout)
    plain = partial(F.instance_norm, eps=1e-5)
    assert_same_gradients(lambda x: (instance_norm(x),), lambda x: (plain(x),), x, rtol=1e-10, atol=1e-10)


def test_instance_norm_with_a_leaky_relu_and_its_gradient(dtype):
    x = torch.randn(3, 5, 6, 7, dtype=dtype, generator=torch.Generator().manual_seed(0))

    def reference(x: torch.Tensor) -> tuple[torch.Tensor]:
        return (F.leaky_relu(F.instance_norm(x, eps=1e-5), 0.2),)

    assert_same_gradients(lambda x: (instance_norm(x, 0.2),), reference, x, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize('slope', [1.0, 0.2, 0.0])
@pytest.mark.parametrize('layout', [torch.contiguous_format, torch.channels_last])
def test_instance_norm_in_few_launches_and_its_gradient(monkeypatch, layout, slope, dtype):
    monkeypatch.setattr(layers, 'keeps_in_cache', lambda device: False)
    generator = torch.Generator().manual_seed(0)
    x = (torch.randn(3, 5, 6, 7, dtype=dtype, generator=generator) * 2 + 1).contiguous(memory_format=layout)

    def reference(x: torch.Tensor) -> tuple[torch.Tensor]:
        return (F.leaky_relu(F.instance_norm(x, eps=1e-5), slope),)

    assert_same_gradients(lambda x: (instance_norm(x, slope),), reference, x, rtol=1e-10, atol=1e-10)
    assert instance_norm(x).is_contiguous(memory_format=torch.channels_last)


def test_a_bottleneck_is_the_same_in_few_launches(monkeypatch, dtype):
    torch.manual_seed(0)
    block = Bottleneck(6, 8, stride=2).double()
    x = torch.randn(2, 6, 9, 7, dtype=dtype)
    results = []
    for small in (True, False):
        monkeypatch.setattr(layers, 'keeps_in_cache', lambda device, small=small: small)
        leaf = x.clone().requires_grad_()
        y = block(leaf)
        results.append((y, *torch.autograd.grad(y.cos().sum(), [leaf, *block.parameters()])))
    torch.testing.assert_close(results[1], results[0], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(('kernel', 'stride', 'padding'), [(1, 1, 0), (3, 1, 1), (3, 2, 1)])
def test_convolution_of_a_relu_and_its_gradients(kernel, stride, padding, dtype):
    generator = torch.Generator().manual_seed(0)
    conv = torch.nn.Conv2d(4, 6, kernel, stride, padding, bias=False).double()
    x = torch.randn(2, 4, 7, 8, dtype=dtype, generator=generator)
    results = []
    for run in (relu_conv, lambda x, conv: conv(F.relu(x))):
        leaf = x.clone().requires_grad_()
        y = run(leaf, conv)
        y.square().sum().backward()
        results.append((y, leaf.grad, conv.weight.grad.clone()))
        conv.weight.grad = None
    torch.testing.assert_close(results[0], results[1], rtol=1e-12, atol=1e-12, check_stride=False)


def test_soft_clamp():
    x = torch.tensor([-1e6, -0.01, 0, 0.01, 1e6])
    torch.testing.assert_close(soft_clamp(x, 5.0), torch.tensor([-5, -0.01, 0, 0.01, 5]))


def test_leaky_relu_has_slope_one_fifth():
    torch.testing.assert_close(leaky_relu_(torch.tensor([-1.0, 2])), torch.tensor([-0.2, 2]))


def test_enlarging():
    x = torch.tensor([[[[0.0, 1]]]])
    torch.testing.assert_close(enlarge(x, (1, 4)), torch.tensor([[[[0, 0.25, 0.75, 1]]]]))
    assert enlarge(x, (1, 2)) is x


def test_the_shortcut_of_a_strided_bottleneck_is_a_strided_convolution(dtype):
    block = Bottleneck(3, 5, stride=2).double()
    x = torch.randn(2, 3, 7, 8, dtype=dtype, generator=torch.Generator().manual_seed(0))
    kept = []
    block.shortcut.register_forward_hook(lambda *call: kept.append(call[-1]))
    block(x)
    torch.testing.assert_close(kept[0], F.conv2d(x, block.shortcut.weight, stride=2))


def test_no_convolution_of_one_pixel_has_a_stride():
    """Its gradient corrupts memory in oneDNN (see ``Bottleneck``)."""
    convs = [module for module in FPN(4, 8, 8).modules() if isinstance(module, torch.nn.Conv2d)]
    assert len(convs) > 50
    assert all(conv.stride == (1, 1) for conv in convs if conv.kernel_size == (1, 1))


@pytest.mark.parametrize(('outputs', 'stride'), [(4, 1), (5, 1), (4, 2)])
def test_a_bottleneck_written_out(outputs, stride, dtype):
    generator = torch.Generator().manual_seed(0)
    block = Bottleneck(4, outputs, stride).double()
    for parameter in block.parameters():
        parameter.data = torch.randn(parameter.shape, dtype=dtype, generator=generator)
    x = torch.randn(2, 4, 7, 8, dtype=dtype, generator=generator)
    y = F.instance_norm(F.conv2d(x, block.conv1.weight), eps=1e-5)
    y = F.instance_norm(F.conv2d(y.relu(), block.conv2.weight, stride=stride, padding=1), eps=1e-5)
    y = F.instance_norm(F.conv2d(y.relu(), block.conv3.weight), eps=1e-5)
    if (outputs, stride) == (4, 1):
        short = x
    else:
        short = F.instance_norm(F.conv2d(x, block.shortcut.weight, stride=stride), eps=1e-5)
    torch.testing.assert_close(block(x), (y + short).relu(), check_stride=False)


def test_instance_norm_by_hand(dtype):
    x = torch.tensor([[[[1.0, 3.0]], [[0.0, 0.02]]]], dtype=dtype)
    # Variances 1 and 1e-4, to which 1e-5 is added.
    small = 0.01 / (1.1e-4) ** 0.5
    expected = torch.tensor([[[[-1.0, 1.0]], [[-small, small]]]], dtype=dtype)
    torch.testing.assert_close(instance_norm(x), expected, rtol=1e-5, atol=0)
    torch.testing.assert_close(instance_norm(x, 0.25)[..., 0], expected[..., 0] / 4, rtol=1e-5, atol=0)


def test_under_autocast_norms_are_computed_in_single_and_convolutions_in_half_precision(device):
    conv = torch.nn.Conv2d(3, 4, 1, bias=False)
    x = torch.randn(1, 3, 5, 6, generator=torch.Generator().manual_seed(0))
    with torch.autocast(device.type, dtype=torch.bfloat16):
        half = relu_conv(x, conv)
        normed = instance_norm(x)
    assert half.dtype == torch.bfloat16 and normed.dtype == torch.float32
    torch.testing.assert_close(normed, instance_norm(x), rtol=0, atol=0)
    assert instance_norm(x.bfloat16()).dtype == torch.bfloat16
    assert relu_conv(x, conv).dtype == torch.float32


def test_modules_do_what_their_functions_do():
    x = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(LeakyInstanceNorm()(x), F.leaky_relu(F.instance_norm(x, eps=1e-5), 0.2))
    torch.testing.assert_close(LeakyReLU()(x.clone()), F.leaky_relu(x, 0.2))


def test_a_soft_clamp_by_hand():
    assert soft_clamp(torch.tensor(3.0), 2.0).item() == pytest.approx(2 * math.tanh(1.5))


def test_enlarging_along_one_side_alone():
    """Half-pixel centers: rows at -0.25, 0.25, 0.75, 1.25 of the old ones."""
    x = torch.tensor([[[[0.0], [4.0]]]])
    torch.testing.assert_close(enlarge(x, (4, 1)), torch.tensor([[[[0.0], [1], [3], [4]]]]))
    torch.testing.assert_close(enlarge(x, (2, 2)), torch.tensor([[[[0.0, 0], [4, 4]]]]))
