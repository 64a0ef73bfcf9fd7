"""Means that stand an empty group."""

from __future__ import annotations

import torch
from torch import Tensor


def require_same_shape(estimate: Tensor, target: Tensor) -> None:
    """Losses never broadcast: a silently broadcast target is a wrong loss.

    Raises:
        ValueError: the shapes differ.
    """
    if estimate.shape != target.shape:
        raise ValueError(f'the estimate is {tuple(estimate.shape)}, the target {tuple(target.shape)}')


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of ``values`` where ``mask`` is true; 0 with zero gradients if it is true nowhere.

    ``values`` must be finite in its gradient outside ``mask`` too: replace NaN in the targets beforehand.
    """
    return torch.where(mask, values, 0.0).sum() / mask.sum().clamp_min(1)
