"""Losses between rendered and true colours or features."""

from __future__ import annotations

from torch import Tensor

from .reduce import require_same_shape


def l1(estimate: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference of two tensors of one shape, such as images ``(V, 3, H, W)`` (published RGBL1Loss)."""
    require_same_shape(estimate, target)
    return (estimate.float() - target.float()).abs().mean()
