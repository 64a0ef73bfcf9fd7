"""Depth as colors: one fixed scale for every picture, so that colors can be compared across pictures."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

NEAREST = 2.0
FARTHEST = 80.0
# Grays are no colors of the map: what is not known is dark, the sky is light.
UNKNOWN_COLOR = (48, 48, 48)
SKY_COLOR = (222, 226, 232)


@lru_cache(maxsize=4)
def _table(colormap: int) -> np.ndarray:
    """Return ``(256, 3)`` RGB of an OpenCV colormap."""
    values = np.arange(256, dtype=np.uint8)[:, None]
    return np.ascontiguousarray(cv2.applyColorMap(values, colormap)[:, 0, ::-1])


def color_shares(shares: np.ndarray, colormap: int = cv2.COLORMAP_TURBO) -> np.ndarray:
    """Map numbers in [0, 1] (clipped) of any shape to uint8 RGB, with one more axis at the end.

    NaN has :data:`UNKNOWN_COLOR`.
    """
    unknown = np.isnan(shares)
    entries = (np.where(unknown, 0, shares).clip(0, 1) * 255).round().astype(np.uint8)
    # Always a copy: an index would give a row of the table itself for a single number.
    colors = _table(colormap).take(entries, 0)
    colors[unknown] = UNKNOWN_COLOR
    return colors


def log_shares(depth: np.ndarray, near: float = NEAREST, far: float = FARTHEST) -> np.ndarray:
    """Map depths (meters) to a log scale, 0 at ``near`` and 1 at ``far``; NaN stays, nothing is clipped."""
    return np.log(np.maximum(depth, 1e-6) / near) / np.log(far / near)


def depth_to_colors(
    depth: np.ndarray, sky: np.ndarray | None = None, near: float = NEAREST, far: float = FARTHEST
) -> np.ndarray:
    """Color depth by turbo on a log scale: dark blue at ``near`` and nearer, dark red at ``far`` and farther.

    Args:
        depth: ``(H, W)`` meters, NaN where unknown.
        sky: ``(H, W)`` bool, drawn in :data:`SKY_COLOR`; goes before unknown.
        near, far: ends of the scale, meters.

    Returns:
        ``(H, W, 3)`` uint8 RGB.
    """
    colors = color_shares(log_shares(depth, near, far))
    if sky is not None:
        colors[sky] = SKY_COLOR
    return colors
