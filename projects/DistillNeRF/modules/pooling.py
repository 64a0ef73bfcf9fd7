"""Lift image features into voxels (docs/NETWORK.md#pooling; paper section 3.2)."""

from __future__ import annotations

import torch
from torch import Tensor

from ..geometry.cameras import Cameras
from ..geometry.contraction import ParameterizedSpace
from ..geometry.tensors import full_precision
from .fine_depth import FineDepth
from .segments import count_rows, segment_offsets, weighted_segment_sum
from .voxels import VoxelGrid, point_codes


def candidate_positions(cameras: Cameras, candidates: Tensor) -> Tensor:
    """Return the world positions ``(N, H, W, K, 3)`` of depth candidates ``(N, H, W, K)``, meters, without gradient."""
    origins, directions = cameras.rays(*candidates.shape[1:3])
    return directions[:, :, :, None] * candidates.detach()[..., None] + origins[:, None, None, None]


def pool_views(
    cameras: Cameras, fine: FineDepth, space: ParameterizedSpace, coarse_level: int, fine_level: int
) -> tuple[VoxelGrid, Tensor, Tensor]:
    """Average the lifted features of all cameras of one scene in each voxel.

    The first half of the channels goes to the coarse level, the second half to the fine one. The lifted features of a
    candidate are its occupancy times the image features of its pixel, so each level is a sparse matrix (voxels x
    pixels) times the image features. The choice of voxels carries no gradient.

    Returns:
        the grid, pooled coarse voxels ``(C, channels / 2 + 1)`` and fine voxels ``(F, channels / 2 + 1)``; the last
        channel is the density logit.
    """
    positions = candidate_positions(cameras, full_precision(fine.candidates))
    return pool_points(space.contract(positions.reshape(-1, 3)), fine, coarse_level, fine_level)


def grow(grid: VoxelGrid, coarse: Tensor, neighbors: int) -> tuple[VoxelGrid, Tensor]:
    """Occupy the coarse cells beside occupied ones: empty ones, that the sparse network may fill.

    Args:
        grid: the occupied cells.
        coarse: ``(C, channels)`` of its coarse cells.
        neighbors: 2 for those above and below, 6 across the faces, 26 all around; 0 for none.

    Returns:
        the grid, and ``(C', channels)`` of its coarse cells, 0 in the new ones.
    """
    if not neighbors:
        return grid, coarse
    grown, places = grid.with_coarse(grid.beside(neighbors))
    return grown, coarse.new_zeros(grown.num_coarse, coarse.shape[1]).index_copy(0, places.long(), coarse)


def pool_points(
    points: Tensor, fine: FineDepth, coarse_level: int, fine_level: int
) -> tuple[VoxelGrid, Tensor, Tensor]:
    """Pool as :func:`pool_views` does, for candidates at ``points`` ``(N * H * W * K, 3)`` of the cube."""
    codes = point_codes(points, fine_level)
    grid, fine_of_point = VoxelGrid.build(codes, coarse_level, fine_level)

    # Fine cells are in Morton order, so points sorted by fine cell are sorted by coarse cell, too.
    order = torch.argsort(fine_of_point)
    pixels = order // fine.candidates.shape[-1]
    weights = full_precision(fine.occupancy).reshape(-1)[order]
    features = full_precision(fine.features).permute(0, 2, 3, 1).flatten(0, 2)
    coarse_features, fine_features = features.chunk(2, dim=1)

    fine_of_point, parents = fine_of_point.long(), grid.parents.long()
    fine_counts = count_rows(fine_of_point, grid.num_fine)
    coarse_counts = fine_counts.new_zeros(grid.num_coarse).index_add_(0, parents, fine_counts)
    logits = full_precision(fine.logits).reshape(-1)
    fine_logits = logits.new_zeros(grid.num_fine).index_add(0, fine_of_point, logits)
    coarse_logits = logits.new_zeros(grid.num_coarse).index_add(0, parents, fine_logits)

    def average(table: Tensor, logit_sums: Tensor, counts: Tensor) -> Tensor:
        sums = weighted_segment_sum(table, pixels, weights, segment_offsets(counts))
        return torch.cat([sums, logit_sums[:, None]], dim=1) / counts[:, None]

    coarse = average(coarse_features.contiguous(), coarse_logits, coarse_counts)
    return grid, coarse, average(fine_features.contiguous(), fine_logits, fine_counts)
