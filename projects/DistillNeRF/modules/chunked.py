"""Long chains of elementwise steps, a few rows at a time: on a CPU the steps between stay in its cache."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

# Numbers per chunk and tensor on a CPU: a megabyte in float32.
NUMBERS_IN_CACHE = 1 << 18
# On other devices: 256 MB, enough to keep them busy.
NUMBERS_AT_ONCE = 1 << 26

RowFunction = Callable[..., tuple[Tensor, ...]]


def numbers_at_a_time(device: torch.device, on_cpu: int) -> int:
    """How long tensors should be that a chain of steps works on: ``on_cpu``, or many on other devices."""
    return on_cpu if device.type == 'cpu' else NUMBERS_AT_ONCE


def map_chunked(function: RowFunction, *inputs: Tensor) -> tuple[Tensor, ...]:
    """``function(*inputs)`` for a function that treats every row on its own.

    Nothing but the inputs is kept for the gradient; each chunk is computed again when its turn comes.

    Args:
        function: tensors ``(r, ...)`` to tensors ``(r, ...)``. No gradient reaches tensors that it holds by itself.
        inputs: ``(R, ...)`` each, the first one the largest.
    """
    return _MapChunked.apply(function, *inputs)


class _MapChunked(torch.autograd.Function):
    @staticmethod
    def forward(ctx, function: RowFunction, *inputs: Tensor) -> tuple[Tensor, ...]:
        ctx.function = function
        ctx.save_for_backward(*inputs)
        results: list[Tensor] = []
        for rows in _chunks(inputs[0]):
            chunk = function(*(x[rows] for x in inputs))
            results = results or [y.new_empty(len(inputs[0]), *y.shape[1:]) for y in chunk]
            for result, y in zip(results, chunk, strict=True):
                result[rows] = y
        return tuple(results)

    @staticmethod
    def backward(ctx, *grads: Tensor) -> tuple[Tensor | None, ...]:
        inputs = ctx.saved_tensors
        wanted = ctx.needs_input_grad[1:]
        results = [torch.empty_like(x) if needed else None for x, needed in zip(inputs, wanted, strict=True)]
        for rows in _chunks(inputs[0]):
            leaves = [x[rows].detach().requires_grad_(needed) for x, needed in zip(inputs, wanted, strict=True)]
            with torch.enable_grad():
                outputs = ctx.function(*leaves)
            found = torch.autograd.grad(
                outputs, [leaf for leaf in leaves if leaf.requires_grad], [grad[rows] for grad in grads]
            )
            for result, gradient in zip((r for r in results if r is not None), found, strict=True):
                result[rows] = gradient
        return None, *results


def _chunks(x: Tensor) -> list[slice]:
    """Ranges of rows; one empty range where there are no rows."""
    count = len(x)
    size = max(1, numbers_at_a_time(x.device, NUMBERS_IN_CACHE) * count // max(1, x.numel()))
    return [slice(start, min(start + size, count)) for start in range(0, max(count, 1), size)]


class Recomputable(nn.Module):
    """A block that can keep its inputs alone and compute everything between again in the backward pass."""

    recompute = False

    def __call__(self, *inputs: Any) -> Any:
        if self.recompute and torch.is_grad_enabled():
            # No block draws random numbers.
            return checkpoint(super().__call__, *inputs, use_reentrant=False, preserve_rng_state=False)
        return super().__call__(*inputs)


def recompute_blocks(network: nn.Module, recompute: bool) -> None:
    """Switch it on or off in all blocks of a network."""
    for module in network.modules():
        if isinstance(module, Recomputable):
            module.recompute = recompute
