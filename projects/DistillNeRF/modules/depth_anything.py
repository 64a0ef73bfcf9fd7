"""The frozen depth network, Depth-Anything: one feature map per image (docs/NETWORK.md#frozen-depth-network).

Without arguments it is v1 with ViT-B, as published. v2 has the same layers and reads other blocks.
Parameters have the names of the published weights (``depth_anything_vitb14.pth``).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .vision_transformer import VisionTransformer

SHORTER_SIDE = 518
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class ResidualConvUnit(nn.Module):
    """A residual block: ReLU, convolution, ReLU, convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, h, w)`` to the same shape."""
        return x + self.conv2(F.relu(self.conv1(F.relu(x))))


class Fusion(nn.Module):
    """Add a skip connection to the coarser path, refine it and enlarge it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.out_conv = nn.Conv2d(channels, channels, 1)
        self.resConfUnit1 = ResidualConvUnit(channels)
        self.resConfUnit2 = ResidualConvUnit(channels)

    def forward(self, x: Tensor, skip: Tensor | None, size: Sequence[int]) -> Tensor:
        """Map ``(N, C, h, w)`` and a skip connection of the same size to ``(N, C, *size)``."""
        if skip is not None:
            x = x + self.resConfUnit1(skip)
        x = self.resConfUnit2(x)
        return self.out_conv(F.interpolate(x, size=tuple(size), mode='bilinear', align_corners=True))


class Scratch(nn.Module):
    """The layers that follow the projected token maps, under their published names."""

    def __init__(self, sizes: Sequence[int], channels: int) -> None:
        super().__init__()
        self.layer1_rn, self.layer2_rn, self.layer3_rn, self.layer4_rn = (
            nn.Conv2d(size, channels, 3, padding=1, bias=False) for size in sizes
        )
        self.refinenet1, self.refinenet2, self.refinenet3, self.refinenet4 = (Fusion(channels) for _ in range(4))
        self.output_conv1 = nn.Conv2d(channels, channels // 2, 3, padding=1)
        self.output_conv2 = nn.Sequential(
            nn.Conv2d(channels // 2, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 1, 1), nn.ReLU()
        )


class DPTHead(nn.Module):
    """The DPT head: merge the tokens of four blocks into one feature map of 8 times the patch grid.

    Args:
        width: channels of the transformer's tokens.
        sizes: channels of the four projected maps.
        channels: channels of the feature map.
    """

    def __init__(self, width: int = 768, sizes: Sequence[int] = (96, 192, 384, 768), channels: int = 128) -> None:
        super().__init__()
        self.projects = nn.ModuleList(nn.Conv2d(width, size, 1) for size in sizes)
        self.resize_layers = nn.ModuleList(
            [
                nn.ConvTranspose2d(sizes[0], sizes[0], 4, stride=4),
                nn.ConvTranspose2d(sizes[1], sizes[1], 2, stride=2),
                nn.Identity(),
                nn.Conv2d(sizes[3], sizes[3], 3, stride=2, padding=1),
            ]
        )
        self.scratch = Scratch(sizes, channels)

    def forward(self, tokens: Sequence[Tensor], rows: int, columns: int) -> Tensor:
        """Map four tensors ``(N, rows * columns, width)`` to one ``(N, channels, 8 * rows, 8 * columns)``."""
        scratch = self.scratch
        maps = [
            resize(project(x.transpose(1, 2).unflatten(2, (rows, columns))))
            for x, project, resize in zip(tokens, self.projects, self.resize_layers, strict=True)
        ]
        layers = (scratch.layer1_rn, scratch.layer2_rn, scratch.layer3_rn, scratch.layer4_rn)
        first, second, third, fourth = (layer(x) for layer, x in zip(layers, maps, strict=True))
        x = scratch.refinenet4(fourth, None, third.shape[-2:])
        x = scratch.refinenet3(x, third, second.shape[-2:])
        x = scratch.refinenet2(x, second, first.shape[-2:])
        return scratch.refinenet1(x, first, (2 * first.shape[-2], 2 * first.shape[-1]))

    def depth(self, feature: Tensor, rows: int, columns: int, patch: int = 14) -> Tensor:
        """Compute the network's own relative depth ``(N, 1, 14 * rows, 14 * columns)``; larger is nearer."""
        x = self.scratch.output_conv1(feature)
        x = F.interpolate(x, size=(rows * patch, columns * patch), mode='bilinear', align_corners=True)
        return self.scratch.output_conv2(x)


class DepthAnything(nn.Module):
    """Depth-Anything without its last layers: images to frozen-depth features, which the coarse net reads.

    Args:
        transformer: ``None`` for ViT-B/14 that returns the tokens of its last four blocks, as in v1.
        head: ``None`` for that of ViT-B.

    Attributes:
        channels: of the features.
    """

    def __init__(self, transformer: VisionTransformer | None = None, head: DPTHead | None = None) -> None:
        super().__init__()
        self.pretrained = VisionTransformer() if transformer is None else transformer
        self.depth_head = DPTHead() if head is None else head
        self.channels: int = self.depth_head.scratch.output_conv1.in_channels

    def forward(self, images: Tensor) -> Tensor:
        """Compute frozen-depth features ``(N, channels, H, W)`` of RGB ``(N, 3, H, W)`` in [0, 1]."""
        x = self.preprocess(images)
        rows, columns = (side // self.pretrained.patch for side in x.shape[-2:])
        feature = self.depth_head(self.pretrained(x), rows, columns)
        return _resize(feature, images.shape[-2:])

    @staticmethod
    def preprocess(images: Tensor) -> Tensor:
        """Resize images to the network's size and normalize their colors."""
        mean, std = _statistics(images.dtype, images.device)
        return (_resize(images, network_size(*images.shape[-2:])) - mean) / std


@functools.lru_cache(maxsize=16)
def _statistics(dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Make mean and deviation of the colors ``(3, 1, 1)`` once per device: copies from the host wait for it."""
    # The cache serves any caller, so these must be no inference tensors.
    with torch.inference_mode(False):
        mean, std = (torch.tensor(values, dtype=dtype, device=device)[:, None, None] for values in (MEAN, STD))
    return mean, std


def network_size(height: int, width: int, patch: int = 14) -> tuple[int, int]:
    """Return the size of the resized image: the shorter side 518, then both cut down to multiples of the patch."""
    shorter = min(height, width)
    sides = (SHORTER_SIDE if side == shorter else int(side * SHORTER_SIDE / shorter) for side in (height, width))
    rows, columns = (side // patch * patch for side in sides)
    return rows, columns


def _resize(x: Tensor, size: Sequence[int]) -> Tensor:
    return F.interpolate(x, size=tuple(size), mode='bicubic', antialias=True, align_corners=False)


def load_depth_anything(state: dict[str, Tensor], network: DepthAnything | None = None) -> DepthAnything:
    """Give the frozen network its weights, in the published names; it has no gradients.

    Args:
        state: the weights.
        network: takes them; ``None`` for the published network, v1 with ViT-B.

    Raises:
        RuntimeError: names or shapes of the weights do not fit.
    """
    if network is None:
        with torch.device('meta'):
            network = DepthAnything()
    network.load_state_dict(state, assign=True)
    return network.requires_grad_(False).eval()
