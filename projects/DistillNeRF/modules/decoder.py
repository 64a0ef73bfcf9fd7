"""The decoder: from composited voxel features to colors (docs/NETWORK.md#color-decoder)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from .chunked import Recomputable
from .layers import leaky_relu_


class StyledConv(Recomputable):
    """A 3x3 convolution, group norm, gain and offset that depend on the camera's style, and a leaky ReLU."""

    GROUPS = 32

    def __init__(self, channels: int, style_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.style = nn.Linear(style_channels, 2 * channels)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """Map ``(N, C, h, w)`` and styles ``(N, style_channels)`` to ``(N, C, h, w)``."""
        x = F.group_norm(self.conv(x), self.GROUPS, eps=1e-6)
        gain, offset = self.style(style)[:, :, None, None].chunk(2, dim=1)
        return leaky_relu_(gain * x + offset)


class ColorDecoder(nn.Module):
    """A small CNN that decodes composited voxel features to RGB and enlarges them.

    Args:
        in_channels: channels of the composite.
        width: channels of the hidden layers; a multiple of 32 (the groups of the norm).
        num_layers: number of styled convolutions.
        num_upsample: how many times the map is doubled in size (0, 1, ...).
        num_camera_classes, style_channels: size of the embedding of camera classes.
    """

    def __init__(
        self,
        in_channels: int,
        width: int = 160,
        num_layers: int = 4,
        num_upsample: int = 1,
        num_camera_classes: int = 3,
        style_channels: int = 32,
    ) -> None:
        super().__init__()
        if width % StyledConv.GROUPS:
            raise ValueError(f'decoder width {width} is not a multiple of {StyledConv.GROUPS}')
        self.styles = nn.Embedding(num_camera_classes, style_channels)
        self.first = nn.Conv2d(in_channels, width, 3, padding=1)
        self.convs = nn.ModuleList(StyledConv(width, style_channels) for _ in range(num_layers))
        self.last = nn.Conv2d(width, 3, 3, padding=1)
        self.enlarge_after = upsampling_layers(num_layers, num_upsample)

    @property
    def scale(self) -> int:
        """Return image size over composite size."""
        return 2 ** len(self.enlarge_after)

    def forward(self, composite: Tensor, camera_classes: Tensor) -> Tensor:
        """Decode ``(N, C, h, w)`` with camera classes ``(N,)`` to RGB ``(N, 3, scale * h, scale * w)``, not clamped."""
        style = self.styles(camera_classes)
        x = leaky_relu_(self.first(composite))
        for index, conv in enumerate(self.convs):
            x = conv(x, style)
            if index in self.enlarge_after:
                x = F.interpolate(x, scale_factor=2, mode='nearest')
        return self.last(x)


def upsampling_layers(num_layers: int, num_upsample: int) -> tuple[int, ...]:
    """Return the indices of the layers after which the map is doubled (docs/NETWORK.md#color-decoder)."""
    if num_upsample == 0:
        return ()
    if num_upsample == 1:
        every = max(num_layers // 2, 1)
        return tuple(i for i in range(1, num_layers) if i % every == 0)[:1]
    every = max(num_layers // num_upsample, 1)
    return tuple(i for i in range(num_layers) if i % every == 0)[:num_upsample]
