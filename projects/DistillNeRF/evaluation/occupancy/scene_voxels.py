"""Which voxels of the grid of Occ3D-nuScenes are dense in a scene, and by which of its cells.

Most voxels are empty, so only those are asked that the box of a dense cell touches; what comes out is what asking all
of them gives (``tests/evaluation/occupancy/test_scene_voxels.py``).
"""

from __future__ import annotations

import dataclasses
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
from .near_cells import mark_boxes
from .places import places_of

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
        asked = _near_cells(scene, dense, ego2lidar, lattice)
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
    """Return the places ``(n,)`` int64, in the flat grid, of voxels that may have a point in a dense cell.

    Args:
        scene: whose cells they are.
        dense: which rows of its tables are.
        ego2lidar: ``(4, 4)`` pose of the grid.
        lattice: points per axis and voxel.
    """
    grid = scene.grid
    levels = {
        grid.fine_level: grid.fine_codes[dense[: grid.num_fine]],
        grid.coarse_level: grid.coarse_codes[dense[grid.num_fine : grid.empty_row]],
    }
    marked = np.zeros(SHAPE, np.bool_)
    for level, codes in levels.items():
        cells, bounds = morton_decode(codes), _bounds(scene, level, ego2lidar)
        mark_boxes(cells.cpu().numpy(), bounds.cpu().numpy(), 0.5 / lattice, marked)
    return torch.from_numpy(places_of(marked)).to(dense.device)


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
