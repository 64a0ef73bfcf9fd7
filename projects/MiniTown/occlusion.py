"""Soft darkness on the ground beside things, where less of the sky is seen: it ties objects to the street."""

from __future__ import annotations

import numpy as np

from .textures import smoothstep

_CELL = 0.3
_REACH = 1.2


class GroundOcclusion:
    """A map of how much sky light the ground lacks, 0 (open) to 1 (none).

    Args:
        size: ``(2,)`` extent of the map from the origin, meters.
    """

    def __init__(self, size: np.ndarray) -> None:
        count = np.ceil(np.asarray(size) / _CELL).astype(int) + 1
        self.grid = np.zeros((count[1], count[0]), np.float32)

    def copy(self) -> GroundOcclusion:
        """Return an independent map with the same content."""
        copied = GroundOcclusion.__new__(GroundOcclusion)
        copied.grid = self.grid.copy()
        return copied

    def add(self, center: tuple[float, float], width: float, length: float, yaw: float, strength: float) -> None:
        """Darken below and around a rectangle whose length lies along ``yaw``."""
        center = np.asarray(center)
        margin = np.hypot(width, length) / 2 + _REACH
        low = np.maximum(np.floor((center - margin) / _CELL).astype(int), 0)
        high = np.minimum(np.ceil((center + margin) / _CELL).astype(int) + 1, self.grid.shape[::-1])
        if (high <= low).any():
            return
        x, y = np.meshgrid(*(np.arange(low[k], high[k]) * _CELL - center[k] for k in range(2)))
        ahead, aside = x * np.cos(yaw) + y * np.sin(yaw), y * np.cos(yaw) - x * np.sin(yaw)
        outside = np.hypot(np.maximum(np.abs(ahead) - length / 2, 0), np.maximum(np.abs(aside) - width / 2, 0))
        dark = strength * (1.0 - smoothstep(outside, -0.2, _REACH))
        part = self.grid[low[1] : high[1], low[0] : high[0]]
        np.maximum(part, dark.astype(np.float32), out=part)

    def at(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the darkness ``(n,)`` at points, 0 outside of the map."""
        x, y = x / _CELL, y / _CELL
        rows, columns = self.grid.shape
        inside = (x >= 0) & (y >= 0) & (x < columns - 1) & (y < rows - 1)
        x, y = np.where(inside, x, 0.0), np.where(inside, y, 0.0)
        column, row = x.astype(int), y.astype(int)
        fx, fy = x - column, y - row
        upper = self.grid[row, column] * (1 - fx) + self.grid[row, column + 1] * fx
        lower = self.grid[row + 1, column] * (1 - fx) + self.grid[row + 1, column + 1] * fx
        return np.where(inside, upper * (1 - fy) + lower * fy, 0.0).astype(np.float32)
