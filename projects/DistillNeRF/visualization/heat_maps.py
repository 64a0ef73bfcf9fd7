"""Where features are like a query: similarities of any features and vectors, and how they are drawn."""

from __future__ import annotations

import cv2
import numpy as np
import torch.nn.functional as F
from torch import Tensor

from .depth_colors import colour_shares
from .layout import DIMMED, ERROR_COLORMAP


def similarities(features: Tensor, vectors: Tensor) -> Tensor:
    """Cosines ``(Q, V, h, w)`` in [-1, 1] of features ``(V, C, h, w)`` and query vectors ``(Q, C)``; 0 for zeros.

    Raises:
        ValueError: another number of channels.
    """
    if features.shape[1] != vectors.shape[1]:
        raise ValueError(f'features have {features.shape[1]} channels, the vectors of the query {vectors.shape[1]}')
    unit = F.normalize(vectors.to(features), dim=1)
    return (F.normalize(features, dim=1).movedim(1, -1) @ unit.T).movedim(-1, 0)


def draw_heat_map(similarity: np.ndarray, image: np.ndarray) -> np.ndarray:
    """A similarity ``(h, w)`` over the dimmed image ``(H, W, 3)`` uint8: nothing at 0 and below, brightest at 1.

    The scale is fixed, so that heat maps can be compared across cameras, queries and pictures.
    """
    height, width = image.shape[:2]
    shares = cv2.resize(similarity.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR).clip(0, 1)
    heat = colour_shares(shares, ERROR_COLORMAP)
    weight = shares[..., None]
    return ((1 - weight) * DIMMED * image + weight * heat).round().astype(np.uint8)
