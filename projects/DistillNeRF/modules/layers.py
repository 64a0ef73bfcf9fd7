"""Layers that several networks share (docs/NETWORK.md#building-blocks)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..geometry.tensors import full_precision
from ..kernels.selection import Comparison, Kernel, compared
from .chunked import Recomputable, keeps_in_cache

LEAKY_SLOPE = 0.2
NORM_EPSILON = 1e-5


def soft_clamp(x: Tensor, bound: float) -> Tensor:
    """Compute ``bound * tanh(x / bound)``: close to x near zero, never beyond +-bound."""
    return bound * torch.tanh(x / bound)


def leaky_relu_(x: Tensor) -> Tensor:
    """Apply a leaky ReLU of slope 0.2 in place, to the output of a layer that nothing else reads."""
    return F.leaky_relu_(x, LEAKY_SLOPE)


class _InstanceNorm(torch.autograd.Function):
    """Normalize ``(N, positions, C)`` to mean 0 and variance 1 over the positions of every sample and channel.

    A leaky ReLU may follow: only its output is kept for the gradient, as its input can be computed from that.

    Positions are an outer dimension, over which PyTorch sums in cascades: the deep pyramids amplify rounding so much
    that naive sums would show. The variance takes two passes, so it does not cancel where the mean is large.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: float) -> Tensor:
        y = x - x.mean(1, keepdim=True)
        scale = torch.rsqrt(y.square().mean(1, keepdim=True) + NORM_EPSILON)
        y.mul_(scale)
        if slope != 1:
            F.leaky_relu_(y, slope)
        ctx.save_for_backward(y, scale)
        ctx.slope = slope
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        y, scale = ctx.saved_tensors
        grad = full_precision(grad)
        if ctx.slope != 1:
            grad = torch.ops.aten.leaky_relu_backward(grad, y, ctx.slope, True)
            y = F.leaky_relu(y, 1 / ctx.slope)
        along = (grad * y).mean(1, keepdim=True)
        return torch.addcmul(grad, y, along, value=-1).sub_(grad.mean(1, keepdim=True)).mul_(scale), None


class _InstanceNormByRows(torch.autograd.Function):
    """Do as :class:`_InstanceNorm` with few launches, for GPUs: a layer norm of rows, one per sample and channel.

    The normed rows are kept for the gradient, so the activation may be a ReLU (slope 0), too.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: float) -> Tensor:
        rows = x.transpose(1, 2).contiguous()
        normed, _, scale = torch.native_layer_norm(rows, rows.shape[2:], None, None, NORM_EPSILON)
        ctx.save_for_backward(normed, scale)
        ctx.slope = slope
        return torch.ops.aten.leaky_relu.out(normed.transpose(1, 2), slope, out=x.new_empty(x.shape))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        normed, scale = ctx.saved_tensors
        grad = full_precision(grad).transpose(1, 2)
        if ctx.slope != 1:
            grad = torch.ops.aten.leaky_relu_backward(grad, normed, ctx.slope, False)
        zero, one = _statistics_of_normed(scale.shape, scale.dtype, scale.device)
        along, _, _ = torch.ops.aten.native_layer_norm_backward(
            grad.contiguous(), normed, normed.shape[2:], zero, one, None, None, (True, False, False)
        )
        along, scale = along.transpose(1, 2), scale.transpose(1, 2)
        return torch.mul(along, scale, out=along.new_empty(along.shape)), None


@lru_cache(maxsize=256)
def _statistics_of_normed(shape: torch.Size, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return mean 0 and inverse deviation 1 of normed rows, made once."""
    with torch.inference_mode(False):
        return torch.zeros(shape, dtype=dtype, device=device), torch.ones(shape, dtype=dtype, device=device)


def _compare_instance_norm(
    module: ModuleType, device: torch.device, dtype: torch.dtype, channels: int, slope: float
) -> list[Comparison]:
    """Compare the kernel with torch on maps that one launch does, and on one that is split."""
    comparisons = []
    for size in ((2, channels, 5, 7), (1, channels, 50, 45)):
        x = torch.randn(size, generator=torch.Generator().manual_seed(0)).to(device, dtype)
        x = x.contiguous(memory_format=torch.channels_last).requires_grad_()
        exact = x.detach().double().requires_grad_()
        expected = F.leaky_relu(F.instance_norm(exact, eps=NORM_EPSILON), slope)
        comparisons += compared(module.instance_norm(x, slope), x, expected, exact)
    return comparisons


INSTANCE_NORM = Kernel('instance norm', 'instance_norm', _compare_instance_norm)


def instance_norm(x: Tensor, slope: float = 1.0, kernels: str = 'torch') -> Tensor:
    """Normalize every channel of every sample of ``(N, C, H, W)`` over all positions, without gain or bias, eps 1e-5.

    With a ``slope`` in (0, 1) a leaky ReLU follows; with 0 a ReLU, not on CPUs. Computed in float32 or wider; the
    result has the dtype of ``x`` and the channels-last layout. ``kernels`` chooses between torch and Triton, see
    :mod:`..kernels.selection`.
    """
    n, channels, height, width = x.shape
    kernel = INSTANCE_NORM.choose(kernels, x, channels, slope)
    if kernel is not None:
        return kernel.instance_norm(x, slope)
    norm = _InstanceNorm if keeps_in_cache(x.device) else _InstanceNormByRows
    with torch.autocast(x.device.type, enabled=False):
        y = norm.apply(full_precision(x).permute(0, 2, 3, 1).reshape(n, height * width, channels), slope)
    return y.view(n, height, width, channels).permute(0, 3, 1, 2).to(x.dtype)


class _ReluConv(torch.autograd.Function):
    """Convolve ``relu(x)``; the ReLU is computed again for the gradient: only x is kept, as the norm before it does."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return F.conv2d(F.relu(x), weight, None, stride, padding)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
        x, weight = ctx.saved_tensors
        pair = (ctx.stride, ctx.stride), (ctx.padding, ctx.padding), (1, 1)
        grad, grad_weight, _ = torch.ops.aten.convolution_backward(
            grad, F.relu(x), weight, None, *pair, False, (0, 0), 1, (True, True, False)
        )
        return torch.ops.aten.threshold_backward(grad, x, 0), grad_weight, None, None


def relu_conv(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """Compute ``conv(relu(x))`` for a convolution without bias, in the dtype of autocast where it is on."""
    device, weight = x.device.type, conv.weight
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
        x, weight = x.to(dtype), weight.to(dtype)
    with torch.autocast(device, enabled=False):
        return _ReluConv.apply(x, weight, conv.stride[0], conv.padding[0])


def norm_relu_conv(x: Tensor, conv: nn.Conv2d, kernels: str = 'torch') -> Tensor:
    """Compute ``conv(relu(instance_norm(x)))`` for a convolution without bias."""
    if keeps_in_cache(x.device):
        return relu_conv(instance_norm(x, kernels=kernels), conv)
    return conv(instance_norm(x, 0.0, kernels))


def enlarge(x: Tensor, size: Sequence[int]) -> Tensor:
    """Enlarge ``(N, C, h, w)`` to ``size`` bilinearly, with half-pixel centers."""
    if tuple(x.shape[-2:]) == tuple(size):
        return x
    return F.interpolate(x, size=tuple(size), mode='bilinear', align_corners=False)


class LeakyInstanceNorm(nn.Module):
    """:func:`instance_norm` and the leaky ReLU as a module, for use in ``nn.Sequential``."""

    kernels = 'auto'

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, H, W)`` to the same shape."""
        return instance_norm(x, LEAKY_SLOPE, self.kernels)


class LeakyReLU(nn.Module):
    """:func:`leaky_relu_` as a module, for use after a layer in ``nn.Sequential``."""

    def forward(self, x: Tensor) -> Tensor:
        """Map ``x`` to the same shape, in place."""
        return leaky_relu_(x)


class Bottleneck(Recomputable):
    """A residual block of 1x1, 3x3 and 1x1 convolutions, each with instance norm."""

    kernels = 'auto'

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, stride=stride, padding=1, bias=False)
        self.conv3 = nn.Conv2d(out_channels, out_channels, 1, bias=False)
        same = stride == 1 and in_channels == out_channels
        self.shortcut = None if same else nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, in_channels, H, W)`` to ``(N, out_channels, H / stride, W / stride)``, rounded up."""
        y = norm_relu_conv(self.conv1(x), self.conv2, self.kernels)
        y = instance_norm(norm_relu_conv(y, self.conv3, self.kernels), kernels=self.kernels)
        if self.shortcut is None:
            return (y + x).relu_()
        # The stride is applied by slicing: oneDNN's gradient of 1x1 convolutions with a stride writes beyond its memory
        # on channels-last maps when it runs on several threads (torch 2.13, AVX-512).
        x = x[:, :, :: self.stride, :: self.stride]
        return (y + instance_norm(self.shortcut(x), kernels=self.kernels)).relu_()
