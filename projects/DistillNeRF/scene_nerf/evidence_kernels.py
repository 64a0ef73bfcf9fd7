"""Numba kernels that walk beams through a grid of voxels that is stored in blocks.

A block holds 8 x 8 x 8 voxels. ``blocks`` ``(bx, by, bz)`` int32 says which row of the tables holds a block, -1 none.
A table ``(rows, 512)`` uint64 has one bit for each of up to 64 times.
"""

from __future__ import annotations

import numpy as np
from numba import njit

SIDE = 8
VOXELS = SIDE**3
ONE = np.uint64(1)
NOTHING = np.uint64(0)


@njit(cache=True)
def _slot(x: int, y: int, z: int) -> int:
    return ((x & 7) * 8 + (y & 7)) * 8 + (z & 7)


@njit(cache=True)
def mark_hits(blocks, hits, used, cells, bits, first):
    """Set the bit of every cell ``(n, 3)``, from the ``first`` on.

    Returns:
        rows of ``hits`` in use, and the cell where the table was full; n if there was room for all.
    """
    for n in range(first, len(cells)):
        x, y, z = cells[n]
        row = blocks[x >> 3, y >> 3, z >> 3]
        if row < 0:
            if used == len(hits):
                return used, n
            row = used
            blocks[x >> 3, y >> 3, z >> 3] = row
            used += 1
        hits[row, _slot(x, y, z)] |= ONE << np.uint64(bits[n])
    return used, len(cells)


@njit(cache=True)
def mark_passes(blocks, hits, passes, used, starts, stops, bits, first):
    """Set the bit of every voxel that a segment goes through, unless something was hit there at that time.

    Args:
        blocks, hits, passes: the grid.
        used: rows of ``passes`` in use.
        starts, stops: ``(n, 3)`` float64, in voxels, inside the grid.
        bits: ``(n,)`` number of the time.
        first: segment to begin with.

    Returns:
        rows in use, and the segment where the table was full; n if there was room for all.
    """
    cell, end, step = np.empty(3, np.int64), np.empty(3, np.int64), np.empty(3, np.int64)
    following, width = np.empty(3), np.empty(3)
    for n in range(first, len(starts)):
        bit = ONE << np.uint64(bits[n])
        count = 1
        for axis in range(3):
            cell[axis] = int(np.floor(starts[n, axis]))
            end[axis] = int(np.floor(stops[n, axis]))
            along = stops[n, axis] - starts[n, axis]
            step[axis] = 1 if along > 0 else -1
            width[axis] = 1 / abs(along) if along != 0 else np.inf
            edge = cell[axis] + (1 if along > 0 else 0)
            following[axis] = (edge - starts[n, axis]) / along if along != 0 else np.inf
            count += abs(end[axis] - cell[axis])
        for _ in range(count):
            row = blocks[cell[0] >> 3, cell[1] >> 3, cell[2] >> 3]
            if row < 0:
                if used == len(passes):
                    return used, n
                row = used
                blocks[cell[0] >> 3, cell[1] >> 3, cell[2] >> 3] = row
                used += 1
            slot = _slot(cell[0], cell[1], cell[2])
            if not hits[row, slot] & bit:
                passes[row, slot] |= bit
            axis = 0 if following[0] <= following[1] else 1
            axis = axis if following[axis] <= following[2] else 2
            if cell[axis] == end[axis]:
                # Rounding: this axis is done, the others are not.
                following[axis] = np.inf
                axis = 0 if following[0] <= following[1] else 1
                axis = axis if following[axis] <= following[2] else 2
                if following[axis] == np.inf or cell[axis] == end[axis]:
                    break
            cell[axis] += step[axis]
            following[axis] += width[axis]
    return used, len(starts)


@njit(cache=True)
def read_bits(blocks, table, cells, reach):
    """Return ``(n,)`` the bits of cells ``(n, 3)``, joined with those of the cells up to ``reach`` beside them."""
    result = np.zeros(len(cells), np.uint64)
    sides = (blocks.shape[0] * SIDE, blocks.shape[1] * SIDE, blocks.shape[2] * SIDE)
    for n in range(len(cells)):
        for x in range(max(cells[n, 0] - reach, 0), min(cells[n, 0] + reach + 1, sides[0])):
            for y in range(max(cells[n, 1] - reach, 0), min(cells[n, 1] + reach + 1, sides[1])):
                for z in range(max(cells[n, 2] - reach, 0), min(cells[n, 2] + reach + 1, sides[2])):
                    row = blocks[x >> 3, y >> 3, z >> 3]
                    if row >= 0:
                        result[n] |= table[row, _slot(x, y, z)]
    return result


@njit(cache=True)
def find_any(blocks, hits, passes, first, last):
    """Tell for boxes of cells from ``first`` up to ``last`` (n, 3), without it, whether any was hit, and any free.

    Of boxes in which one was hit, it is not said whether any was free.
    """
    hit, free = np.zeros(len(first), np.bool_), np.zeros(len(first), np.bool_)
    sides = (blocks.shape[0] * SIDE, blocks.shape[1] * SIDE, blocks.shape[2] * SIDE)
    for n in range(len(first)):
        for x in range(max(first[n, 0], 0), min(last[n, 0], sides[0])):
            for y in range(max(first[n, 1], 0), min(last[n, 1], sides[1])):
                z, end = max(first[n, 2], 0), min(last[n, 2], sides[2])
                while z < end and not hit[n]:
                    row, following = blocks[x >> 3, y >> 3, z >> 3], min((z | 7) + 1, end)
                    if row >= 0:
                        slot = _slot(x, y, z)
                        for step in range(following - z):
                            hit[n] |= hits[row, slot + step] != 0
                            free[n] |= passes[row, slot + step] != 0
                    z = following
            if hit[n]:
                break
    return hit, free


@njit(cache=True)
def count_bits(bits):
    """Return ``(n,)`` uint8, how many bits of each uint64 are set."""
    counts = np.zeros(len(bits), np.uint8)
    for n in range(len(bits)):
        rest = bits[n]
        while rest:
            rest &= rest - ONE
            counts[n] += 1
    return counts


@njit(cache=True)
def same_stay(hits, passes, own):
    """Return ``(n,)`` the bits of the times around its own at which a voxel was not seen to be free in between.

    Args:
        hits: ``(n,)`` bits; only these times are in the result, and the own one.
        passes: ``(n,)`` bits of the times at which it was free.
        own: ``(n,)`` number of the own time.
    """
    stays = np.zeros(len(own), np.uint64)
    for n in range(len(own)):
        stays[n] = ONE << np.uint64(own[n])
        for step in (-1, 1):
            bit = own[n] + step
            while 0 <= bit < 64 and not passes[n] >> np.uint64(bit) & ONE:
                stays[n] |= hits[n] & (ONE << np.uint64(bit))
                bit += step
    return stays
