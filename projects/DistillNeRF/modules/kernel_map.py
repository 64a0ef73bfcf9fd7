"""The kernel map of a sparse convolution: which input cells an output cell reads.

A pair (docs/NETWORK.md#sparse-convolution) joins an output cell with an input cell that one of the 27 offsets of a
3x3x3 neighborhood reaches. All pairs of a convolution are found once per scene and shared by all layers. They are
ordered so that a layer is matrix products of many rows and sums of neighboring products: no layer scatters.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from ..geometry.tensors import full_precision
from .chunked import chunk_numel
from .segments import count_rows, segment_offsets, sorted_offsets
from .voxels import VoxelGrid, axis_codes

OFFSETS = tuple(itertools.product((-1, 0, 1), repeat=3))
CENTER = 13

# Elements of the products that are held at a time: 16 MB in float32 on a CPU, 4 GB on other devices.
CPU_CHUNK_NUMEL = 1 << 22
GPU_CHUNK_NUMEL = 1 << 30
# Cells and offsets that are looked up at a time on a CPU, so that its cache holds them.
CPU_CHUNK_CELLS = 1 << 17


@dataclass(frozen=True)
class Pairs:
    """The pairs of a convolution, in any order.

    Attributes:
        outputs, inputs: ``(P,)`` int32 output and input cell of each pair.
        kernels: ``(P,)`` int32 index of its offset in :data:`OFFSETS`.
        num_outputs, num_inputs: number of output and of input cells.
    """

    outputs: Tensor
    inputs: Tensor
    kernels: Tensor
    num_outputs: int
    num_inputs: int

    @classmethod
    def between(cls, grid: VoxelGrid, input_level: int, output_level: int) -> Pairs:
        """Find the pairs of a convolution from the cells of ``input_level`` to those of ``output_level``."""
        find = _CellLookup(grid, input_level, output_level)
        if input_level != output_level:
            return cls(*find.pairs(range(27)), find.num_outputs, find.num_inputs)
        # The pairs of offset -K are those of K with both ends exchanged.
        outputs, inputs, kernels = find.pairs(range(CENTER))
        cells = torch.arange(find.num_outputs, dtype=torch.int32, device=outputs.device)
        return cls(
            torch.cat([outputs, cells, inputs]),
            torch.cat([inputs, cells, outputs]),
            torch.cat([kernels, torch.full_like(cells, CENTER), 26 - kernels]),
            find.num_outputs,
            find.num_inputs,
        )

    def exchanged(self) -> Pairs:
        """Exchange outputs and inputs, for gradients."""
        return Pairs(self.inputs, self.outputs, self.kernels, self.num_inputs, self.num_outputs)


@dataclass(frozen=True)
class Chunk:
    """The pairs of a range of output cells, ordered by offset.

    Attributes:
        rows: the range of output cells.
        outputs, inputs: ``(p,)`` the output and the input cell of each pair.
        sizes: number of pairs per offset, in the order of :attr:`KernelMap.kernels`.
        order, offsets: the pairs of output cell r are ``order[offsets[r]:offsets[r + 1]]``; int32.
    """

    rows: slice
    outputs: Tensor
    inputs: Tensor
    sizes: list[int]
    order: Tensor
    offsets: Tensor

    def sum_products(self, products: Tensor) -> Tensor:
        """Sum products ``(p, C)``, one per pair, per output cell: ``(rows, C)``, in float32 or wider."""
        products = full_precision(products)
        if len(products) == 0:
            return products.new_zeros(len(self.offsets) - 1, products.shape[1])
        return F.embedding_bag(self.order, products, self.offsets, mode='sum', include_last_offset=True)


@dataclass(frozen=True)
class KernelMap:
    """All pairs of a convolution, as the layers in plain torch read them.

    Attributes:
        num_outputs: number of output cells.
        chunks: consecutive ranges of output cells.
        kernels: for each entry of :attr:`Chunk.sizes` the index of its kernel matrix.
    """

    num_outputs: int
    chunks: list[Chunk]
    kernels: Sequence[int] = range(len(OFFSETS))

    @classmethod
    def build(cls, pairs: Pairs, channels: int) -> KernelMap:
        """Order pairs by chunk of output cells and by offset; chunks suit products of ``channels`` channels."""
        outputs, num_outputs = pairs.outputs, pairs.num_outputs
        limit = chunk_numel(outputs.device, CPU_CHUNK_NUMEL, GPU_CHUNK_NUMEL)
        num_chunks = max(1, -(-len(outputs) * channels // limit))
        step = max(1, -(-num_outputs // num_chunks))
        bounds = [*range(0, max(num_outputs, 1), step), num_outputs]
        num_keys = 27 * (len(bounds) - 1)
        keys = pairs.kernels if num_keys == 27 else 27 * (outputs // step) + pairs.kernels
        keys, order = _narrow(keys, num_keys + 1).sort(stable=True)
        outputs, inputs = outputs.index_select(0, order), pairs.inputs.index_select(0, order)
        sizes = sorted_offsets(keys, num_keys).diff().view(-1, 27).tolist()
        offsets = segment_offsets(count_rows(outputs, num_outputs))
        part = slice(0, 0)
        chunks = []
        for first, last, chunk_sizes in zip(bounds, bounds[1:], sizes, strict=False):
            part = slice(part.stop, part.stop + sum(chunk_sizes))
            chunks.append(
                Chunk(
                    slice(first, last),
                    outputs[part],
                    inputs[part],
                    chunk_sizes,
                    _narrow(outputs[part] - first, step).argsort(stable=True).int(),
                    (offsets[first : last + 1] - part.start).int(),
                )
            )
        return cls(num_outputs, chunks)

    def mirrored(self) -> KernelMap:
        """Return the transpose of a kernel map within one level: the same pairs under the opposite offsets."""
        return replace(self, kernels=self.kernels[::-1])


def neighbor_table(grid: VoxelGrid, input_level: int, output_level: int) -> Tensor:
    """Find the pairs of a convolution as a table ``(outputs, 27)``, int32: the input cell at each offset, or -1."""
    find = _CellLookup(grid, input_level, output_level)
    inputs, found = find(range(27))
    return torch.where(found, inputs, -1).T.contiguous()


def transposed_table(neighbors: Tensor, num_inputs: int) -> Tensor:
    """Return the table ``(num_inputs, 27)`` of the output cell that reads an input cell at each offset, or -1."""
    outputs = torch.arange(len(neighbors), dtype=torch.int32, device=neighbors.device)
    kernels = torch.arange(27, device=neighbors.device)
    # What an output cell does not find goes to a row of its own, which is cut off.
    rows = torch.where(neighbors < 0, num_inputs, neighbors)
    table = neighbors.new_full(((num_inputs + 1) * 27,), -1)
    table.scatter_(0, (27 * rows.long() + kernels).flatten(), outputs[:, None].expand(-1, 27).flatten())
    return table.view(-1, 27)[:num_inputs]


def _narrow(values: Tensor, limit: int) -> Tensor:
    """Convert values below ``limit`` to int16 if they fit: half the bytes sort in half the time."""
    return values.short() if limit <= torch.iinfo(torch.int16).max else values


@lru_cache(maxsize=8)
def _steps(device: torch.device) -> Tensor:
    """Return the offsets ``(3, 27)`` of x, y and z, plus one, made once per device."""
    with torch.inference_mode(False):
        return torch.tensor(OFFSETS, device=device).T + 1


class _CellLookup:
    """Find the input cells at offsets from the output cells; the Morton codes of shifted axes are computed once."""

    def __init__(self, grid: VoxelGrid, input_level: int, output_level: int) -> None:
        base = grid.cells(output_level) << (input_level - output_level)
        self.grid, self.level = grid, input_level
        self.num_outputs = len(base)
        self.num_inputs = grid.num_fine if input_level == grid.fine_level else grid.num_coarse
        size = 2**input_level
        moved = base.T[:, None] + torch.arange(-1, 2, dtype=torch.int32, device=base.device)[:, None]
        codes = axis_codes(input_level, base.device).gather(1, moved.clamp(0, size - 1).flatten(1).long())
        # Larger than every code where the moved cell lies outside: ``(axes, steps, outputs)``.
        outside = (moved < 0) | (moved >= size)
        self.codes = torch.where(outside, 8**input_level, codes.view(moved.shape))

    def __call__(self, offsets: range) -> tuple[Tensor, Tensor]:
        """Return ``(offsets, outputs)`` the input cells, int32, and whether they are occupied."""
        steps = _steps(self.codes.device)[:, offsets.start : offsets.stop]
        x, y, z = (codes.index_select(0, step) for codes, step in zip(self.codes, steps, strict=True))
        codes = x | y | z
        limit = 8**self.level
        inside = codes < limit
        flat = codes & (limit - 1)
        if self.level == self.grid.fine_level:
            inputs = self.grid.rows_of_codes(flat)
        else:
            inputs = self.grid.index.index_select(0, flat.view(-1)).view(flat.shape)
        return inputs, (inputs < self.num_inputs) & inside

    def pairs(self, offsets: range) -> tuple[Tensor, Tensor, Tensor]:
        """Return the pairs of offsets: output cells, input cells and indices of offsets, ``(P,)`` each, int32."""
        cells = max(self.num_outputs, 1)
        limit = chunk_numel(self.codes.device, CPU_CHUNK_CELLS, GPU_CHUNK_NUMEL)
        step = max(1, limit // cells)
        parts = []
        for first in range(offsets.start, offsets.stop, step):
            inputs, found = self(range(first, min(first + step, offsets.stop)))
            places = found.view(-1).nonzero().squeeze(1)
            kernels = torch.div(places, cells, rounding_mode='floor').int()
            outputs = places.int() - kernels * cells
            parts.append((outputs, inputs.view(-1).index_select(0, places), kernels + first))
        outputs, inputs, kernels = (torch.cat(part) for part in zip(*parts, strict=True))
        return outputs, inputs, kernels
