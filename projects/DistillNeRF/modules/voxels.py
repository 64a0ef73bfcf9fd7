"""The occupied cells of a two-level grid over the cube [-1, 1]^3 (docs/NETWORK.md#voxels).

A dense grid of the coarse level points to blocks of fine cells ("leaves"); a look-up is two gathers, without search or
hash. Cells are kept in Morton order at both levels, so that a fine cell's rank orders its parents as well.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
from torch import Tensor

from ..geometry.tensors import TensorFields

# How many neighbors -> the steps (x, y, z) to them: above and below, across the faces, all around.
NEIGHBORHOODS = {
    count: tuple(step for step in itertools.product((-1, 0, 1), repeat=3) if chosen(step))
    for count, chosen in {
        2: lambda step: step[:2] == (0, 0) and step[2] != 0,
        6: lambda step: sum(map(abs, step)) == 1,
        26: any,
    }.items()
}


@dataclass(frozen=True)
class VoxelGrid(TensorFields):
    """Occupied cells at a coarse and a fine level; the coarse cells are the parents of the fine ones.

    A *row* numbers all that a sample can hit in one table: fine cells ``0 .. F - 1``, then coarse cells
    ``F .. F + C - 1`` (where the sample's fine cell is empty), then "empty" ``F + C``.

    Attributes:
        coarse_level, fine_level: the levels; level L has 2^L cells per axis.
        coarse_codes: ``(C,)`` Morton codes of the occupied coarse cells, ascending.
        fine_codes: ``(F,)`` the same for the fine cells.
        parents: ``(F,)`` index of each fine cell's coarse cell.
        index: ``(8 ** coarse_level,)`` index of each coarse cell among the occupied ones, C where it is empty.
        leaves: ``((C + 1) * 8 ** (fine_level - coarse_level),)`` row of each child; block C is all "empty".
    """

    coarse_level: int
    fine_level: int
    coarse_codes: Tensor
    fine_codes: Tensor
    parents: Tensor
    index: Tensor
    leaves: Tensor

    @property
    def num_coarse(self) -> int:
        """Return C, the number of occupied coarse cells."""
        return len(self.coarse_codes)

    @property
    def num_fine(self) -> int:
        """Return F, the number of occupied fine cells."""
        return len(self.fine_codes)

    @property
    def empty_row(self) -> int:
        """Return the row of samples that hit nothing."""
        return self.num_fine + self.num_coarse

    @classmethod
    def build(cls, codes: Tensor, coarse_level: int, fine_level: int) -> tuple[VoxelGrid, Tensor]:
        """Build the grid whose occupied cells are those of some points.

        Args:
            codes: ``(P,)`` int32 Morton codes of the points' cells at the fine level.
            coarse_level, fine_level: the levels of the grid.

        Returns:
            the grid, and ``(P,)`` the index of each point's fine cell.
        """
        shift = 3 * (fine_level - coarse_level)
        children = 1 << shift
        coarse_of_point = codes >> shift
        occupied = torch.zeros(8**coarse_level, dtype=torch.bool, device=codes.device)
        occupied.index_fill_(0, coarse_of_point.long(), True)
        coarse_codes = occupied.nonzero().squeeze(1).int()
        num_coarse = len(coarse_codes)
        index = torch.full_like(occupied, num_coarse, dtype=torch.int32)
        index[coarse_codes] = torch.arange(num_coarse, dtype=torch.int32, device=codes.device)

        slot_of_point = (index[coarse_of_point] << shift) + (codes & (children - 1))
        filled = torch.zeros(num_coarse * children, dtype=torch.bool, device=codes.device)
        filled.index_fill_(0, slot_of_point.long(), True)
        slots = filled.nonzero().squeeze(1).int()
        parents = slots >> shift
        leaves = _leaves(slots, num_coarse, children)
        fine_codes = (coarse_codes[parents] << shift) + (slots & (children - 1))
        grid = cls(coarse_level, fine_level, coarse_codes, fine_codes, parents, index, leaves)
        return grid, leaves[slot_of_point]

    def with_coarse(self, codes: Tensor) -> tuple[VoxelGrid, Tensor]:
        """Occupy more coarse cells, which have no fine ones.

        Args:
            codes: ``(P,)`` their Morton codes, in any order; they may be occupied or repeated.

        Returns:
            the grid, and ``(C,)`` where the coarse cells of this one are among its own.
        """
        shift = 3 * (self.fine_level - self.coarse_level)
        occupied = self.index < self.num_coarse
        occupied.index_fill_(0, codes.long(), True)
        coarse_codes = occupied.nonzero().squeeze(1).int()
        index = torch.full_like(self.index, len(coarse_codes))
        index[coarse_codes] = torch.arange(len(coarse_codes), dtype=torch.int32, device=codes.device)
        places = index.index_select(0, self.coarse_codes)
        parents = places.index_select(0, self.parents)
        slots = (parents << shift) + (self.fine_codes & ((1 << shift) - 1))
        leaves = _leaves(slots, len(coarse_codes), 1 << shift)
        grid = VoxelGrid(self.coarse_level, self.fine_level, coarse_codes, self.fine_codes, parents, index, leaves)
        return grid, places

    def beside(self, neighbors: int) -> Tensor:
        """Return the Morton codes of the coarse cells beside the occupied ones, in the grid; some more than once.

        Args:
            neighbors: a key of :data:`NEIGHBORHOODS`.
        """
        steps = torch.tensor(NEIGHBORHOODS[neighbors], dtype=torch.int32, device=self.coarse_codes.device)
        cells = (self._coarse_cells[:, None] + steps).flatten(0, 1)
        inside = ((cells >= 0) & (cells < 2**self.coarse_level)).all(1)
        return morton_encode(cells[inside])

    def rows(self, points: Tensor) -> Tensor:
        """Look up the row of the cell that contains each point.

        Args:
            points: ``(..., 3)`` positions in the cube. Points outside hit "empty".

        Returns:
            ``(...)`` int32.
        """
        return self.rows_at(points.unbind(-1))

    def rows_at(self, axes: Sequence[Tensor] | Tensor) -> Tensor:
        """Look up rows as :meth:`rows` does, from x, y and z in the cube, ``(...)`` each."""
        # 2^(L-1) * s is exact in floating point, so this equals the published query in double precision.
        half = 2 ** (self.fine_level - 1)
        codes: Tensor | None = None
        bits: Tensor | None = None
        for coordinate, table in zip(axes, axis_codes(self.fine_level, axes[0].device), strict=True):
            cells = torch.floor(coordinate * half).int() + half
            code = table.index_select(0, (cells & (2 * half - 1)).reshape(-1)).view(cells.shape)
            codes = code if codes is None else codes | code
            bits = cells if bits is None else bits | cells
        assert codes is not None and bits is not None
        inside = bits >> self.fine_level == 0
        return torch.where(inside, self.rows_of_codes(codes), self.empty_row)

    def rows_of_codes(self, codes: Tensor) -> Tensor:
        """Look up the row of each Morton code of the fine level."""
        shift = 3 * (self.fine_level - self.coarse_level)
        flat = codes.reshape(-1)
        blocks = self.index.index_select(0, flat >> shift) << shift
        return self.leaves.index_select(0, blocks + (flat & ((1 << shift) - 1))).view(codes.shape)

    def cells(self, level: int) -> Tensor:
        """Return the integer cells (x, y, z), ``(C or F, 3)``, of one of the two levels."""
        return self._coarse_cells if level == self.coarse_level else morton_decode(self.fine_codes)

    @cached_property
    def _coarse_cells(self) -> Tensor:
        # Read by two kernel maps.
        return morton_decode(self.coarse_codes)

    def centers(self, level: int) -> Tensor:
        """Return the float32 centers, ``(C or F, 3)``, of the cells of one level, in the cube."""
        return (self.cells(level) + 0.5) * 2.0 ** (1 - level) - 1


def _leaves(slots: Tensor, num_coarse: int, children: int) -> Tensor:
    """Return :attr:`VoxelGrid.leaves` of fine cells at ``slots`` ``(F,)``: coarse cell * children + child, sorted."""
    num_fine = len(slots)
    leaves = torch.full(((num_coarse + 1) * children,), num_fine + num_coarse, dtype=torch.int32, device=slots.device)
    ranks = torch.arange(num_fine, num_fine + num_coarse, dtype=torch.int32, device=slots.device)
    leaves[: num_coarse * children].view(num_coarse, children).copy_(ranks[:, None])
    leaves[slots] = torch.arange(num_fine, dtype=torch.int32, device=slots.device)
    return leaves


def point_codes(points: Tensor, level: int) -> Tensor:
    """Compute the Morton codes ``(P,)`` of the cells into which points ``(P, 3)`` of the cube are *inserted*.

    The precision is that of ``points``, the order of operations the published one; points outside are clamped to the
    border.
    """
    cells = torch.floor((2**level * (points + 1) / 2).clamp(0, 2**level - 1)).int()
    return morton_encode(cells)


def morton_encode(cells: Tensor) -> Tensor:
    """Encode cells ``(..., 3)`` of up to 10 bits per axis as int32 codes ``(...)``, x most significant."""
    spread = _spread_bits(cells)
    return (spread[..., 0] << 2) | (spread[..., 1] << 1) | spread[..., 2]


def morton_decode(codes: Tensor) -> Tensor:
    """Decode codes ``(...)`` to cells ``(..., 3)``, int32."""
    return _gather_bits(torch.stack([codes >> 2, codes >> 1, codes], dim=-1))


@lru_cache(maxsize=16)
def axis_codes(level: int, device: torch.device) -> Tensor:
    """Return for each axis ``(3, 2^level)`` int32: the bits of a Morton code that a cell index on that axis sets."""
    with torch.inference_mode(False):
        spread = _spread_bits(torch.arange(2**level, dtype=torch.int32, device=device))
        return torch.stack([spread << 2, spread << 1, spread])


def _spread_bits(x: Tensor) -> Tensor:
    """Put two zero bits between neighboring bits of 10-bit integers."""
    x = x.int()
    x = (x | (x << 16)) & 0x030000FF
    x = (x | (x << 8)) & 0x0300F00F
    x = (x | (x << 4)) & 0x030C30C3
    return (x | (x << 2)) & 0x09249249


def _gather_bits(x: Tensor) -> Tensor:
    """Undo :func:`_spread_bits`; other bits are ignored."""
    x = x.int() & 0x09249249
    x = (x | (x >> 2)) & 0x030C30C3
    x = (x | (x >> 4)) & 0x0300F00F
    x = (x | (x >> 8)) & 0x030000FF
    return (x | (x >> 16)) & 0x3FF
