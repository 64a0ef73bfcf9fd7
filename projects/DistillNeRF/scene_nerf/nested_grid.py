"""Occupied cells of nested boxes around a drive's path; the cells of each box are twice as large as those inside.

A box has blocks of 8 x 8 x 8 cells: a dense table says which blocks hold any, and each of these has a table of cells. A
cell belongs to the innermost box that contains it. Values lie at its eight vertices, which the cells of a box share.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import distance_transform_cdt
from torch import Tensor

from ..geometry.tensors import TensorFields

BLOCK = 8
# (8, 3) steps to the vertices, and to the children, of a cell: x slowest.
CORNERS = tuple((x, y, z) for x in (0, 1) for y in (0, 1) for z in (0, 1))


@dataclass(frozen=True)
class NestedBoxes(TensorFields):
    """Boxes of one center that grow, each inside the next.

    Attributes:
        lower, upper: ``(L, 3)`` corners in the scene frame, meters; whole numbers of blocks apart.
        sizes: ``(L,)`` edge of a cell in each box, meters.
    """

    lower: Tensor
    upper: Tensor
    sizes: Tensor

    @classmethod
    def around(cls, path: Tensor, size: float, levels: int, reach: Sequence[float], coarsest: float) -> NestedBoxes:
        """Place boxes around a path.

        Args:
            path: ``(n, 3)`` positions of cameras and LiDAR.
            size: edge of the cells of the innermost box.
            levels: number of boxes.
            reach: how far the innermost box reaches beyond the path, meters: sideways, below, above; twice as far at
                each level.
            coarsest: a size that cells of the innermost box may have, a power of two times ``size``; the boxes are
                the same for all sizes up to it.
        """
        factors = 2.0 ** torch.arange(levels, dtype=torch.float64)
        low, high = path.double().amin(0), path.double().amax(0)
        sideways, below, above = reach
        grid = BLOCK * coarsest * factors[:, None]
        lower = low - torch.tensor([sideways, sideways, below], dtype=torch.float64) * factors[:, None]
        upper = high + torch.tensor([sideways, sideways, above], dtype=torch.float64) * factors[:, None]
        return cls(
            ((lower / grid).floor() * grid).float(), ((upper / grid).ceil() * grid).float(), (size * factors).float()
        )

    @property
    def levels(self) -> int:
        """Return the number of boxes."""
        return len(self.sizes)

    @property
    def blocks(self) -> Tensor:
        """Return ``(L, 3)`` int64 numbers of blocks along the edges of each box."""
        return ((self.upper - self.lower) / (BLOCK * self.sizes[:, None])).round().long()

    def level_of(self, points: Tensor) -> Tensor:
        """Return ``(n,)`` the innermost box of points ``(n, 3)``; the number of boxes outside of all."""
        inside = ((points[:, None] >= self.lower) & (points[:, None] < self.upper)).all(-1)
        return torch.where(inside.any(1), inside.int().argmax(1), self.levels)

    def halved(self) -> NestedBoxes:
        """Return the boxes with cells of half the size."""
        return NestedBoxes(self.lower, self.upper, self.sizes / 2)


@dataclass(frozen=True)
class NestedGrid(TensorFields):
    """The occupied cells of nested boxes, and their vertices.

    Attributes:
        boxes: the boxes.
        levels: ``(C,)`` int64 box of each cell, ascending.
        coordinates: ``(C, 3)`` int64 position of each cell in its box.
        block_starts: ``(L + 1,)`` int64 where the blocks of each box begin in ``blocks``.
        blocks: int32 table of all blocks of all boxes, x slowest: which of ``leaves`` it is; of an empty one, minus
            how many blocks away the nearest occupied one is, so that rays pass many at once.
        leaves: ``(B, 512)`` int32 cell at each place of a block, x slowest, or -1.
        vertices: ``(C, 8)`` int32 vertices of each cell, in the order of :data:`CORNERS`.
        num_vertices: number of vertices.
    """

    boxes: NestedBoxes
    levels: Tensor
    coordinates: Tensor
    block_starts: Tensor
    blocks: Tensor
    leaves: Tensor
    vertices: Tensor
    num_vertices: int

    @classmethod
    def build(cls, boxes: NestedBoxes, levels: Tensor, coordinates: Tensor) -> NestedGrid:
        """Build the tables of different cells, given by box ``(C,)`` and position ``(C, 3)``; order them by box."""
        order = levels.argsort(stable=True)
        levels, coordinates = levels[order].long(), coordinates[order].long()
        counts = boxes.blocks.prod(1)
        starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        dims = boxes.blocks[levels]
        block = coordinates.div(BLOCK, rounding_mode='floor')
        flat = starts[levels] + (block[:, 0] * dims[:, 1] + block[:, 1]) * dims[:, 2] + block[:, 2]
        used, leaf = flat.unique(return_inverse=True)
        blocks = _empty_blocks(used, starts, boxes.blocks)
        blocks[used] = torch.arange(len(used), dtype=torch.int32, device=levels.device)
        inner = coordinates - BLOCK * block
        place = (inner[:, 0] * BLOCK + inner[:, 1]) * BLOCK + inner[:, 2]
        leaves = torch.full((len(used), BLOCK**3), -1, dtype=torch.int32, device=levels.device)
        leaves[leaf, place] = torch.arange(len(levels), dtype=torch.int32, device=levels.device)
        # Vertices of all boxes get different codes.
        corners = coordinates.new_tensor(CORNERS)
        sides = BLOCK * boxes.blocks + 1
        offsets = torch.cat([counts.new_zeros(1), sides.prod(1).cumsum(0)])
        vertex, side = coordinates[:, None] + corners, sides[levels][:, None]
        codes = (
            offsets[levels][:, None] + (vertex[..., 0] * side[..., 1] + vertex[..., 1]) * side[..., 2] + vertex[..., 2]
        )
        found, vertices = codes.unique(return_inverse=True)
        return cls(boxes, levels, coordinates, starts, blocks, leaves, vertices.view(-1, 8).int(), len(found))

    def __len__(self) -> int:
        return len(self.levels)

    @property
    def centers(self) -> Tensor:
        """Return ``(C, 3)`` centers of the cells, meters."""
        return self.boxes.lower[self.levels] + (self.coordinates + 0.5) * self.boxes.sizes[self.levels][:, None]

    def find(self, levels: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Find the cells at positions ``(n, 3)``, in cells from the lower corner of their box ``(n,)``.

        Returns:
            cells ``(n,)`` int64, -1 where none is occupied, and ``(n, 3)`` the position within the cell, 0 to 1.
        """
        cell = positions.floor().long()
        dims = self.boxes.blocks[levels]
        block = cell.div(BLOCK, rounding_mode='floor')
        inside = ((cell >= 0) & (block < dims)).all(1)
        block = torch.where(inside[:, None], block, 0)
        flat = self.block_starts[levels] + (block[:, 0] * dims[:, 1] + block[:, 1]) * dims[:, 2] + block[:, 2]
        leaf = torch.where(inside, self.blocks[flat], -1).long()
        inner = cell - BLOCK * block
        place = (inner[:, 0] * BLOCK + inner[:, 1]) * BLOCK + inner[:, 2]
        there = leaf >= 0
        found = torch.full_like(leaf, -1)
        found[there] = self.leaves[leaf[there], place[there]].long()
        return found, positions - cell

    def beside(self, chosen: Tensor) -> Tensor:
        """Return a mask ``(C,)`` of the chosen cells and of those that share a vertex with one of them."""
        touched = torch.zeros(self.num_vertices, dtype=torch.bool, device=chosen.device)
        touched[self.vertices[chosen].long()] = True
        return touched[self.vertices.long()].any(1)

    def select(self, keep: Tensor, values: Tensor) -> tuple[NestedGrid, Tensor]:
        """Return the grid of the cells of a mask ``(C,)``, and the values ``(V, channels)`` of its vertices."""
        grid = NestedGrid.build(self.boxes, self.levels[keep], self.coordinates[keep])
        chosen = values.new_zeros(grid.num_vertices, values.shape[1])
        chosen[grid.vertices.long()] = values[self.vertices[keep].long()]
        return grid, chosen

    def coarser(self, factor: int) -> NestedGrid:
        """Return the cells, ``factor`` times as large, that hold any of these; boxes must have whole blocks of them."""
        boxes = NestedBoxes(self.boxes.lower, self.boxes.upper, self.boxes.sizes * factor)
        coordinates = self.coordinates.div(factor, rounding_mode='floor')
        dims = BLOCK * boxes.blocks
        starts = torch.cat([dims.new_zeros(1), dims.prod(1).cumsum(0)])
        side = dims[self.levels]
        codes = (coordinates[:, 0] * side[:, 1] + coordinates[:, 1]) * side[:, 2] + coordinates[:, 2]
        codes = (codes + starts[self.levels]).unique()
        levels = torch.bucketize(codes, starts[1:], right=True)
        codes, side = codes - starts[levels], dims[levels]
        found = [codes // (side[:, 1] * side[:, 2]), codes // side[:, 2] % side[:, 1], codes % side[:, 2]]
        return NestedGrid.build(boxes, levels, torch.stack(found, 1))

    def children(self) -> tuple[NestedBoxes, Tensor, Tensor]:
        """Divide each cell into eight.

        Returns:
            boxes with cells of half the size, the box ``(8 C,)`` and the position ``(8 C, 3)`` of each child. Child k
            of cell i is number ``8 i + k``, k in the order of :data:`CORNERS`.
        """
        corners = self.coordinates.new_tensor(CORNERS)
        coordinates = (2 * self.coordinates[:, None] + corners).view(-1, 3)
        return self.boxes.halved(), self.levels.repeat_interleave(8), coordinates

    def refine(self, keep: Tensor, values: Tensor) -> tuple[NestedGrid, Tensor]:
        """Divide the cells; keep those children that a mask ``(8 C,)`` chooses.

        Returns:
            the grid of the children, and values ``(V, channels)`` at their vertices, trilinear in those of the parents.
        """
        boxes, levels, coordinates = self.children()
        grid = NestedGrid.build(boxes, levels[keep], coordinates[keep])
        parents = torch.arange(8 * len(self), device=keep.device)[keep]
        child, parents = parents % 8, parents // 8
        corners = values.new_tensor(CORNERS)
        refined = values.new_zeros(grid.num_vertices, values.shape[1])
        for corner in range(8):
            # Where the vertex lies in the parent, in halves of its edge.
            weights = corner_weights((corners[child] + corners[corner]) / 2)
            mixed = sum(weights[:, i, None] * values[self.vertices[parents, i].long()] for i in range(8))
            refined[grid.vertices[:, corner].long()] = mixed
        return grid, refined


def _empty_blocks(used: Tensor, starts: Tensor, dims: Tensor) -> Tensor:
    """Return a table as if all blocks were empty; none is farther than the largest side of its box.

    Args:
        used: ``(B,)`` numbers of the occupied blocks.
        starts: ``(L + 1,)`` where the blocks of each box begin.
        dims: ``(L, 3)`` numbers of blocks along its edges.
    """
    empty = np.ones(int(starts[-1]), bool)
    empty[used.cpu().numpy()] = False
    sides = dims.tolist()
    parts = [part.reshape(side) for part, side in zip(np.split(empty, starts[1:-1].tolist()), sides, strict=True)]
    away = [
        np.full(part.size, max(part.shape)) if part.all() else distance_transform_cdt(part, 'chessboard').ravel()
        for part in parts
    ]
    return torch.from_numpy(-np.concatenate(away).astype(np.int32)).to(used.device)


def corner_weights(inner: Tensor) -> Tensor:
    """Return ``(n, 8)`` trilinear weights of the vertices at positions ``(n, 3)`` within cells, 0 to 1."""
    corners = inner.new_tensor(CORNERS)
    return torch.where(corners > 0, inner[:, None], 1 - inner[:, None]).prod(-1)
