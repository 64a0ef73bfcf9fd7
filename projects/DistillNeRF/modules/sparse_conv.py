"""Convolutions over occupied cells only (docs/NETWORK.md#sparse-convolution).

``y[P] = bias + sum over k of x[2^jump * P + K_k] @ weight[k]`` with the 27 offsets K of a 3x3x3 neighborhood, P over
the occupied output cells; cells that are empty or outside the grid count as zero.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..geometry.tensors import full_precision
from .chunked import Recomputable
from .kernel_map import Chunk, KernelMap, Pairs
from .layers import leaky_relu_, soft_clamp
from .voxels import VoxelGrid


class _Scratch:
    """Buffers for the pairs of a chunk, allocated once for all chunks."""

    def __init__(self, like: Tensor, kernel_map: KernelMap, *widths: int) -> None:
        longest = max((len(chunk.inputs) for chunk in kernel_map.chunks), default=0)
        self.buffers = [like.new_empty(longest, width) for width in widths]

    def views(self, chunk: Chunk) -> list[Tensor]:
        """Return a tensor ``(p, width)`` of each width for the pairs of a chunk."""
        return [buffer[: len(chunk.inputs)] for buffer in self.buffers]


class _SumOfProducts(torch.autograd.Function):
    """Sum ``x[input] @ weight[offset]`` over the pairs of every output cell; no bias.

    Products are made in the dtype of the inputs; the sums over offsets are kept in float32 or wider. The gradient to x
    is the same sum over the transposed kernel map.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, kernel_map: KernelMap, transposed: KernelMap) -> Tensor:
        out = full_precision(x.new_empty(kernel_map.num_outputs, weight.shape[2]))
        scratch = _Scratch(x, kernel_map, weight.shape[1], weight.shape[2])
        for chunk in kernel_map.chunks:
            gathered, products = scratch.views(chunk)
            torch.index_select(x, 0, chunk.inputs, out=gathered)
            parts = zip(gathered.split(chunk.sizes), products.split(chunk.sizes), kernel_map.kernels, strict=True)
            for rows, product, kernel in parts:
                torch.mm(rows, weight[kernel], out=product)
            out[chunk.rows] = chunk.sum_products(products)
        ctx.save_for_backward(x, weight)
        ctx.transposed = transposed
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
        x, weight = ctx.saved_tensors
        kernel_map = ctx.transposed
        grad = grad.to(x.dtype)
        grad_x = full_precision(torch.empty_like(x))
        grad_weight: Tensor | None = None
        scratch = _Scratch(x, kernel_map, weight.shape[2], weight.shape[1], weight.shape[1])
        for chunk in kernel_map.chunks:
            grads, rows, products = scratch.views(chunk)
            torch.index_select(grad, 0, chunk.inputs, out=grads)
            torch.index_select(x, 0, chunk.outputs, out=rows)
            parts = (buffer.split(chunk.sizes) for buffer in (rows, grads, products))
            by_kernel = [weight] * len(kernel_map.kernels)
            for row, gradient, product, kernel in zip(*parts, kernel_map.kernels, strict=True):
                torch.mm(gradient, weight[kernel].T, out=product)
                by_kernel[kernel] = row.T @ gradient
            grads_of_chunk = full_precision(torch.stack(by_kernel))
            grad_weight = grads_of_chunk if grad_weight is None else grad_weight.add_(grads_of_chunk)
            grad_x[chunk.rows] = chunk.sum_products(products)
        assert grad_weight is not None
        return grad_x.to(x.dtype), grad_weight.to(weight.dtype), None, None


# The kernel map of a convolution, and its transpose for the gradient.
MapAndTranspose = tuple[KernelMap, KernelMap]


def build_maps(grid: VoxelGrid, input_level: int, output_level: int, channels: int) -> MapAndTranspose:
    """Build the kernel map, and its transpose, of convolutions of up to ``channels`` channels between two levels."""
    pairs = Pairs.between(grid, input_level, output_level)
    kernel_map = KernelMap.build(pairs, channels)
    if input_level == output_level:
        return kernel_map, kernel_map.mirrored()
    return kernel_map, KernelMap.build(pairs.exchanged(), channels)


class SparseConv(nn.Module):
    """A 3x3x3 convolution over the occupied cells."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(27, in_channels, out_channels))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        nn.init.normal_(self.weight, std=(27 * in_channels) ** -0.5)

    def forward(self, x: Tensor, maps: MapAndTranspose) -> Tensor:
        """Map ``(input cells, in_channels)`` to ``(output cells, out_channels)``, float32 or wider."""
        device = x.device.type
        weight: Tensor = self.weight
        if torch.is_autocast_enabled(device):
            dtype = torch.get_autocast_dtype(device)
            x, weight = x.to(dtype), weight.to(dtype)
        with torch.autocast(device, enabled=False):
            return _SumOfProducts.apply(x, weight, *maps) + self.bias


class SparseProcessing(Recomputable):
    """A sparse convolution, a leaky ReLU and a layer norm."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = SparseConv(in_channels, out_channels)
        self.norm = nn.LayerNorm(out_channels)

    def forward(self, x: Tensor, maps: MapAndTranspose) -> Tensor:
        """Map ``(input cells, in_channels)`` to ``(output cells, out_channels)``."""
        return self.norm(leaky_relu_(self.conv(x, maps)))


class KernelMaps(NamedTuple):
    """The kernel maps of all layers of a :class:`SparseVoxelNet`."""

    within_fine: MapAndTranspose
    within_coarse: MapAndTranspose
    fine_to_coarse: MapAndTranspose


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
        # Channels of the widest products of each of the kernel maps.
        fine_width = max(width, channels + 1)
        self.widths = (fine_width, max(2 * width, channels + 1), fine_width)
        self.feature_bound = feature_bound
        self.logit_bound = logit_bound

    def forward(self, coarse: Tensor, fine: Tensor, grid: VoxelGrid) -> Tensor:
        """Map pooled voxels ``(C, channels + 1)`` and ``(F, channels + 1)`` to ``(C, channels + 1)``, logit last."""
        return self.convolve(coarse, fine, self.kernel_maps(grid))

    def kernel_maps(self, grid: VoxelGrid) -> KernelMaps:
        """Build the kernel maps of all layers for the cells of ``grid``."""
        fine, coarse = grid.fine_level, grid.coarse_level
        levels = ((fine, fine), (coarse, coarse), (fine, coarse))
        parts = zip(levels, self.widths, strict=True)
        return KernelMaps(*(build_maps(grid, source, target, width) for (source, target), width in parts))

    def convolve(self, coarse: Tensor, fine: Tensor, maps: KernelMaps) -> Tensor:
        """Process pooled voxels as :meth:`forward` does, with the kernel maps of their grid."""
        x = leaky_relu_(self.fine_in(fine, maps.within_fine))
        for layer in self.fine_layers:
            x = layer(x, maps.within_fine)
        x = leaky_relu_(self.down(x, maps.fine_to_coarse))
        y = leaky_relu_(self.coarse_in(coarse, maps.within_coarse))
        x = torch.cat([x, y], dim=1)
        for layer in self.coarse_layers:
            x = layer(x, maps.within_coarse)
        x = self.out(x, maps.within_coarse)
        return torch.cat([soft_clamp(x[:, :-1], self.feature_bound), soft_clamp(x[:, -1:], self.logit_bound)], dim=1)
