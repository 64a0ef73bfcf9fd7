"""The vision transformer of DINOv2 up to its patch tokens (docs/NETWORK.md#frozen-depth-network).

Parameters have the names of the published weights, so that these load as they are. ``transformers`` has this network,
too, but enlarges its position grid to the output size; the original uses scale factors, which moves the sampling grid.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Attention(nn.Module):
    """Multi-head self attention."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, tokens, width)`` to the same shape."""
        n, tokens, width = x.shape
        q, k, v = self.qkv(x).view(n, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(q, k, v)
        return self.proj(attended.transpose(1, 2).reshape(n, tokens, width))


class MLP(nn.Module):
    """Two linear layers with an exact GELU between them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(..., width)`` to the same shape."""
        return self.fc2(F.gelu(self.fc1(x)))


class LayerScale(nn.Module):
    """A learned gain per channel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(..., width)`` to the same shape."""
        return self.gamma * x


class Block(nn.Module):
    """A transformer block: pre-norm attention and MLP, each residual with layer scale."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, heads)
        self.ls1 = LayerScale(width)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = MLP(width)
        self.ls2 = LayerScale(width)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, tokens, width)`` to the same shape."""
        x = x + self.ls1(self.attn(self.norm1(x)))
        return x + self.ls2(self.mlp(self.norm2(x)))


class PatchEmbed(nn.Module):
    """Embed image patches as tokens."""

    def __init__(self, patch: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch, stride=patch)

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``(N, 3, H, W)`` to tokens ``(N, rows * columns, width)``."""
        return self.proj(images).flatten(2).transpose(1, 2)


class VisionTransformer(nn.Module):
    """ViT-B/14 by default, without register tokens.

    Args:
        width: channels of a token.
        depth: number of blocks.
        heads: attention heads per block.
        patch: side of a patch, pixels.
        grid: side of the square position grid of the training, patches.
        outputs: the blocks whose tokens are returned, counted from 0, in rising order; ``None`` for the last ones.
    """

    # Added to the number of patches before the division that gives the scale factor, as in the original.
    SCALE_OFFSET = 0.1

    def __init__(
        self,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        patch: int = 14,
        grid: int = 37,
        outputs: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.patch, self.grid, self.outputs = patch, grid, outputs
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + grid * grid, width))
        # Part of the published weights; only masked patches would use it.
        self.mask_token = nn.Parameter(torch.zeros(1, width))
        self.patch_embed = PatchEmbed(patch, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def positions(self, rows: int, columns: int) -> Tensor:
        """Return the position encodings ``(1, 1 + rows * columns, width)`` of the class token and the patches."""
        if rows == columns == self.grid:
            return self.pos_embed
        class_position, grid = self.pos_embed[:, :1], self.pos_embed[:, 1:]
        grid = grid.view(1, self.grid, self.grid, -1).permute(0, 3, 1, 2)
        scale = tuple((count + self.SCALE_OFFSET) / self.grid for count in (rows, columns))
        grid = F.interpolate(grid, scale_factor=scale, mode='bicubic', recompute_scale_factor=False)
        if grid.shape[-2:] != (rows, columns):
            raise ValueError(f'{rows} x {columns} patches: the position grid became {tuple(grid.shape[-2:])}')
        return torch.cat([class_position, grid.flatten(2).transpose(1, 2)], dim=1)

    def forward(self, images: Tensor, last: int = 4) -> list[Tensor]:
        """Encode normalized images ``(N, 3, H, W)`` whose sides are multiples of the patch.

        Args:
            last: number of blocks whose tokens are returned, where ``outputs`` does not say which.

        Returns:
            the patch tokens ``(N, rows * columns, width)`` after each of these blocks, all through the final norm.
        """
        chosen = range(len(self.blocks) - last, len(self.blocks)) if self.outputs is None else self.outputs
        rows, columns = (side // self.patch for side in images.shape[-2:])
        x = torch.cat([self.cls_token.expand(len(images), -1, -1), self.patch_embed(images)], dim=1)
        x = x + self.positions(rows, columns)
        outputs = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in chosen:
                outputs.append(self.norm(x)[:, 1:])
        return outputs
