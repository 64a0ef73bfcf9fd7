"""Convolutions over occupied cells only (parity notes, section 6.8).

``y[P] = bias + sum over k of x[2^jump * P + K_k] @ weight[k]`` with the 27 offsets K of a 3x3x3 neighbourhood, P over
the occupied output cells; cells that are empty or outside the grid count as zero. Which pairs (output, input) exist
is found once per scene and shared by all layers; each offset is then one gather, one matrix product, one scatter.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .autocast import full_precision
from .layers import leaky_relu, soft_clamp
from .voxels import VoxelGrid, axis_codes

OFFSETS = tuple(itertools.product((-1, 0, 1), repeat=3))
CENTER = 13

# For every offset the pairs (output index, input index), both int64.
NeighbourTable = list[tuple[Tensor, Tensor]]


def neighbour_table(grid: VoxelGrid, input_level: int, output_level: int) -> NeighbourTable:
    """Pairs (output cell, input cell) per offset, for a convolution from ``input_level`` to ``output_level``."""
    jump = input_level - output_level
    base = grid.cells(output_level) << jump
    find = _Finder(grid, base, input_level)
    if jump:
        return [find(offset) for offset in OFFSETS]
    # Within one level the pairs of offset -K are those of K with both ends exchanged.
    lower = [find(offset) for offset in OFFSETS[:CENTER]]
    everyone = torch.arange(len(base), device=base.device)
    return [*lower, (everyone, everyone), *((inputs, outputs) for outputs, inputs in reversed(lower))]


class _Finder:
    """Which input cells lie at an offset from the base cells; the codes of shifted axes are made once."""

    def __init__(self, grid: VoxelGrid, base: Tensor, level: int) -> None:
        self.grid = grid
        self.level = level
        tables = axis_codes(level, base.device)
        self.parts: list[dict[int, tuple[Tensor, Tensor]]] = []
        for cells, table in zip(base.unbind(1), tables, strict=True):
            shifted = {step: cells + step for step in (-1, 0, 1)}
            inside = {step: (moved >= 0) & (moved < 2**level) for step, moved in shifted.items()}
            codes = {step: table.index_select(0, moved.clamp(0, 2**level - 1)) for step, moved in shifted.items()}
            self.parts.append({step: (codes[step], inside[step]) for step in shifted})

    def __call__(self, offset: Sequence[int]) -> tuple[Tensor, Tensor]:
        (x, x_in), (y, y_in), (z, z_in) = (part[step] for part, step in zip(self.parts, offset, strict=True))
        codes = x | y | z
        if self.level == self.grid.fine_level:
            found, count = self.grid.rows_of_codes(codes), self.grid.num_fine
        else:
            found, count = self.grid.index.index_select(0, codes), self.grid.num_coarse
        hit = ((found < count) & x_in & y_in & z_in).nonzero().squeeze(1)
        return hit, found.index_select(0, hit).long()


class _GatherGemmScatter(torch.autograd.Function):
    """The sum over offsets, with gradients that use the same pairs.

    Products are made in the dtype of the inputs; the sums over offsets are kept in float32 or wider.
    """

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, num_outputs: int, table: NeighbourTable) -> Tensor:
        out = full_precision(x.new_zeros(num_outputs, weight.shape[2]))
        for kernel, (outputs, inputs) in zip(weight, table, strict=True):
            if len(outputs):
                out.index_add_(0, outputs, full_precision(x.index_select(0, inputs) @ kernel))
        ctx.save_for_backward(x, weight)
        ctx.table = table
        return out

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        x, weight = ctx.saved_tensors
        grad = grad.to(x.dtype)
        needs_x, needs_weight = ctx.needs_input_grad[:2]
        grad_x = full_precision(torch.zeros_like(x)) if needs_x else None
        grad_weight = torch.zeros_like(weight) if needs_weight else None
        for k, (outputs, inputs) in enumerate(ctx.table):
            if len(outputs) == 0:
                continue
            grad_pairs = grad.index_select(0, outputs)
            if needs_x:
                grad_x.index_add_(0, inputs, full_precision(grad_pairs @ weight[k].T))
            if needs_weight:
                grad_weight[k] = x.index_select(0, inputs).T @ grad_pairs
        return grad_x.to(x.dtype) if needs_x else None, grad_weight, None, None


class SparseConv(nn.Module):
    """A 3x3x3 convolution over the pairs of a neighbour table."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(27, in_channels, out_channels))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        nn.init.normal_(self.weight, std=(27 * in_channels) ** -0.5)

    def forward(self, x: Tensor, num_outputs: int, table: NeighbourTable) -> Tensor:
        """``(input cells, in_channels)`` -> ``(num_outputs, out_channels)``, float32 or wider."""
        device, weight = x.device.type, self.weight
        if torch.is_autocast_enabled(device):
            dtype = torch.get_autocast_dtype(device)
            x, weight = x.to(dtype), weight.to(dtype)
        with torch.autocast(device, enabled=False):
            return _GatherGemmScatter.apply(x, weight, num_outputs, table) + self.bias


class SparseProcessing(nn.Module):
    """Convolution, leaky ReLU, layer norm."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = SparseConv(in_channels, out_channels)
        self.norm = nn.LayerNorm(out_channels)

    def forward(self, x: Tensor, num_outputs: int, table: NeighbourTable) -> Tensor:
        """``(cells, in_channels)`` -> ``(num_outputs, out_channels)``."""
        return self.norm(leaky_relu(self.conv(x, num_outputs, table)))


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
        self.feature_bound = feature_bound
        self.logit_bound = logit_bound

    def forward(self, coarse: Tensor, fine: Tensor, grid: VoxelGrid) -> Tensor:
        """``(C, channels + 1)`` and ``(F, channels + 1)`` pooled voxels -> ``(C, channels + 1)``; logit last."""
        within_fine = neighbour_table(grid, grid.fine_level, grid.fine_level)
        within_coarse = neighbour_table(grid, grid.coarse_level, grid.coarse_level)
        downwards = neighbour_table(grid, grid.fine_level, grid.coarse_level)
        x = leaky_relu(self.fine_in(fine, grid.num_fine, within_fine))
        for layer in self.fine_layers:
            x = layer(x, grid.num_fine, within_fine)
        x = leaky_relu(self.down(x, grid.num_coarse, downwards))
        y = leaky_relu(self.coarse_in(coarse, grid.num_coarse, within_coarse))
        x = torch.cat([x, y], dim=1)
        for layer in self.coarse_layers:
            x = layer(x, grid.num_coarse, within_coarse)
        x = self.out(x, grid.num_coarse, within_coarse)
        return torch.cat([soft_clamp(x[:, :-1], self.feature_bound), soft_clamp(x[:, -1:], self.logit_bound)], dim=1)
