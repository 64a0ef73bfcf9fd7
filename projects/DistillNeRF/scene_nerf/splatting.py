"""Draw small discs into a depth image: numba kernels."""

from __future__ import annotations

import numpy as np
from numba import njit

# Discs seen flatter than this, cosine, are left out.
FLATTEST = 0.03


@njit(cache=True)
def nearest_depth(centers, normals, radii, intrinsics, directions, nearest):
    """Return ``(h, w)`` float64, z of the nearest disc in every pixel; infinite where there is none.

    Args:
        centers: ``(m, 3)`` float64 in the camera.
        normals: ``(m, 3)`` float64 unit vectors; NaN for discs that face the camera.
        radii: ``(m,)`` meters.
        intrinsics: ``(3, 3)`` float64.
        directions: ``(h, w, 3)`` float64, of z 1.
        nearest: z from which on discs are drawn, meters.
    """
    height, width = directions.shape[:2]
    depth = np.full((height, width), np.inf)
    for m in range(len(centers)):
        top, bottom, left, right = _box(centers[m], radii[m], intrinsics, height, width, nearest)
        for row in range(top, bottom):
            for column in range(left, right):
                z, _ = _meet(centers[m], normals[m], radii[m], directions[row, column], intrinsics)
                if z < depth[row, column]:
                    depth[row, column] = z
    return depth


@njit(cache=True)
def blend(centers, normals, radii, values, intrinsics, directions, nearest, front, thickness):
    """Average the discs that are as near as the nearest, weighted by how near to its middle each is met.

    Args:
        centers, normals, radii, intrinsics, directions, nearest: as in :func:`nearest_depth`.
        values: ``(m, k)`` float64, what else to average.
        front: ``(h, w)`` what :func:`nearest_depth` gives.
        thickness: share of z up to which a disc behind counts.

    Returns:
        ``(h, w, 1 + k)`` z and the values; NaN where there is no disc.
    """
    height, width = directions.shape[:2]
    total = np.zeros((height, width, 1 + values.shape[1]))
    weights = np.zeros((height, width))
    for m in range(len(centers)):
        top, bottom, left, right = _box(centers[m], radii[m], intrinsics, height, width, nearest)
        for row in range(top, bottom):
            for column in range(left, right):
                z, weight = _meet(centers[m], normals[m], radii[m], directions[row, column], intrinsics)
                if weight > 0 and z <= front[row, column] * (1 + thickness):
                    weights[row, column] += weight
                    total[row, column, 0] += weight * z
                    for k in range(values.shape[1]):
                        total[row, column, 1 + k] += weight * values[m, k]
    for row in range(height):
        for column in range(width):
            weight = weights[row, column]
            total[row, column] /= weight if weight > 0 else np.nan
    return total


@njit(cache=True)
def _box(center, radius, intrinsics, height, width, nearest):
    """Return the rows and columns, half open, that a ball of this radius covers; the pixel of its middle at least."""
    z = center[2]
    if z < nearest:
        return 0, 0, 0, 0
    u = intrinsics[0, 0] * center[0] / z + intrinsics[0, 1] * center[1] / z + intrinsics[0, 2]
    v = intrinsics[1, 1] * center[1] / z + intrinsics[1, 2]
    reach_u = max(radius * intrinsics[0, 0] / z, 0.5)
    reach_v = max(radius * intrinsics[1, 1] / z, 0.5)
    if u + reach_u < 0 or v + reach_v < 0 or u - reach_u > width - 1 or v - reach_v > height - 1:
        return 0, 0, 0, 0
    top, bottom = max(int(np.ceil(v - reach_v)), 0), min(int(np.floor(v + reach_v)) + 1, height)
    left, right = max(int(np.ceil(u - reach_u)), 0), min(int(np.floor(u + reach_u)) + 1, width)
    return top, bottom, left, right


@njit(cache=True)
def _meet(center, normal, radius, direction, intrinsics):
    """Return z where a ray meets a disc, infinite if it does not, and the weight, 1 in its middle and 0 at its edge."""
    x, y, z = center
    facing = np.isnan(normal[0])
    if not facing:
        slope = normal[0] * direction[0] + normal[1] * direction[1] + normal[2] * direction[2]
        if abs(slope) < FLATTEST * np.sqrt(direction[0] ** 2 + direction[1] ** 2 + 1):
            return np.inf, 0.0
        z = (normal[0] * x + normal[1] * y + normal[2] * center[2]) / slope
    if z <= 0:
        return np.inf, 0.0
    apart = (direction[0] * z - x) ** 2 + (direction[1] * z - y) ** 2 + (z - center[2]) ** 2
    # A disc is not smaller than a pixel.
    least = 0.5 * z / min(intrinsics[0, 0], intrinsics[1, 1])
    size = max(radius, least)
    if apart >= size * size:
        return np.inf, 0.0
    return z, 1 - apart / (size * size) + 1e-6
