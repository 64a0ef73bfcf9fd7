"""Which voxels of the grid of Occ3D-nuScenes are dense in a scene, and by which of its cells.

Most voxels are empty, so only those are asked that the box of a dense cell touches; what comes out is what asking all
of them gives (``tests/evaluation/occupancy/test_scene_voxels.py``).
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from typing_extensions import Self

from ...geometry.matrices import inverse, transform
from ...models.scene import Scene
from ...modules.renderer import VoxelTables, gather_rows
from ...modules.volume_rendering import activate_density
from ...modules.voxels import morton_decode
from ...semantics.occ3d import FREE, LOWER, SHAPE, VOXEL
from .lattice_rows import densest_rows

# By how much the box of a cell is larger than it is, voxels: rounding moves no point out of it.
MARGIN = 0.05
# Where the outer faces of the outermost cells are, which is infinitely far away, meters.
FARTHEST = 1e5


@dataclass(frozen=True)
class SceneVoxels:
    """N voxels that are dense somewhere, in the order of the grid.

    Attributes:
        scene: whose they are.
        tables: its look-up tables.
        ego2lidar: ``(4, 4)`` pose of the ego frame, in which the grid is, in the LiDAR frame, in which the scene is.
        indices: ``(N,)`` int64, their places in the flat grid.
        rows: ``(N,)`` the row of the tables that the densest point of each hits.
        density: ``(N,)`` there, per meter.
    """

    scene: Scene
    tables: VoxelTables
    ego2lidar: Tensor
    indices: Tensor
    rows: Tensor
    density: Tensor

    def __len__(self) -> int:
        return len(self.indices)

    @classmethod
    def find(cls, scene: Scene, ego2lidar: Tensor, lattice: int, min_density: float) -> Self:
        """Find the voxels that have a point of at least ``min_density`` per meter.

        Args:
            scene: in the LiDAR frame of a keyframe.
            ego2lidar: ``(4, 4)`` pose of the ego frame of that keyframe in its LiDAR frame.
            lattice: points per axis and voxel, the middles of equal parts of it.
            min_density: above 0.
        """
        tables = scene.tables()
        ego2lidar = ego2lidar.to(tables.logits)
        density = activate_density(tables.logits, scene.sampling.density_activation)
        dense = density >= min_density
        dense[scene.grid.empty_row] = False
        asked = _near_cells(scene, dense, ego2lidar, lattice).view(-1).nonzero().squeeze(1)
        rows = densest_rows(scene.grid, scene.space, tables.logits, ego2lidar, asked, lattice)
        found = gather_rows(dense, rows)
        rows = rows[found]
        return cls(scene, tables, ego2lidar, asked[found], rows, gather_rows(density, rows))

    def at_least(self, min_density: float) -> tuple[Self, Tensor]:
        """Return those of at least another density, above that of before, and which they are, ``(N,)`` bool."""
        kept = self.density >= min_density
        return dataclasses.replace(
            self, indices=self.indices[kept], rows=self.rows[kept], density=self.density[kept]
        ), kept

    def features(self) -> Tensor:
        """Return what rays render ``(N, C)`` that see the densest cell of a voxel alone."""
        tables = self.tables
        fine = torch.cat([tables.fine, tables.coarse.index_select(0, tables.grid.parents)], dim=1)
        table = torch.cat([fine, F.pad(tables.coarse, (tables.fine.shape[1], 0))])
        return self.scene.head.opaque(table.index_select(0, self.rows))

    def centers(self) -> Tensor:
        """Return the centers ``(N, 3)`` of the voxels in the LiDAR frame, meters."""
        ego = torch.stack(list(_corners(self.indices, self.ego2lidar)), 1) + VOXEL / 2
        return transform(self.ego2lidar[:3, :3], ego) + self.ego2lidar[:3, 3]

    def grid(self, classes: Tensor) -> np.ndarray:
        """Return the grid ``(200, 200, 16)`` uint8 of class numbers ``(N,)`` of the voxels; the others are free."""
        flat = np.full(SHAPE, FREE, np.uint8)
        flat.reshape(-1)[self.indices.cpu().numpy()] = classes.cpu().numpy()
        return flat


def _near_cells(scene: Scene, dense: Tensor, ego2lidar: Tensor, lattice: int) -> Tensor:
    """Return which voxels ``(X, Y, Z)`` may have a point in a dense cell: those that the cell's box in the grid has.

    Each box adds 1 from its first voxel on, and takes it away behind its last: the sums along the axes count boxes.
    """
    grid = scene.grid
    levels = {grid.fine_level: dense[: grid.num_fine], grid.coarse_level: dense[grid.num_fine : grid.empty_row]}
    boxes = [_voxel_boxes(scene, level, cells, ego2lidar, lattice) for level, cells in levels.items()]
    first, behind = (torch.cat(ends) for ends in zip(*boxes, strict=True))
    # Whole numbers are exact, and sums of floats faster.
    steps = torch.zeros([count + 1 for count in SHAPE], dtype=torch.float32, device=dense.device)
    strides = torch.tensor(steps.stride(), dtype=torch.int32, device=dense.device)
    for corner in itertools.product((0, 1), repeat=3):
        ends = torch.where(steps.new_tensor(corner).bool(), behind, first)
        change = steps.new_full((1,), (-1) ** sum(corner)).expand(len(ends))
        steps.view(-1).index_add_(0, (ends * strides).sum(1), change)
    for axis in range(3):
        steps = steps.cumsum(axis)
    return steps[: SHAPE[0], : SHAPE[1], : SHAPE[2]] > 0


def _voxel_boxes(scene: Scene, level: int, chosen: Tensor, ego2lidar: Tensor, lattice: int) -> tuple[Tensor, Tensor]:
    """Return the first voxels ``(n, 3)`` and those behind the last, int32, that may have a point in cells of a level.

    Args:
        scene: whose cells they are.
        level: its coarse or fine one.
        chosen: which of the cells of the level.
        ego2lidar: ``(4, 4)`` pose of the grid.
        lattice: points per axis and voxel.
    """
    codes = scene.grid.fine_codes if level == scene.grid.fine_level else scene.grid.coarse_codes
    cells = morton_decode(codes[chosen])
    bounds = _bounds(scene, level, ego2lidar)
    x, y, z = (table.index_select(0, cells[:, axis]) for axis, table in enumerate(bounds))
    first, last = (x + y + z).split(3, 1)
    # The points of a voxel begin half a part behind its face.
    inset = 0.5 / lattice
    counts = first.new_tensor(SHAPE)
    first = torch.minimum((first - 1 + inset).ceil().clamp_min(0), counts)
    behind = torch.minimum((last - inset).floor() + 1, counts)
    some = (behind > first).all(1)
    return first[some].int(), behind[some].int()


def _bounds(scene: Scene, level: int, ego2lidar: Tensor) -> Tensor:
    """Return what each cell of an axis adds to the bounds of its box in the grid, voxels: ``(3, cells, 6)``.

    The sum over the three axes of the LiDAR frame is the lower and the upper corner of the box, or of the box around it
    if it is turned.
    """
    steps = torch.arange(2**level + 1, dtype=ego2lidar.dtype, device=ego2lidar.device) * 2.0 ** (1 - level) - 1
    faces = scene.space.expand(steps[:, None].expand(-1, 3))
    faces = faces.nan_to_num(FARTHEST, FARTHEST, -FARTHEST).clamp(-FARTHEST, FARTHEST).T
    lidar2ego = inverse(ego2lidar[:3, :3])
    ends = (faces - ego2lidar[:3, 3, None])[..., None] * lidar2ego.T[:, None] / VOXEL
    low, high = torch.minimum(ends[:, :-1], ends[:, 1:]), torch.maximum(ends[:, :-1], ends[:, 1:])
    origin = ends.new_tensor(LOWER) / VOXEL
    # Each axis has a third of what is the same for all.
    return torch.cat([low - (origin + MARGIN) / 3, high - (origin - MARGIN) / 3], dim=2)


def _corners(indices: Tensor, like: Tensor) -> Iterator[Tensor]:
    """Yield x, y and z ``(n,)`` of the lower corners of voxels in the ego frame, meters."""
    indices = indices.int()
    places = indices // (SHAPE[1] * SHAPE[2]), indices // SHAPE[2] % SHAPE[1], indices % SHAPE[2]
    for low, place in zip(LOWER.tolist(), places, strict=True):
        yield low + VOXEL * place.to(like)
