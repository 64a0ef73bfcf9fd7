"""Noise and stripes, filtered over the width that a pixel covers so that far textures fade instead of flickering."""

from __future__ import annotations

import numpy as np

_SIZE = 256


def _fractal_noise(octaves: int = 5) -> np.ndarray:
    """Return a tile ``(256, 256)`` of value noise in [0, 1] that repeats without a seam."""
    rng = np.random.Generator(np.random.PCG64(20240612))
    total = np.zeros((_SIZE, _SIZE))
    for octave in range(octaves):
        cells = 8 << octave
        lattice = rng.random((cells, cells))
        position = np.arange(_SIZE) * (cells / _SIZE)
        index = position.astype(int)
        weight = position - index
        weight = weight * weight * (3 - 2 * weight)
        following = (index + 1) % cells
        rows = lattice[index] * (1 - weight)[:, None] + lattice[following] * weight[:, None]
        total += 0.5**octave * (rows[:, index] * (1 - weight) + rows[:, following] * weight)
    total -= total.min()
    return (total / total.max()).astype(np.float32)


_NOISE = _fractal_noise()
# Eight numbers per cell that have nothing to do with each other.
_CELLS = np.random.Generator(np.random.PCG64(77)).random((_SIZE, _SIZE), dtype=np.float32)


def noise(x: np.ndarray, y: np.ndarray, period: float) -> np.ndarray:
    """Return smooth noise in [0, 1], mean about 0.5.

    Its largest features are ``period / 8`` wide, and it repeats after ``period``.
    """
    scale = np.float32(_SIZE / period)
    x, y = x * scale, y * scale
    column, row = np.floor(x), np.floor(y)
    fx, fy = x - column, y - row
    column, row = column.astype(np.int64) & 255, row.astype(np.int64) & 255
    right, below = (column + 1) & 255, (row + 1) & 255
    upper = _NOISE[row, column] * (1 - fx) + _NOISE[row, right] * fx
    lower = _NOISE[below, column] * (1 - fx) + _NOISE[below, right] * fx
    return upper * (1 - fy) + lower * fy


def cell(x: np.ndarray, y: np.ndarray, salt: np.ndarray | float = 0) -> np.ndarray:
    """Return a random number in [0, 1) for each integer cell (x, y); ``salt`` gives other numbers."""
    salt = np.asarray(salt).astype(np.int64)
    column = np.floor(x).astype(np.int64) + 57 * salt
    row = np.floor(y).astype(np.int64) + 131 * salt
    return _CELLS[(row * 7 + column // 256) & 255, (column * 3 + row // 256) & 255]


def pulse(x: np.ndarray, low: np.ndarray | float, high: np.ndarray | float, width: np.ndarray) -> np.ndarray:
    """Return the share of a pixel of ``width`` around x inside [low, high]: an anti-aliased bar."""
    width = np.maximum(width, 1e-4)
    return np.clip((np.minimum(x + width / 2, high) - np.maximum(x - width / 2, low)) / width, 0.0, 1.0)


def stripes(x: np.ndarray, low: np.ndarray | float, high: np.ndarray | float, width: np.ndarray) -> np.ndarray:
    """Return :func:`pulse` of bars [low, high] (within [0, 1]) that repeat with period 1."""
    width = np.maximum(width, 1e-4)

    def covered(position: np.ndarray) -> np.ndarray:
        whole = np.floor(position)
        return whole * (high - low) + np.clip(position - whole - low, 0.0, high - low)

    return (covered(x + width / 2) - covered(x - width / 2)) / width


def mix(first: np.ndarray, second: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Mix colors ``(n, 3)``: ``first`` where ``share`` ``(n,)`` is 0, ``second`` where it is 1."""
    return first + (second - first) * share[:, None]


def smoothstep(x: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return 0 below ``low``, 1 above ``high``, and a smooth change between."""
    share = np.clip((x - low) / (high - low), 0.0, 1.0)
    return share * share * (3 - 2 * share)
