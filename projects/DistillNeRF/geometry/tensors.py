"""A base for small dataclasses of tensors: move, cast, slice, and nothing else."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor
from typing_extensions import Self


class TensorFields:
    """Mixin for frozen dataclasses whose tensor fields share their leading dimensions.

    Fields that are not tensors (ints, tuples of names) and fields that are ``None`` pass through ``map``.
    """

    def map(self, function) -> Self:
        """Apply ``function`` to every tensor in it (nested dataclasses of this kind included)."""

        def one(value: Any) -> Any:
            if isinstance(value, torch.Tensor):
                return function(value)
            if isinstance(value, TensorFields):
                return value.map(function)
            return value

        changed = {f.name: one(getattr(self, f.name)) for f in dataclasses.fields(self)}
        return dataclasses.replace(self, **changed)

    def to(self, *args, **kwargs) -> Self:
        """``torch.Tensor.to`` on every floating tensor; other tensors follow the device only."""

        def move(tensor: torch.Tensor) -> torch.Tensor:
            moved = tensor.to(*args, **kwargs)
            return moved if tensor.is_floating_point() else tensor.to(moved.device)

        return self.map(move)


def full_precision(tensor: Tensor) -> Tensor:
    """float16 and bfloat16 become float32; float32 and float64 stay as they are."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def exact_einsum(equation: str, *tensors: Tensor) -> Tensor:
    """``torch.einsum`` in the dtype of the tensors, under autocast as well: half precision would bend the rays."""
    with torch.autocast(tensors[0].device.type, enabled=False):
        return torch.einsum(equation, *tensors)


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
