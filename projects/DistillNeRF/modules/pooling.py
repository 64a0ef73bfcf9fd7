"""Lift image features into voxels (docs/NETWORK.md#pooling; paper section 3.2)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from ..geometry.cameras import Cameras
from ..geometry.contraction import ParameterizedSpace
from ..geometry.tensors import full_precision
from .fine_depth import FineDepth
from .segments import count_rows, segment_offsets, weighted_segment_sum
from .voxels import VoxelGrid, point_codes

# Candidates whose votes are less are left out: they would say "empty", as cells without candidates do.
LEAST_VOTE = 0.01


def candidate_positions(cameras: Cameras, candidates: Tensor) -> Tensor:
    """Return the world positions ``(N, H, W, K, 3)`` of depth candidates ``(N, H, W, K)``, meters, without gradient."""
    origins, directions = cameras.rays(*candidates.shape[1:3])
    return directions[:, :, :, None] * candidates.detach()[..., None] + origins[:, None, None, None]


def pool_views(
    cameras: Cameras,
    fine: FineDepth,
    space: ParameterizedSpace,
    coarse_level: int,
    fine_level: int,
    rows_per_pixel: int = 1,
    votes: Tensor | None = None,
) -> tuple[VoxelGrid, Tensor, Tensor]:
    """Average the lifted features of all cameras of one scene in each voxel.

    The first half of the channels goes to the coarse level, the second half to the fine one. The lifted features of a
    candidate are its occupancy times the image features of its pixel, so each level is a sparse matrix (voxels x
    pixels) times the image features. The choice of voxels carries no gradient.

    Args:
        cameras, fine: of the views.
        space: maps the world into the cube.
        coarse_level, fine_level: levels of the grid.
        rows_per_pixel: odd; with more than one, a candidate is a column of so many points over the height of its pixel.
            The middle one is pooled as usual; the others only in coarse cells, and only if that is another cell. So far
            surfaces close, of which a pixel is higher than a cell, but not wider: cells are low.
        votes: ``(N * H * W * K,)`` weights of the candidates in the means, 0 to 1; ``None`` for 1. Those with less than
            :data:`LEAST_VOTE` are left out, so that they occupy no cells.

    Returns:
        the grid, pooled coarse voxels ``(C, channels / 2 + 1)`` and fine voxels ``(F, channels / 2 + 1)``; the last
        channel is the density logit.
    """
    candidates = full_precision(fine.candidates)

    def points(cameras: Cameras) -> Tensor:
        return space.contract(candidate_positions(cameras, candidates).reshape(-1, 3))

    shifts = [row / rows_per_pixel for row in range(-(rows_per_pixel // 2), rows_per_pixel // 2 + 1) if row]
    copies = [points(_looking_lower(cameras, shift)) for shift in shifts]
    return pool_points(points(cameras), fine, coarse_level, fine_level, copies, votes)


def _looking_lower(cameras: Cameras, pixels: float) -> Cameras:
    """Return cameras that see in each pixel what these see so many pixels below it."""
    shift = torch.zeros_like(cameras.intrinsics)
    shift[:, 1, 2] = pixels
    return dataclasses.replace(cameras, intrinsics=cameras.intrinsics - shift)


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
    points: Tensor,
    fine: FineDepth,
    coarse_level: int,
    fine_level: int,
    copies: Sequence[Tensor] = (),
    votes: Tensor | None = None,
) -> tuple[VoxelGrid, Tensor, Tensor]:
    """Pool as :func:`pool_views` does, for candidates at ``points`` ``(N * H * W * K, 3)`` of the cube.

    ``copies``, of the same shape each, are other points of the candidates: for coarse cells, if it is another one.
    """
    if votes is not None:
        return _pool_voters(points, fine, (coarse_level, fine_level), copies, votes)
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

    pooled = average(fine_features.contiguous(), fine_logits, fine_counts)
    if copies:
        grid, candidates, cells = _coarse_entries(grid, codes, fine_of_point, copies)
        coarse_counts = count_rows(cells, grid.num_coarse)
        coarse_logits = logits.new_zeros(grid.num_coarse).index_add(0, cells, logits.index_select(0, candidates))
        pixels, weights = (
            candidates // fine.candidates.shape[-1],
            full_precision(fine.occupancy).reshape(-1)[candidates],
        )
    return grid, average(coarse_features.contiguous(), coarse_logits, coarse_counts), pooled


def _pool_voters(
    points: Tensor, fine: FineDepth, levels: tuple[int, int], copies: Sequence[Tensor], votes: Tensor
) -> tuple[VoxelGrid, Tensor, Tensor]:
    """Pool as :func:`pool_points` does, with candidates that do not all count alike: means weighted by their votes."""
    voters = (votes.detach() >= LEAST_VOTE).nonzero().squeeze(1)
    codes = point_codes(points[voters], levels[1])
    grid, fine_of_voter = VoxelGrid.build(codes, *levels)
    fine_of_voter = fine_of_voter.long()
    order = torch.argsort(fine_of_voter)
    in_fine = in_coarse = order
    fine_cells = fine_of_voter[order]
    coarse_cells = grid.parents.long()[fine_cells]
    if copies:
        others = [copy[voters] for copy in copies]
        grid, in_coarse, coarse_cells = _coarse_entries(grid, codes, fine_of_voter, others)

    coarse_features, fine_features = full_precision(fine.features).permute(0, 2, 3, 1).flatten(0, 2).chunk(2, dim=1)
    occupancy, logits, votes = (
        full_precision(values).reshape(-1).index_select(0, voters) for values in (fine.occupancy, fine.logits, votes)
    )

    def average(table: Tensor, chosen: Tensor, cells: Tensor, count: int) -> Tensor:
        """Average over voters ``chosen`` ``(E,)``, ordered by their cells."""
        weights = votes[chosen]
        offsets = segment_offsets(count_rows(cells, count))
        pixels = voters[chosen] // fine.candidates.shape[-1]
        sums = weighted_segment_sum(table.contiguous(), pixels, weights * occupancy[chosen], offsets)
        totals, density = (
            values.new_zeros(count).index_add(0, cells, values) for values in (weights, weights * logits[chosen])
        )
        return torch.cat([sums, density[:, None]], dim=1) / totals[:, None]

    coarse = average(coarse_features, in_coarse, coarse_cells, grid.num_coarse)
    return grid, coarse, average(fine_features, in_fine, fine_cells, grid.num_fine)


def _coarse_entries(
    grid: VoxelGrid, codes: Tensor, fine_of_point: Tensor, copies: Sequence[Tensor]
) -> tuple[VoxelGrid, Tensor, Tensor]:
    """Add the coarse cells of copies of the candidates.

    Args:
        grid: of the candidates alone.
        codes: ``(P,)`` their Morton codes at the fine level.
        fine_of_point: ``(P,)`` their fine cells.
        copies: ``(P, 3)`` points of the cube each.

    Returns:
        the grid of all, and candidate and coarse cell ``(E,)`` of all points that count, ordered by cell.
    """
    own = codes >> 3 * (grid.fine_level - grid.coarse_level)
    of_copies = [point_codes(points, grid.coarse_level) for points in copies]
    elsewhere = [(code != own).nonzero().squeeze(1) for code in of_copies]
    code = torch.cat([code[chosen] for code, chosen in zip(of_copies, elsewhere, strict=True)])
    grid, _ = grid.with_coarse(code)
    cells = torch.cat([grid.parents[fine_of_point.long()], grid.index[code.long()]])
    candidates = torch.cat([torch.arange(len(codes), device=codes.device), *elsewhere])
    order = torch.argsort(cells)
    return grid, candidates[order], cells[order].long()
