"""The kernel map of a sparse convolution: which input cells an output cell reads.

A pair (docs/NETWORK.md#sparse-convolution) joins an output cell with an input cell that one of the 27 offsets of a
3x3x3 neighborhood reaches. All pairs of a convolution are found once per scene and shared by all layers. They are
ordered so that a layer is matrix products of many rows and sums of neighboring products: no layer scatters.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ..geometry.tensors import full_precision
from .chunked import chunk_numel
from .segments import segment_offsets
from .voxels import VoxelGrid, axis_codes

OFFSETS = tuple(itertools.product((-1, 0, 1), repeat=3))
CENTER = 13

# Elements of the products that a CPU holds at a time (32 MB in float32).
CHUNK_NUMEL = 1 << 23


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
    """All pairs of a convolution.

    Attributes:
        num_outputs: number of output cells.
        chunks: consecutive ranges of output cells.
        kernels: for each entry of :attr:`Chunk.sizes` the index of its kernel matrix.
    """

    num_outputs: int
    chunks: list[Chunk]
    kernels: Sequence[int] = range(len(OFFSETS))

    @classmethod
    def between(cls, grid: VoxelGrid, input_level: int, output_level: int, channels: int) -> KernelMap:
        """Find the pairs of a convolution from the cells of ``input_level`` to those of ``output_level``.

        Chunks are small enough for products of ``channels`` channels.
        """
        jump = input_level - output_level
        base = grid.cells(output_level) << jump
        find = _CellLookup(grid, base, input_level)
        if jump:
            pairs = [find(offset) for offset in OFFSETS]
        else:
            # The pairs of offset -K are those of K with both ends exchanged.
            lower = [find(offset) for offset in OFFSETS[:CENTER]]
            cells = torch.arange(len(base), dtype=torch.int32, device=base.device)
            pairs = [*lower, (cells, cells), *((inputs, outputs) for outputs, inputs in reversed(lower))]
        return cls._from_pairs(*_concatenate(pairs), len(base), channels)

    @classmethod
    def _from_pairs(
        cls, outputs: Tensor, inputs: Tensor, kernels: Tensor, num_outputs: int, channels: int
    ) -> KernelMap:
        """Make chunks of pairs ``(P,)``, int32, which are ordered by the index of their offset, ``kernels``."""
        num_chunks = max(1, -(-len(outputs) * channels // chunk_numel(outputs.device, CHUNK_NUMEL)))
        step = max(1, -(-num_outputs // num_chunks))
        bounds = [*range(0, max(num_outputs, 1), step), num_outputs]
        keys = kernels
        if len(bounds) > 2:
            keys, order = _narrow(27 * (outputs // step) + kernels, 27 * len(bounds)).sort(stable=True)
            outputs, inputs = outputs.index_select(0, order), inputs.index_select(0, order)
        sizes = torch.bincount(keys, minlength=27 * (len(bounds) - 1)).view(-1, 27).tolist()
        offsets = segment_offsets(torch.bincount(outputs, minlength=num_outputs))
        pairs = slice(0, 0)
        chunks = []
        for first, last, chunk_sizes in zip(bounds, bounds[1:], sizes, strict=False):
            pairs = slice(pairs.stop, pairs.stop + sum(chunk_sizes))
            chunks.append(
                Chunk(
                    slice(first, last),
                    outputs[pairs],
                    inputs[pairs],
                    chunk_sizes,
                    _narrow(outputs[pairs] - first, step).argsort(stable=True).int(),
                    (offsets[first : last + 1] - pairs.start).int(),
                )
            )
        return cls(num_outputs, chunks)

    def mirrored(self) -> KernelMap:
        """Return the transpose of a kernel map within one level: the same pairs under the opposite offsets."""
        return replace(self, kernels=self.kernels[::-1])

    def transposed(self, num_inputs: int, channels: int) -> KernelMap:
        """Return the kernel map with outputs and inputs exchanged, for gradients."""
        inputs = [chunk.inputs.split(chunk.sizes) for chunk in self.chunks]
        outputs = [chunk.outputs.split(chunk.sizes) for chunk in self.chunks]
        pairs = [
            (torch.cat([part[kernel] for part in inputs]), torch.cat([part[kernel] for part in outputs]))
            for kernel in range(27)
        ]
        return self._from_pairs(*_concatenate(pairs), num_inputs, channels)


def _narrow(values: Tensor, limit: int) -> Tensor:
    """Convert values below ``limit`` to int16 if they fit: half the bytes sort in half the time."""
    return values.short() if limit <= torch.iinfo(torch.int16).max else values


def _concatenate(pairs: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor, Tensor]:
    """Concatenate the pairs of all offsets: outputs, inputs and the index of each pair's offset, ``(P,)`` each."""
    outputs = torch.cat([outputs for outputs, _ in pairs])
    lengths = torch.tensor([len(outputs) for outputs, _ in pairs], device=outputs.device)
    kernels = torch.arange(len(pairs), dtype=torch.int32, device=outputs.device)
    kernels = kernels.repeat_interleave(lengths, output_size=len(outputs))
    return outputs, torch.cat([inputs for _, inputs in pairs]), kernels


class _CellLookup:
    """Find the input cells at an offset from the base cells; the Morton codes of shifted axes are computed once."""

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
        """Return the pairs of an offset: ``(p,)`` output cells and ``(p,)`` input cells, int32."""
        (x, x_in), (y, y_in), (z, z_in) = (part[step] for part, step in zip(self.parts, offset, strict=True))
        codes = x | y | z
        if self.level == self.grid.fine_level:
            inputs, count = self.grid.rows_of_codes(codes), self.grid.num_fine
        else:
            inputs, count = self.grid.index.index_select(0, codes), self.grid.num_coarse
        outputs = ((inputs < count) & x_in & y_in & z_in).nonzero().squeeze(1)
        return outputs.int(), inputs.index_select(0, outputs)
