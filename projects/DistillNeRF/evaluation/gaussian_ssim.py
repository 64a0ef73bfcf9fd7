"""Structural similarity under a Gaussian window, by a compiled loop: all images in one pass, row by row.

Around each row the rows of the window are averaged first, then each pixel along it, so that all that is looked at stays
in the cache of a CPU.
"""

from __future__ import annotations

import numpy as np
from numba import njit

# Constants of Wang et al. (2004), for images in [0, 1].
FIRST, SECOND = 0.01**2, 0.03**2
# What is averaged: both images, the sum of their squares, their product.
MAPS = 4


@njit(cache=True, nogil=True, error_model='numpy')
def similarities(first: np.ndarray, second: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the mean similarity ``(n,)`` of gray images, in float64.

    Args:
        first, second: ``(n, H, W)`` in [0, 1]; outside, they are mirrored without repeating the border, so that no side
            may be shorter than half a window and a pixel.
        weights: ``(k,)`` float64, k odd, of a window that is their outer product, whose sum is 1.
    """
    count, height, width = first.shape
    half = len(weights) // 2
    maps = np.empty((MAPS, height, width))
    row = np.empty(width + 2 * half)
    means = np.empty((MAPS, width))
    found = np.empty(count)
    for n in range(count):
        _fill_maps(first[n], second[n], maps)
        total = 0.0
        for y in range(height):
            for number in range(MAPS):
                _average_rows(maps[number], y, weights, row)
                _average_along(row, weights, means[number])
            for x in range(width):
                total += _similarity(means[0, x], means[1, x], means[2, x], means[3, x])
        found[n] = total / (height * width)
    return found


@njit(inline='always')
def _fill_maps(one, other, maps):
    """Fill the maps ``(4, H, W)`` of two images."""
    for y in range(one.shape[0]):
        for x in range(one.shape[1]):
            a, b = np.float64(one[y, x]), np.float64(other[y, x])
            maps[0, y, x], maps[1, y, x] = a, b
            maps[2, y, x], maps[3, y, x] = a * a + b * b, a * b


@njit(inline='always')
def _average_rows(image, y, weights, row):
    """Fill ``row`` ``(W + 2 h,)`` with the average of the rows around one, mirrored at both ends."""
    height, width = image.shape
    half = len(weights) // 2
    inner = row[half : half + width]
    inner[:] = 0
    for k in range(len(weights)):
        source = abs(y + k - half)
        if source >= height:
            source = 2 * height - 2 - source
        weight, line = weights[k], image[source]
        for x in range(width):
            inner[x] += weight * line[x]
    for k in range(half):
        row[half - 1 - k] = inner[k + 1]
        row[half + width + k] = inner[width - 2 - k]


@njit(inline='always')
def _average_along(row, weights, means):
    """Fill ``means`` ``(W,)`` with the average along a row ``(W + 2 h,)``."""
    means[:] = 0
    for k in range(len(weights)):
        weight, line = weights[k], row[k:]
        for x in range(len(means)):
            means[x] += weight * line[x]


@njit(inline='always')
def _similarity(mean_x, mean_y, squares, product):
    """Return the similarity of a pixel."""
    means = mean_x * mean_y
    squared_means = mean_x * mean_x + mean_y * mean_y
    # Rounding can make it negative.
    variances = max(squares - squared_means, 0.0)
    top = (2 * means + FIRST) * (2 * (product - means) + SECOND)
    return top / ((squared_means + FIRST) * (variances + SECOND))
