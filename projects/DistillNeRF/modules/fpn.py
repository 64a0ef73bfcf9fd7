"""The feature pyramid of both depth nets (docs/NETWORK.md#feature-pyramid)."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from .layers import Bottleneck, enlarge, instance_norm, leaky_relu_


class FPN(nn.Module):
    """A feature pyramid: images to one feature map of the same size.

    Five stages at 1, 1/2, 1/4, 1/8 and 1/16 of the input size go down; lateral 1x1 convolutions and bilinear
    enlargements bring them back up to full size.

    Args:
        width: c, the unit of width: the stages have 2c, 2c, 3c, 4c, 4c channels, the upward path 3c.
        stem_channels: channels of the first convolution.
        out_channels: channels of the output.
        blocks: bottlenecks of stages 1 to 4; stage 5 has as many as stage 4.
        in_channels: channels of the images.
    """

    kernels = 'auto'

    def __init__(
        self,
        width: int,
        stem_channels: int,
        out_channels: int,
        blocks: Sequence[int] = (2, 3, 5, 5),
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        self.stem = nn.Conv2d(in_channels, stem_channels, 3, padding=1, bias=False)
        # The published setting [2, 3, 5, 5] names the stages 1 to 4; stage 5 repeats the last number.
        depths = [*blocks, blocks[-1]]
        channels = [stem_channels, 2 * width, 2 * width, 3 * width, 4 * width, 4 * width]
        self.stages = nn.ModuleList(
            nn.Sequential(
                Bottleneck(channels[i], channels[i + 1], stride=1 if i == 0 else 2),
                *(Bottleneck(channels[i + 1], channels[i + 1]) for _ in range(depths[i] - 1)),
            )
            for i in range(5)
        )
        self.top = nn.Conv2d(channels[5], 3 * width, 1)
        self.laterals = nn.ModuleList(nn.Conv2d(channels[i], 3 * width, 1) for i in (4, 3, 2, 1))
        self.final = nn.Conv2d(3 * width, out_channels, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``(N, in_channels, H, W)`` to features ``(N, out_channels, H, W)``."""
        x = F.relu(instance_norm(self.stem(images), kernels=self.kernels))
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        merged = self.top(maps[4])
        for lateral, skip in zip(self.laterals, maps[3::-1], strict=True):
            merged = enlarge(merged, skip.shape[-2:]) + leaky_relu_(lateral(skip))
        return leaky_relu_(self.final(merged))
