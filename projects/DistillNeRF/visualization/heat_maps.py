"""Where features are like a query, as a picture."""

from __future__ import annotations

import cv2
import numpy as np

from .depth_colors import colour_shares
from .layout import DIMMED, ERROR_COLORMAP


def draw_heat_map(similarity: np.ndarray, image: np.ndarray) -> np.ndarray:
    """A similarity ``(h, w)`` over the dimmed image ``(H, W, 3)`` uint8: nothing at 0 and below, brightest at 1.

    The scale is fixed, so that heat maps can be compared across cameras, queries and pictures.
    """
    height, width = image.shape[:2]
    shares = cv2.resize(similarity.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR).clip(0, 1)
    heat = colour_shares(shares, ERROR_COLORMAP)
    weight = shares[..., None]
    return ((1 - weight) * DIMMED * image + weight * heat).round().astype(np.uint8)
