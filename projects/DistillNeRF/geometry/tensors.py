"""A base class for dataclasses of tensors, and helpers for single tensors."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor
from typing_extensions import Self


@dataclasses.dataclass(frozen=True)
class TensorFields:
    """Base of frozen dataclasses whose tensor fields share their leading dimensions.

    Fields that are not tensors (ints, tuples of names) and fields that are ``None`` pass through ``map``.
    """

    def map(self, function: Callable[[Tensor], Tensor]) -> Self:
        """Apply ``function`` to every tensor field, also in nested dataclasses of this kind."""

        def apply(value: Any) -> Any:
            if isinstance(value, Tensor):
                return function(value)
            if isinstance(value, TensorFields):
                return value.map(function)
            return value

        changed = {field.name: apply(getattr(self, field.name)) for field in dataclasses.fields(self)}
        return dataclasses.replace(self, **changed)

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Apply ``torch.Tensor.to`` to every floating-point tensor; other tensors follow the device only."""

        def move(tensor: Tensor) -> Tensor:
            moved = tensor.to(*args, **kwargs)
            if tensor.is_floating_point() or moved.dtype == tensor.dtype:
                return moved
            return tensor.to(moved.device, non_blocking=kwargs.get('non_blocking', False))

        return self.map(move)

    def pin_memory(self) -> Self:
        """Copy every tensor to memory that a GPU can read by itself; a ``DataLoader(pin_memory=True)`` calls this."""
        return self.map(Tensor.pin_memory)


def full_precision(tensor: Tensor) -> Tensor:
    """Convert float16 and bfloat16 to float32; leave float32 and float64 as they are."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def without_autocast(tensor: Tensor) -> AbstractContextManager:
    """Compute inside in the dtype of the tensors, whatever autocast says, on the device of ``tensor``."""
    return torch.autocast(tensor.device.type, enabled=False)


def exact_einsum(equation: str, *tensors: Tensor) -> Tensor:
    """Compute ``torch.einsum`` in the dtype of the tensors, even under autocast: half precision would bend the rays."""
    with without_autocast(tensors[0]):
        return torch.einsum(equation, *tensors)


class _Clamp(torch.autograd.Function):
    """Clamp to bounds; what lies at one of them or between gets its gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, low: float, high: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.bounds = low, high
        return x.clamp(low, high)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        low, high = ctx.bounds
        return grad * ((x >= low) & (x <= high)), None, None


def clamp(x: Tensor, low: float, high: float) -> Tensor:
    """Clamp to [``low``, ``high``], with the published gradient: what lies at a bound has one.

    ``torch.clamp`` does the same until torch 2.13; from 2.14 on its gradient at a bound is 0. Opacities are often 1 to
    rounding, and those of rays that hit nothing are 0.
    """
    return _Clamp.apply(x, low, high)


def require_same_shape(estimate: Tensor, target: Tensor) -> None:
    """Refuse shapes that differ: losses never broadcast, as a silently broadcast target gives a wrong loss.

    Raises:
        ValueError: the shapes differ.
    """
    if estimate.shape != target.shape:
        raise ValueError(f'the estimate is {tuple(estimate.shape)}, the target {tuple(target.shape)}')


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Average ``values`` where ``mask`` is true; return 0 with zero gradients if it is true nowhere.

    ``values`` must be finite in its gradient outside ``mask`` too: replace NaN in the targets beforehand.
    """
    return torch.where(mask, values, 0.0).sum() / mask.sum().clamp_min(1)
