"""What can be told from a drawn depth image: gaps in surfaces, and the sky above what came back."""

from __future__ import annotations

import numpy as np
from numba import njit
from scipy.ndimage import maximum_filter1d

# Columns to each side whose depth counts for a column, and rows above the highest depth that stay unknown.
SIDE, GAP = 3, 2
# The highest beams return too little to rely on: degrees below the ceiling.
MARGIN = 3.0
# Rows below the highest depth of a column whose beams tell whether the LiDAR could have seen more above.
EDGE = 4


def close_gaps(layers: np.ndarray, longest: tuple[int, int], ratio: float) -> np.ndarray:
    """Fill gaps that lie between two pixels of one column, or then of one row, that are of one surface.

    Inverse z is interpolated, which is exact on a plane; everything else with it.

    Args:
        layers: ``(h, w, k)`` float64, z first; NaN where unknown.
        longest: pixels of the longest gap down and across.
        ratio: how many times as far the farther pixel may be for both to be of one surface.
    """
    filled = layers.copy()
    _close_columns(filled, longest[0], ratio)
    across = np.ascontiguousarray(filled.transpose(1, 0, 2))
    _close_columns(across, longest[1], ratio)
    return np.ascontiguousarray(across.transpose(1, 0, 2))


@njit(cache=True)
def _close_columns(layers, longest, ratio):
    """Fill the gaps ``layers`` ``(h, w, k)`` has along its first axis, in place."""
    height, width, count = layers.shape
    for column in range(width):
        last = -1
        for row in range(height):
            z = layers[row, column, 0]
            if np.isnan(z):
                continue
            if last >= 0 and 1 < row - last <= longest + 1:
                before = layers[last, column, 0]
                if max(z, before) <= ratio * min(z, before):
                    for between in range(last + 1, row):
                        share = (between - last) / (row - last)
                        layers[between, column, 0] = 1 / ((1 - share) / before + share / z)
                        for k in range(1, count):
                            ends = layers[last, column, k], layers[row, column, k]
                            layers[between, column, k] = (1 - share) * ends[0] + share * ends[1]
            last = row


def open_sky(known: np.ndarray, beams: np.ndarray, rays: np.ndarray, ceiling: float, lowest: float) -> np.ndarray:
    """Return ``(h, w)`` bool, True where a pixel must be sky as far as LiDAR can tell.

    A column of the image is open if the beams that saw its highest depth were well below the ceiling of the LiDAR: it
    had beams above, and they came back from nothing. What is above in an open column is sky, as nothing floats there.
    Columns that go on above the ceiling, and those where nothing came back, stay unknown.

    Args:
        known: ``(h, w)`` True where the depth is known; the camera is upright.
        beams: ``(h, w)`` elevation of the beams that saw it, degrees above the horizon.
        rays: ``(h, w)`` elevation of the rays of the pixels, degrees.
        ceiling: elevation of the highest beams, degrees.
        lowest: elevation of rays from which on the sky can be told, degrees.
    """
    highest_beams = np.where(known, beams, -90.0)
    reached = maximum_filter1d(highest_beams, 2 * SIDE + 1, axis=1, mode='nearest') >= ceiling - MARGIN
    near = maximum_filter1d(known.astype(np.uint8), 2 * SIDE + 1, axis=1, mode='nearest').astype(bool)
    rows = np.arange(len(known))[:, None]
    top = near.argmax(axis=0)
    closed = (reached & (rows <= top + EDGE)).any(axis=0)
    return near.any(axis=0) & ~closed & (rows < top - GAP) & (rays > lowest)
