"""Convolutions over occupied cells only (docs/NETWORK.md#sparse-convolution).

``y[P] = bias + sum over k of x[2^jump * P + K_k] @ weight[k]`` with the 27 offsets K of a 3x3x3 neighborhood, P over
the occupied output cells; cells that are empty or outside the grid count as zero.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..geometry.tensors import full_precision
from .chunked import Recomputable
from .kernel_map import Chunk, KernelMap
from .layers import leaky_relu_, soft_clamp
from .voxels import VoxelGrid


class _Scratch:
    """Memory for the pairs of one chunk after the other, taken once."""

    def __init__(self, like: Tensor, table: KernelMap, *widths: int) -> None:
        longest = max((len(chunk.inputs) for chunk in table.chunks), default=0)
        self.buffers = [like.new_empty(longest, width) for width in widths]

    def of(self, chunk: Chunk) -> list[Tensor]:
        """A tensor ``(p, width)`` of each width for the pairs of a chunk."""
        return [buffer[: len(chunk.inputs)] for buffer in self.buffers]


class _SumOfProducts(torch.autograd.Function):
    """For every output cell the sum of ``x[input] @ weight[offset]`` over its pairs; no bias.

    Products are made in the dtype of the inputs; the sums over offsets are kept in float32 or wider. The gradient to x
    is the same sum over the transposed table.
    """

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, table: KernelMap, transposed: KernelMap) -> Tensor:
        out = full_precision(x.new_empty(table.num_outputs, weight.shape[2]))
        scratch = _Scratch(x, table, weight.shape[1], weight.shape[2])
        for chunk in table.chunks:
            gathered, products = scratch.of(chunk)
            torch.index_select(x, 0, chunk.inputs, out=gathered)
            pieces = zip(gathered.split(chunk.sizes), products.split(chunk.sizes), table.kernels, strict=True)
            for rows, product, kernel in pieces:
                torch.mm(rows, weight[kernel], out=product)
            out[chunk.rows] = chunk.sums(products)
        ctx.save_for_backward(x, weight)
        ctx.transposed = transposed
        return out

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
        x, weight = ctx.saved_tensors
        table = ctx.transposed
        grad = grad.to(x.dtype)
        grad_x = full_precision(torch.empty_like(x))
        grad_weight = full_precision(torch.zeros_like(weight))
        scratch = _Scratch(x, table, weight.shape[2], weight.shape[1], weight.shape[1])
        for chunk in table.chunks:
            grads, rows, products = scratch.of(chunk)
            torch.index_select(grad, 0, chunk.inputs, out=grads)
            torch.index_select(x, 0, chunk.outputs, out=rows)
            pieces = (part.split(chunk.sizes) for part in (rows, grads, products))
            for row, gradient, product, kernel in zip(*pieces, table.kernels, strict=True):
                torch.mm(gradient, weight[kernel].T, out=product)
                grad_weight[kernel] += row.T @ gradient
            grad_x[chunk.rows] = chunk.sums(products)
        return grad_x.to(x.dtype), grad_weight.to(weight.dtype), None, None


# A table and its transpose.
Pairs = tuple[KernelMap, KernelMap]


def pairs_between(grid: VoxelGrid, input_level: int, output_level: int, channels: int) -> Pairs:
    """What convolutions of up to ``channels`` channels from one level to another need, and their gradients."""
    table = KernelMap.between(grid, input_level, output_level, channels)
    if input_level == output_level:
        return table, table.mirrored()
    return table, table.transposed(len(grid.cells(input_level)), channels)


class SparseConv(nn.Module):
    """A 3x3x3 convolution over pairs of occupied cells."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(27, in_channels, out_channels))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        nn.init.normal_(self.weight, std=(27 * in_channels) ** -0.5)

    def forward(self, x: Tensor, pairs: Pairs) -> Tensor:
        """``(input cells, in_channels)`` -> ``(output cells, out_channels)``, float32 or wider."""
        device, weight = x.device.type, self.weight
        if torch.is_autocast_enabled(device):
            dtype = torch.get_autocast_dtype(device)
            x, weight = x.to(dtype), weight.to(dtype)
        with torch.autocast(device, enabled=False):
            return _SumOfProducts.apply(x, weight, *pairs) + self.bias


class SparseProcessing(Recomputable):
    """Convolution, leaky ReLU, layer norm."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = SparseConv(in_channels, out_channels)
        self.norm = nn.LayerNorm(out_channels)

    def forward(self, x: Tensor, pairs: Pairs) -> Tensor:
        """``(input cells, in_channels)`` -> ``(output cells, out_channels)``."""
        return self.norm(leaky_relu_(self.conv(x, pairs)))


class Neighbors(NamedTuple):
    """The pairs of all layers of a :class:`SparseVoxelNet`."""

    within_fine: Pairs
    within_coarse: Pairs
    downwards: Pairs


class SparseVoxelNet(nn.Module):
    """From the pooled voxels of both levels to the processed coarse voxels.

    Args:
        channels: features per voxel and level (the density logit comes on top).
        width: hidden channels.
        num_layers: processing layers per level.
        feature_bound, logit_bound: soft clamps of the result.
    """

    def __init__(
        self,
        channels: int = 32,
        width: int = 128,
        num_layers: int = 2,
        feature_bound: float = 5.0,
        logit_bound: float = 30.0,
    ) -> None:
        super().__init__()
        self.fine_in = SparseConv(channels + 1, width)
        self.fine_layers = nn.ModuleList(SparseProcessing(width, width) for _ in range(num_layers))
        self.coarse_in = SparseConv(channels + 1, width)
        self.down = SparseConv(width, width)
        self.coarse_layers = nn.ModuleList(
            SparseProcessing(2 * width if i == 0 else width, width) for i in range(num_layers)
        )
        self.out = SparseConv(2 * width if num_layers == 0 else width, channels + 1)
        self.widest = max(2 * width, channels + 1)
        self.feature_bound = feature_bound
        self.logit_bound = logit_bound

    def forward(self, coarse: Tensor, fine: Tensor, grid: VoxelGrid) -> Tensor:
        """``(C, channels + 1)`` and ``(F, channels + 1)`` pooled voxels -> ``(C, channels + 1)``; logit last."""
        return self.convolve(coarse, fine, self.neighbors(grid))

    def neighbors(self, grid: VoxelGrid) -> Neighbors:
        """What the layers need to know of the cells."""
        fine, coarse = grid.fine_level, grid.coarse_level
        levels = ((fine, fine), (coarse, coarse), (fine, coarse))
        return Neighbors(*(pairs_between(grid, source, target, self.widest) for source, target in levels))

    def convolve(self, coarse: Tensor, fine: Tensor, neighbors: Neighbors) -> Tensor:
        """:meth:`forward` with the neighbors of the grid."""
        within_fine, within_coarse, downwards = neighbors
        x = leaky_relu_(self.fine_in(fine, within_fine))
        for layer in self.fine_layers:
            x = layer(x, within_fine)
        x = leaky_relu_(self.down(x, downwards))
        y = leaky_relu_(self.coarse_in(coarse, within_coarse))
        x = torch.cat([x, y], dim=1)
        for layer in self.coarse_layers:
            x = layer(x, within_coarse)
        x = self.out(x, within_coarse)
        return torch.cat([soft_clamp(x[:, :-1], self.feature_bound), soft_clamp(x[:, -1:], self.logit_bound)], dim=1)
