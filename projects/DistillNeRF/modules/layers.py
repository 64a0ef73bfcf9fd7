"""Small layers that several networks share (parity notes, sections 2 and 6.1)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LEAKY_SLOPE = 0.2


def soft_clamp(x: Tensor, bound: float) -> Tensor:
    """``bound * tanh(x / bound)``: close to x near zero, never beyond +-bound."""
    return bound * torch.tanh(x / bound)


def leaky_relu(x: Tensor) -> Tensor:
    """Leaky ReLU with slope 0.2 below zero."""
    return F.leaky_relu(x, LEAKY_SLOPE)


def instance_norm(x: Tensor) -> Tensor:
    """Normalise every channel of every sample over all positions, without gain or bias, eps 1e-5.

    A batch norm of one sample at a time: it keeps the channels-last layout, in which the convolutions around it are
    fastest, and takes the variance in two passes (PyTorch's channels-last group norm cancels where the mean is large).
    """
    return torch.cat([F.batch_norm(sample, None, None, training=True, eps=1e-5) for sample in x.split(1)])


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
        self.shortcut = None if same else nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(instance_norm(self.conv1(x)))
        y = F.relu(instance_norm(self.conv2(y)))
        y = instance_norm(self.conv3(y))
        return F.relu(y + (x if self.shortcut is None else instance_norm(self.shortcut(x))))
