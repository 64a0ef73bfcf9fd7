"""The sparse two-level voxel field of a scene, its density, and its occupancy on a regular grid."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..geometry.contraction import ParameterizedSpace
from ..geometry.tensors import TensorFields
from ..modules.renderer import RaySampling, VoxelTables, gather_rows
from ..modules.volume_rendering import activate_density
from ..modules.voxels import VoxelGrid

# Cells of less density, per meter, count as empty space.
MIN_DENSITY = 0.5
# Points whose densities are computed at a time.
POINTS_PER_CHUNK = 4_000_000
# How far from a whole number of voxels an edge of an occupancy grid may be, in voxels.
EDGE_TOLERANCE = 1e-3


@dataclass(frozen=True)
class VoxelField(TensorFields):
    """Voxel features and densities in the cells of two levels, in the LiDAR frame of a keyframe.

    Attributes:
        grid: the occupied cells.
        coarse: ``(C, channels + 1)`` voxel features and density logit of the coarse cells.
        fine: ``(F, channels + 1)`` the same for the fine cells.
        space: maps the world into the grid.
        sampling: where samples are placed on a ray, and how a logit becomes a density.
    """

    grid: VoxelGrid
    coarse: Tensor
    fine: Tensor
    space: ParameterizedSpace
    sampling: RaySampling

    def tables(self) -> VoxelTables:
        """Build the look-up tables of the renderer."""
        sampling = self.sampling
        return VoxelTables.build(self.grid, self.coarse, self.fine, sampling.logit_bound, sampling.published_quirks)

    def query(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Look up world points ``(P, 3)``: density per meter ``(P,)``, and whether their cell is occupied ``(P,)``."""
        tables = self.tables()
        hits = tables.hits(self.grid.rows(self.space.contract(points))[:, None])
        density = activate_density(hits.read(tables.logits), self.sampling.density_activation)
        return density.squeeze(1), hits.occupied.squeeze(1)

    def occupancy(
        self, lower: Sequence[float], upper: Sequence[float], voxel: float, min_density: float = MIN_DENSITY
    ) -> Tensor:
        """Find the occupied voxels of a regular grid along the world's axes.

        A voxel is occupied if the density at one of its sample points is at least ``min_density`` per meter, as
        rendered. The points are a regular lattice: at least 2 per axis, and no farther apart than the smallest
        fine cells are large, so that no cell of the scene lies between them.

        Args:
            lower, upper: corners (x, y, z) of the grid in the LiDAR frame, meters; whole voxels apart.
            voxel: edge of a voxel, meters.

        Returns:
            ``(X, Y, Z)`` bool, from ``lower`` on.

        Raises:
            ValueError: the corners are not a whole number of voxels apart.
        """
        shape = _grid_shape(lower, upper, voxel)
        counts = self._points_per_axis(voxel)
        axes = [
            # From the middle of the first part of the first voxel to that of the last part of the last one.
            start + voxel / count * (torch.arange(size * count, dtype=self.fine.dtype, device=self.fine.device) + 0.5)
            for start, size, count in zip(lower, shape, counts, strict=True)
        ]
        dense = activate_density(self.tables().logits, self.sampling.density_activation) >= min_density
        y, z = axes[1][:, None], axes[2]
        slabs = axes[0].split(counts[0] * max(1, POINTS_PER_CHUNK // (counts[0] * len(y) * len(z))))
        parts = []
        for x in slabs:
            rows = self.grid.rows_at(self.space.contract_axes([x[:, None, None], y, z]))
            blocks = gather_rows(dense, rows).view(-1, counts[0], shape[1], counts[1], shape[2], counts[2])
            parts.append(blocks.any(5).any(3).any(1))
        return torch.cat(parts)

    def _points_per_axis(self, voxel: float) -> list[int]:
        """Count the sample points per voxel and axis: at least two, no farther apart than the smallest fine cells."""
        space = self.space
        cells_per_meter = 2 ** (self.grid.fine_level - 1) * space.contract_ratio
        ranges = (space.inner_range, space.inner_range, space.inner_range_z)
        return [max(2, math.ceil(voxel * cells_per_meter / extent)) for extent in ranges]


def _grid_shape(lower: Sequence[float], upper: Sequence[float], voxel: float) -> tuple[int, int, int]:
    """Count the voxels along each axis."""
    sizes = [(high - low) / voxel if voxel > 0 else math.nan for low, high in zip(lower, upper, strict=True)]
    if len(sizes) != 3 or not all(size > 0.5 and abs(size - round(size)) < EDGE_TOLERANCE for size in sizes):
        raise ValueError(f'{list(lower)} and {list(upper)} are not some whole voxels of {voxel} m apart on 3 axes')
    x, y, z = (round(size) for size in sizes)
    return x, y, z
