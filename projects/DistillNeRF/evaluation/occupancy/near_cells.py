"""Which voxels of the grid of Occ3D the boxes of cells touch, by a compiled loop."""

from __future__ import annotations

import math

import numpy as np
from numba import njit


@njit(cache=True, nogil=True, error_model='numpy')
def mark_boxes(cells: np.ndarray, bounds: np.ndarray, inset: float, marked: np.ndarray) -> None:
    """Mark the voxels that may have a point in one of some cells.

    Args:
        cells: ``(n, 3)`` places of the cells along the axes of their cube.
        bounds: ``(3, cells, 6)`` what each place along each of these axes adds to the lower and the upper corner of
            the cell's box in the grid, voxels.
        inset: voxels from the face of a voxel to its first point.
        marked: bool, a grid of voxels, set to true.
    """
    begin, end = np.empty(3, np.int64), np.empty(3, np.int64)
    for n in range(len(cells)):
        empty = False
        for axis in range(3):
            lower, upper = 0.0, 0.0
            for side in range(3):
                lower += bounds[side, cells[n, side], axis]
                upper += bounds[side, cells[n, side], axis + 3]
            begin[axis] = max(math.ceil(lower - 1 + inset), 0)
            end[axis] = min(math.floor(upper - inset) + 1, marked.shape[axis])
            empty |= end[axis] <= begin[axis]
        if empty:
            continue
        for x in range(begin[0], end[0]):
            for y in range(begin[1], end[1]):
                marked[x, y, begin[2] : end[2]] = True
