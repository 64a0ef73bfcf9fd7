"""Holes: rays that meet a surface in the truth, and next to nothing when they are rendered."""

from __future__ import annotations

import torch
from torch import Tensor

from .depth import MIN_EVALUATED_DEPTH
from .depth_statistics import nearest

# Rays of less opacity end in a hole: more of them passes than is stopped.
SOLID = 0.5


def is_hole(opacity: Tensor, surface: Tensor) -> tuple[Tensor, Tensor]:
    """Tell which pixels are holes, and which could be.

    Args:
        opacity: ``(V, h, w)`` rendered, on a grid that spans the images corner to corner. It is not interpolated: the
            nearest ray counts. One of NaN is not solid, either.
        surface: ``(V, H, W)`` depth of what is there, meters, at any distance; NaN or infinite where nothing is, or
            nothing is known.

    Returns:
        two masks ``(V, H, W)``: the holes, and the pixels that have a surface.
    """
    solid = surface.isfinite() & (surface > MIN_EVALUATED_DEPTH)
    return solid & ~(nearest(opacity, *surface.shape[-2:]) >= SOLID), solid


def share_of_holes(hole: Tensor, solid: Tensor, part: Tensor | None = None) -> dict[str, float]:
    """Return ``holes``, the share of holes among the pixels that have a surface; nothing if there is none.

    Args:
        hole, solid: masks of :func:`is_hole`.
        part: mask of the pixels that count, the same shape; None: all.
    """
    if part is not None:
        hole, solid = hole & part, solid & part
    count = int(torch.count_nonzero(solid))
    return {'holes': int(torch.count_nonzero(hole)) / count} if count else {}
