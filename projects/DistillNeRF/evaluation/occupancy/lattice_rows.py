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
    _densest(places, SHAPE, lower, voxel, parts, pose, ranges, ratios, shift, grid.empty_row, tables, rows)
    return torch.from_numpy(rows).to(indices.device)


@njit(cache=True, nogil=True, error_model='numpy')
def _densest(places, shape, lower, voxel, parts, pose, ranges, ratios, shift, empty_row, tables, rows):
    """Fill ``rows`` ``(n,)``; all numbers are of the dtype of the pose, so that they round as tensors of it do."""
    codes, index, leaves, logits = tables
    cells = codes.shape[1]
    half = type_of(pose, cells // 2)
    corner, code = np.empty(3, pose.dtype), 0
    for n in range(len(places)):
        place = places[n]
        corner[0] = lower[0] + voxel * type_of(pose, place // (shape[1] * shape[2]))
        corner[1] = lower[1] + voxel * type_of(pose, place // shape[2] % shape[1])
        corner[2] = lower[2] + voxel * type_of(pose, place % shape[2])
        best, chosen = logits[empty_row], np.int32(-1)
        for part_x in parts:
            for part_y in parts:
                for part_z in parts:
                    x, y, z = corner[0] + part_x, corner[1] + part_y, corner[2] + part_z
                    code, inside = 0, True
                    for axis in range(3):
                        point = pose[axis, 0] * x + pose[axis, 1] * y + pose[axis, 2] * z + pose[axis, 3]
                        scaled = _contract(point, ranges[axis], ratios) * half
                        cell = int(np.floor(scaled)) + cells // 2
                        if cell < 0 or cell >= cells:
                            inside = False
                            break
                        code |= codes[axis, cell]
                    row = empty_row
                    if inside:
                        row = leaves[(index[code >> shift] << shift) + (code & ((1 << shift) - 1))]
                    if chosen < 0 or logits[row] > best:
                        best, chosen = logits[row], np.int32(row)
        rows[n] = chosen


@njit(inline='always')
def type_of(like, value):
    """Return a whole number in the dtype of an array."""
    return like.dtype.type(value)


@njit(inline='always')
def _contract(x, inner_range, ratios):
    """Map meters to the cube (:func:`...geometry.contraction.contract`)."""
    size = abs(x)
    if size < inner_range:
        return x / inner_range * ratios[0]
    one = type_of(ratios, 1)
    return (one - inner_range / size * ratios[1]) * x / size
