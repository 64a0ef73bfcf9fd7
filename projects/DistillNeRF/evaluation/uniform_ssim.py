"""Structural similarity as scikit-image computes it by default, by a compiled loop: all images in one pass, row by row.

It rounds where scikit-image does, which keeps all in float32 but the sums in windows: of even areas, whose variance is
a difference of nearly equal numbers, float64 would give other figures from the sixth digit on.
"""

from __future__ import annotations

import numpy as np
from numba import njit

# Side of the window, pixels; windows that leave the image do not count.
SIDE = 7
# From float32 to float32, as numpy does with numbers of Python.
TWO = np.float32(2)
SAMPLE = np.float32(SIDE**2 / (SIDE**2 - 1))
FIRST, SECOND = np.float32(0.01**2), np.float32(0.03**2)
# What is averaged: both images, their squares, their product.
MAPS = 5


@njit(cache=True, nogil=True, error_model='numpy')
def uniform_similarities(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the mean similarity ``(n,)`` float64 of gray images, with the covariance of a sample.

    Args:
        first, second: ``(n, H, W)`` float32 in [0, 1], C-contiguous, no side shorter than the window.
    """
    count, height, width = first.shape
    columns = width - SIDE + 1
    maps = np.empty((MAPS, height, width), np.float32)
    sums = np.empty((MAPS, width))
    averages = np.empty((MAPS, width), np.float32)
    means = np.empty((MAPS, columns), np.float32)
    totals = np.empty(columns)
    found = np.empty(count)
    for n in range(count):
        _fill_maps(first[n], second[n], maps)
        sums[:] = 0
        totals[:] = 0
        for y in range(height):
            for number in range(MAPS):
                _add_row(maps[number], y, sums[number])
                if y >= SIDE - 1:
                    _average(sums[number], averages[number], means[number])
            if y >= SIDE - 1:
                _add_similarities(means, totals)
        found[n] = totals.sum() / ((height - SIDE + 1) * columns)
    return found


@njit(inline='always')
def _fill_maps(one, other, maps):
    """Fill the maps ``(5, H, W)`` of two images."""
    for y in range(one.shape[0]):
        for x in range(one.shape[1]):
            a, b = one[y, x], other[y, x]
            maps[0, y, x], maps[1, y, x] = a, b
            maps[2, y, x], maps[3, y, x], maps[4, y, x] = a * a, b * b, a * b


@njit(inline='always')
def _add_row(image, y, sums):
    """Move the window of the sums ``(W,)`` down to a row, its last one."""
    if y < SIDE:
        for x in range(len(sums)):
            sums[x] += np.float64(image[y, x])
    else:
        for x in range(len(sums)):
            sums[x] += np.float64(image[y, x]) - np.float64(image[y - SIDE, x])


@njit(inline='always')
def _average(sums, averages, means):
    """Fill the means ``(W - 6,)`` of windows from the sums of their columns ``(W,)``."""
    for x in range(len(sums)):
        averages[x] = np.float32(sums[x] / SIDE)
    for x in range(len(means)):
        total = np.float64(averages[x])
        for k in range(1, SIDE):
            total += np.float64(averages[x + k])
        means[x] = np.float32(total / SIDE)


@njit(inline='always')
def _add_similarities(means, totals):
    """Add the similarities of a row of windows to the totals ``(W - 6,)`` of their columns."""
    for x in range(len(totals)):
        a, b = means[0, x], means[1, x]
        variance_a, variance_b = SAMPLE * (means[2, x] - a * a), SAMPLE * (means[3, x] - b * b)
        covariance = SAMPLE * (means[4, x] - a * b)
        top = (TWO * a * b + FIRST) * (TWO * covariance + SECOND)
        totals[x] += np.float64(top / ((a * a + b * b + FIRST) * (variance_a + variance_b + SECOND)))
