"""Density of the voxel field where the teacher knows it: none before its surfaces, opaque at them."""

from __future__ import annotations

import torch
from torch import Tensor


def density_loss(free: Tensor, surface: Tensor, step: float) -> Tensor:
    """Mean squared opacity of free points plus mean squared transparency of surface points, over ``step`` metres.

    Opacities, unlike densities, are bounded: one very dense cell does not outweigh all others.

    Args:
        free: ``(P,)`` density per metre at points that the teacher sees through.
        surface: ``(Q,)`` the same at points on the teacher's surfaces.
    """
    passing = torch.exp(-step * surface.float())
    stopped = 1 - torch.exp(-step * free.float())
    return _mean_square(stopped) + _mean_square(passing)


def _mean_square(values: Tensor) -> Tensor:
    """0 for no value."""
    return values.square().sum() / max(1, values.numel())
