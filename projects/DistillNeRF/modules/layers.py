"""Small layers that several networks share (parity notes, sections 2 and 6.1)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .autocast import full_precision

LEAKY_SLOPE = 0.2
NORM_EPSILON = 1e-5


def soft_clamp(x: Tensor, bound: float) -> Tensor:
    """``bound * tanh(x / bound)``: close to x near zero, never beyond +-bound."""
    return bound * torch.tanh(x / bound)


def leaky_relu(x: Tensor) -> Tensor:
    """Leaky ReLU with slope 0.2 below zero."""
    return F.leaky_relu(x, LEAKY_SLOPE)


class _InstanceNorm(torch.autograd.Function):
    """``(N, positions, C)`` -> the same with mean 0 and variance 1 over the positions of every sample and channel.

    Positions are an outer dimension, over which PyTorch sums in cascades: the deep pyramids amplify rounding so much
    that naive sums would show. The variance takes two passes, so it does not cancel where the mean is large.
    """

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        y = x - x.mean(1, keepdim=True)
        scale = torch.rsqrt(y.square().mean(1, keepdim=True) + NORM_EPSILON)
        y.mul_(scale)
        ctx.save_for_backward(y, scale)
        return y

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        y, scale = ctx.saved_tensors
        grad = full_precision(grad)
        along = (grad * y).mean(1, keepdim=True)
        return torch.addcmul(grad, y, along, value=-1).sub_(grad.mean(1, keepdim=True)).mul_(scale)


def instance_norm(x: Tensor) -> Tensor:
    """Normalise every channel of every sample of ``(N, C, H, W)`` over all positions, without gain or bias, eps 1e-5.

    Computed in float32 or wider; the result has the dtype of ``x`` and the channels-last layout.
    """
    n, channels, height, width = x.shape
    with torch.autocast(x.device.type, enabled=False):
        y = _InstanceNorm.apply(full_precision(x).permute(0, 2, 3, 1).reshape(n, height * width, channels))
    return y.view(n, height, width, channels).permute(0, 3, 1, 2).to(x.dtype)


def enlarge(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear enlargement of ``(N, C, h, w)`` to ``size``, half-pixel centres."""
    if tuple(x.shape[-2:]) == tuple(size):
        return x
    return F.interpolate(x, size=size, mode='bilinear', align_corners=False)


class InstanceNorm(nn.Module):
    """:func:`instance_norm` as a module, for use in ``nn.Sequential``."""

    def forward(self, x: Tensor) -> Tensor:
        return instance_norm(x)


class LeakyReLU(nn.Module):
    """:func:`leaky_relu` as a module, for use in ``nn.Sequential``."""

    def forward(self, x: Tensor) -> Tensor:
        return leaky_relu(x)


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions, each with instance norm, around a shortcut: ``in_channels -> out_channels``."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, stride=stride, padding=1, bias=False)
        self.conv3 = nn.Conv2d(out_channels, out_channels, 1, bias=False)
        same = stride == 1 and in_channels == out_channels
        self.shortcut = None if same else nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(instance_norm(self.conv1(x)))
        y = F.relu(instance_norm(self.conv2(y)))
        y = instance_norm(self.conv3(y))
        if self.shortcut is None:
            return F.relu(y + x)
        # The stride is taken by hand: oneDNN's gradient of 1x1 convolutions with a stride writes beyond its memory on
        # channels-last maps when it runs on several threads (torch 2.13, AVX-512).
        x = x[:, :, :: self.stride, :: self.stride]
        return F.relu(y + instance_norm(self.shortcut(x)))
