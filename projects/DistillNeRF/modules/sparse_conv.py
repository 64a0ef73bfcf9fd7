"""Convolutions over occupied cells only (docs/NETWORK.md#sparse-convolution).

``y[P] = bias + sum over k of x[2^jump * P + K_k] @ weight[k]`` with the 27 offsets K of a 3x3x3 neighborhood, P over
the occupied output cells; cells that are empty or outside the grid count as zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..geometry.tensors import full_precision
from ..kernels.selection import Comparison, Kernel, compared, uses_tf32
from .chunked import Recomputable
from .kernel_map import Chunk, KernelMap, Pairs, neighbor_table, transposed_table
from .layers import leaky_relu_, soft_clamp
from .voxels import NEIGHBORHOODS, VoxelGrid


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


class ConvMaps:
    """Which cells of two levels a convolution joins. All layers share it; what only some of them read is made for them.

    Args:
        grid: the occupied cells.
        input_level, output_level: the levels.
        channels: the largest number of channels.
    """

    def __init__(self, grid: VoxelGrid, input_level: int, output_level: int, channels: int) -> None:
        self.grid = grid
        self.input_level = input_level
        self.output_level = output_level
        self.channels = channels

    @cached_property
    def kernel_maps(self) -> tuple[KernelMap, KernelMap]:
        """Return what plain torch reads: the kernel map, and its transpose for the gradient."""
        pairs = Pairs.between(self.grid, self.input_level, self.output_level)
        kernel_map = KernelMap.build(pairs, self.channels)
        if self.input_level == self.output_level:
            return kernel_map, kernel_map.mirrored()
        return kernel_map, KernelMap.build(pairs.exchanged(), self.channels)

    @cached_property
    def tables(self) -> tuple[Tensor, Tensor | None]:
        """Return what the Triton kernel reads: tables of neighbors, the transposed one only between two levels."""
        neighbors = neighbor_table(self.grid, self.input_level, self.output_level)
        if self.input_level == self.output_level:
            return neighbors, None
        return neighbors, transposed_table(neighbors, self.grid.num_fine)


def build_maps(grid: VoxelGrid, input_level: int, output_level: int, channels: int) -> ConvMaps:
    """Build what convolutions of up to ``channels`` channels between two levels read."""
    maps = ConvMaps(grid, input_level, output_level, channels)
    if not grid.index.is_cuda:
        _ = maps.kernel_maps  # nothing else will be read
    return maps


def _compare(
    module: ModuleType, device: torch.device, dtype: torch.dtype, in_channels: int, out_channels: int
) -> Sequence[Comparison]:
    """Compare the Triton kernel with plain torch in float64, within a level and between two."""
    generator = torch.Generator().manual_seed(0)
    codes = torch.randint(8**4, (150,), generator=generator).int().to(device)
    grid, _ = VoxelGrid.build(codes, 3, 4)
    exact_weight = torch.randn(27, in_channels, out_channels, generator=generator) * in_channels**-0.5
    weight = exact_weight.to(device, dtype).requires_grad_()
    exact_weight = weight.detach().double().requires_grad_()
    comparisons: list[Comparison] = []
    for output_level in (4, 3):
        maps = ConvMaps(grid, 4, output_level, max(in_channels, out_channels))
        x = torch.randn(grid.num_fine, in_channels, generator=generator).to(device, dtype).requires_grad_()
        exact_x = x.detach().double().requires_grad_()
        result = module.sparse_conv(x, weight, *maps.tables)
        expected = _SumOfProducts.apply(exact_x, exact_weight, *maps.kernel_maps)
        comparisons += compared(result, (x, weight), expected, (exact_x, exact_weight))
    return comparisons


SPARSE_CONV = Kernel('sparse convolution', 'sparse_conv', _compare)


class SparseConv(nn.Module):
    """A 3x3x3 convolution over the occupied cells, by a Triton kernel or in plain torch."""

    kernels = 'auto'

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(27, in_channels, out_channels))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        nn.init.normal_(self.weight, std=(27 * in_channels) ** -0.5)

    def forward(self, x: Tensor, maps: ConvMaps) -> Tensor:
        """Map ``(input cells, in_channels)`` to ``(output cells, out_channels)``, float32 or wider."""
        device = x.device.type
        weight: Tensor = self.weight
        if torch.is_autocast_enabled(device):
            dtype = torch.get_autocast_dtype(device)
            x, weight = x.to(dtype), weight.to(dtype)
        with torch.autocast(device, enabled=False):
            # True float32 has no tensor cores: products of the pairs alone are fewer than those of whole blocks.
            by_torch = self.kernels == 'auto' and x.dtype == torch.float32 and not uses_tf32(x)
            kernel = SPARSE_CONV.choose('torch' if by_torch else self.kernels, x, *weight.shape[1:])
            if kernel is None:
                return _SumOfProducts.apply(x, weight, *maps.kernel_maps) + self.bias
            return kernel.sparse_conv(x, weight, *maps.tables) + self.bias


class SparseProcessing(Recomputable):
    """A sparse convolution, a leaky ReLU and a layer norm."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = SparseConv(in_channels, out_channels)
        self.norm = nn.LayerNorm(out_channels)

    def forward(self, x: Tensor, maps: ConvMaps) -> Tensor:
        """Map ``(input cells, in_channels)`` to ``(output cells, out_channels)``."""
        return self.norm(leaky_relu_(self.conv(x, maps)))


class KernelMaps(NamedTuple):
    """The kernel maps of all layers of a :class:`SparseVoxelNet`."""

    within_fine: ConvMaps
    within_coarse: ConvMaps
    fine_to_coarse: ConvMaps


class SparseVoxelNet(nn.Module):
    """From the pooled voxels of both levels to the processed coarse voxels.

    Args:
        channels: features per voxel and level (the density logit comes on top).
        width: hidden channels.
        num_layers: processing layers per level.
        feature_bound, logit_bound: soft clamps of the result.
        grow: coarse cells beside the occupied ones, which it may fill, too: 2 (above and below), 6 or 26 of each cell
            (:func:`.pooling.grow`); 0 for none.

    Raises:
        ValueError: another ``grow``.
    """

    def __init__(
        self,
        channels: int = 32,
        width: int = 128,
        num_layers: int = 2,
        feature_bound: float = 5.0,
        logit_bound: float = 30.0,
        grow: int = 0,
    ) -> None:
        super().__init__()
        if grow and grow not in NEIGHBORHOODS:
            raise ValueError(f'grow is {grow}: a cell grows by {", ".join(map(str, NEIGHBORHOODS))} neighbors, or 0')
        self.grow = grow
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
