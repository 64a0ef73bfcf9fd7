"""Depth as colors: one fixed scale for every picture, so that colors can be compared across pictures."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import torch
from torch import Tensor

NEAREST = 2.0
FARTHEST = 80.0
# Grays are no colors of the map: what is not known is dark, the sky is light.
UNKNOWN_COLOR = (48, 48, 48)
SKY_COLOR = (222, 226, 232)


@lru_cache(maxsize=4)
def _table(colormap: int) -> np.ndarray:
    """``(256, 3)`` RGB of an OpenCV colormap."""
    values = np.arange(256, dtype=np.uint8)[:, None]
    return np.ascontiguousarray(cv2.applyColorMap(values, colormap)[:, 0, ::-1])


def color_shares(shares: np.ndarray, colormap: int = cv2.COLORMAP_TURBO) -> np.ndarray:
    """Numbers in [0, 1] (clipped) of any shape to uint8 RGB, one more axis at the end."""
    return _table(colormap)[(shares.clip(0, 1) * 255).round().astype(np.uint8)]


def log_shares(depth: np.ndarray, near: float = NEAREST, far: float = FARTHEST) -> np.ndarray:
    """Position of depths (meters) on a log scale: 0 at ``near``, 1 at ``far``; NaN and outside not clipped."""
    return np.log(np.maximum(depth, 1e-6) / near) / np.log(far / near)


def depth_to_colors(
    depth: np.ndarray, sky: np.ndarray | None = None, near: float = NEAREST, far: float = FARTHEST
) -> np.ndarray:
    """Turbo over the logarithm of depth: dark blue at ``near`` and nearer, dark red at ``far`` and farther.

    Args:
        depth: ``(H, W)`` meters, NaN where unknown.
        sky: ``(H, W)`` bool, drawn in :data:`SKY_COLOR`; goes before unknown.
        near, far: ends of the scale, meters.

    Returns:
        ``(H, W, 3)`` uint8 RGB.
    """
    unknown = np.isnan(depth)
    colors = color_shares(log_shares(np.where(unknown, near, depth), near, far))
    colors[unknown] = UNKNOWN_COLOR
    if sky is not None:
        colors[sky] = SKY_COLOR
    return colors


# The darkest and brightest value of a channel lie at these shares of the values it was fitted on.
LOWEST, HIGHEST = 0.02, 0.98
# More features than this are thinned out evenly before the fit.
LARGEST_FIT = 100_000


@dataclass(frozen=True)
class FeatureColors:
    """The first three principal components as red, green and blue.

    Attributes:
        mean: ``(C,)``.
        components: ``(3, C)`` unit directions, the first with the greatest variance; those that do not exist (features
            of fewer than three channels, or constant) are zero.
        low, high: ``(3,)`` values along them that become 0 and 1.
    """

    mean: Tensor
    components: Tensor
    low: Tensor
    high: Tensor

    @classmethod
    def fit(cls, features: Tensor) -> FeatureColors:
        """From features ``(..., C)`` of everything that shall be drawn alike; those that are NaN are left out.

        The sign of a component is free: its largest entry is made positive, so that equal features give equal colors
        in every run.

        Raises:
            ValueError: none is finite.
        """
        rows = features.detach().reshape(-1, features.shape[-1]).cpu()
        rows = rows[rows.isfinite().all(dim=1)].double()
        if not len(rows):
            raise ValueError('no feature is finite: nothing to fit colors to')
        rows = rows[:: -(-len(rows) // LARGEST_FIT)]
        mean = rows.mean(dim=0)
        values, vectors = torch.linalg.eigh((rows - mean).T @ (rows - mean) / len(rows))
        # Ascending; what is no more than rounding carries no color.
        kept = values.flip(0)[:3] > values[-1].clamp_min(0) * 1e-12
        found = vectors.flip(1)[:, :3].T * kept[:, None]
        components = torch.zeros(3, rows.shape[1], dtype=rows.dtype)
        components[: len(found)] = found
        largest = components.gather(1, components.abs().argmax(dim=1, keepdim=True))
        components = components * torch.where(largest < 0, -1.0, 1.0)
        values = (rows - mean) @ components.T
        low, high = values.quantile(torch.tensor([LOWEST, HIGHEST], dtype=rows.dtype), dim=0)
        # Nearly all may be alike: an empty sky with a single object in it.
        low = torch.where(low < high, low, values.amin(dim=0))
        high = torch.where(low < high, high, values.amax(dim=0))
        return cls(mean, components, low, high)

    def colors(self, features: Tensor) -> np.ndarray:
        """Features ``(..., C)`` to uint8 RGB ``(..., 3)``; black where they are not finite."""
        features = features.detach().cpu().double()
        values = (features - self.mean) @ self.components.T
        span = self.high - self.low
        shares = torch.where(span > 0, (values - self.low) / span.clamp_min(1e-12), torch.full_like(span, 0.5))
        return (shares.clamp(0, 1).nan_to_num(0) * 255).round().byte().numpy()
