"""Which rows of the tables of a scene the points of a lattice in voxels hit, by a compiled loop.

Point for point this is what ``VoxelGrid.rows_at`` finds, with the same bits on the way; that takes some sixty passes
over all points.
"""

from __future__ import annotations

import numpy as np
import torch
from numba import njit
from torch import Tensor

from ...geometry.contraction import ParameterizedSpace
from ...modules.voxels import VoxelGrid, axis_codes
from ...semantics.occ3d import LOWER, SHAPE, VOXEL

# Voxels that are looked at together.
BLOCK = 256


def densest_rows(
    grid: VoxelGrid, space: ParameterizedSpace, logits: Tensor, ego2lidar: Tensor, indices: Tensor, lattice: int
) -> Tensor:
    """Return the row ``(n,)`` int32 that the densest point of each voxel hits; of equally dense ones, the first.

    Args:
        grid: maps points of the cube to rows.
        space: maps the LiDAR frame to the cube.
        logits: ``(rows,)`` of the density.
        ego2lidar: ``(4, 4)`` pose of the ego frame, of the dtype of the logits.
        indices: ``(n,)`` int64, places of the voxels in the flat grid of Occ3D.
        lattice: points per axis and voxel, the middles of equal parts of it.
    """
    pose, values = ego2lidar.cpu().numpy(), logits.cpu().numpy()
    number = pose.dtype.type
    lower, voxel = LOWER.astype(number), number(VOXEL)
    parts = voxel * (np.arange(lattice).astype(number) + number(0.5)) / number(lattice)
    ranges = np.array([space.inner_range, space.inner_range, space.inner_range_z], number)
    ratios = np.array([space.contract_ratio, 1 - space.contract_ratio], number)
    codes = axis_codes(grid.fine_level, logits.device).cpu().numpy()
    shift = 3 * (grid.fine_level - grid.coarse_level)
    tables = (codes, grid.index.cpu().numpy(), grid.leaves.cpu().numpy(), values)
    places = indices.cpu().numpy()
    rows = np.empty(len(places), np.int32)
    _densest(places, lower, voxel, parts, pose, ranges, ratios, shift, grid.empty_row, tables, rows)
    return torch.from_numpy(rows).to(indices.device)


@njit(cache=True, nogil=True, error_model='numpy')
def _densest(places, lower, voxel, parts, pose, ranges, ratios, shift, empty_row, tables, rows):
    """Fill ``rows`` ``(n,)``; all numbers are of the dtype of the pose, so that they round as tensors of it do."""
    codes, index, leaves, logits = tables
    corners, cells = np.zeros((3, BLOCK), pose.dtype), np.empty((3, BLOCK), np.int32)
    best, half = np.empty(BLOCK, logits.dtype), np.int32(codes.shape[1] // 2)
    bits, beyond, inner = np.uint32(shift), np.uint32(~(codes.shape[1] - 1)), np.uint32((1 << shift) - 1)
    for begin in range(0, len(places), BLOCK):
        chosen = rows[begin : begin + BLOCK]
        _fill_corners(places[begin : begin + BLOCK], lower, voxel, corners)
        first = True
        for part_x in parts:
            for part_y in parts:
                for part_z in parts:
                    for axis in range(3):
                        part = part_x, part_y, part_z
                        _find_cells(corners, part, pose[axis], ranges[axis], ratios, half, cells[axis])
                    for n in range(len(chosen)):
                        # Numbers without sign are no places from the end.
                        x, y, z = np.uint32(cells[0, n]), np.uint32(cells[1, n]), np.uint32(cells[2, n])
                        row = np.int32(empty_row)
                        if (x | y | z) & beyond == 0:
                            code = np.uint32(codes[0, x] | codes[1, y] | codes[2, z])
                            block = np.uint32(index[code >> bits]) << bits
                            row = leaves[block + (code & inner)]
                        logit = logits[np.uint32(row)]
                        better = first or logit > best[n]
                        best[n] = logit if better else best[n]
                        chosen[n] = row if better else chosen[n]
                    first = False


@njit(inline='always')
def _fill_corners(places, lower, voxel, corners):
    """Fill ``corners`` ``(3, block)`` with the lower corners of up to so many voxels, meters in the ego frame."""
    for n in range(len(places)):
        place = places[n]
        corners[0, n] = lower[0] + voxel * type_of(corners, place // (SHAPE[1] * SHAPE[2]))
        corners[1, n] = lower[1] + voxel * type_of(corners, place // SHAPE[2] % SHAPE[1])
        corners[2, n] = lower[2] + voxel * type_of(corners, place % SHAPE[2])


@njit(inline='always')
def _find_cells(corners, part, pose, inner_range, ratios, half, cells):
    """Fill ``cells`` ``(block,)`` with the place, along an axis, of the point at a part of each voxel.

    A loop without branches over all of a block, whatever is in it, so that several points are computed at once.
    """
    scale = type_of(pose, half)
    for n in range(BLOCK):
        x, y, z = corners[0, n] + part[0], corners[1, n] + part[1], corners[2, n] + part[2]
        point = pose[0] * x + pose[1] * y + pose[2] * z + pose[3]
        cells[n] = np.int32(np.floor(_contract(point, inner_range, ratios) * scale)) + half


@njit(inline='always')
def type_of(like, value):
    """Return a whole number in the dtype of an array."""
    return like.dtype.type(value)


@njit(inline='always')
def _contract(x, inner_range, ratios):
    """Map meters to the cube (:func:`...geometry.contraction.contract`)."""
    size = abs(x)
    one = type_of(ratios, 1)
    outside = (one - inner_range / size * ratios[1]) * x / size
    return x / inner_range * ratios[0] if size < inner_range else outside
