"""Long chains of elementwise steps in chunks of rows: on a CPU the intermediate results then stay in its cache."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

# Elements per chunk and tensor on a CPU: a megabyte in float32.
CPU_CHUNK_NUMEL = 1 << 18
# On other devices: 256 MB, enough to keep them busy.
GPU_CHUNK_NUMEL = 1 << 26

RowFunction = Callable[..., tuple[Tensor, ...]]


def keeps_in_cache(device: torch.device) -> bool:
    """Tell whether work is best done in small parts, as on CPUs, rather than in few launches."""
    return device.type == 'cpu'


def chunk_numel(device: torch.device, on_cpu: int, elsewhere: int | None = None) -> int:
    """Return how many elements a chunk should have: ``on_cpu`` on a CPU, many more on other devices."""
    if keeps_in_cache(device):
        return on_cpu
    return GPU_CHUNK_NUMEL if elsewhere is None else elsewhere


def map_chunked(function: RowFunction, *inputs: Tensor) -> tuple[Tensor, ...]:
    """Compute ``function(*inputs)`` in chunks, for a function that treats every row on its own.

    Only the inputs are kept for the gradient; the backward pass computes every chunk again.

    Args:
        function: maps tensors ``(r, ...)`` to tensors ``(r, ...)``. Only its arguments get gradients.
        inputs: ``(R, ...)`` each, the first one the largest.
    """
    return _MapChunked.apply(function, *inputs)


class _MapChunked(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, function: RowFunction, *inputs: Tensor) -> tuple[Tensor, ...]:
        ctx.function = function
        ctx.save_for_backward(*inputs)
        chunks = _chunks(inputs[0])
        if len(chunks) == 1:
            return function(*inputs)
        results: list[Tensor] = []
        for rows in chunks:
            chunk = function(*(x[rows] for x in inputs))
            results = results or [y.new_empty(len(inputs[0]), *y.shape[1:]) for y in chunk]
            for result, y in zip(results, chunk, strict=True):
                result[rows] = y
        return tuple(results)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        inputs = ctx.saved_tensors
        needs_grad = ctx.needs_input_grad[1:]
        chunks = _chunks(inputs[0])
        results = [torch.empty_like(x) if needed else None for x, needed in zip(inputs, needs_grad, strict=True)]
        for rows in chunks:
            leaves = [x[rows].detach().requires_grad_(needed) for x, needed in zip(inputs, needs_grad, strict=True)]
            with torch.enable_grad():
                outputs = ctx.function(*leaves)
            gradients = torch.autograd.grad(
                outputs, [leaf for leaf in leaves if leaf.requires_grad], [grad[rows] for grad in grads]
            )
            for result, gradient in zip((r for r in results if r is not None), gradients, strict=True):
                result[rows] = gradient
        return None, *results


def _chunks(x: Tensor) -> list[slice]:
    """Split the rows of ``x`` into ranges; into one empty range where there are no rows."""
    count = len(x)
    size = max(1, chunk_numel(x.device, CPU_CHUNK_NUMEL) * count // max(1, x.numel()))
    return [slice(start, min(start + size, count)) for start in range(0, max(count, 1), size)]


class Recomputable(nn.Module):
    """A block that can keep only its inputs and compute the rest again in the backward pass.

    ``torch.distributed.algorithms._checkpoint.checkpoint_wrapper.apply_activation_checkpointing`` gives the same
    numbers and ``state_dict`` keys, but it wraps the blocks: ``_checkpoint_wrapped_module`` then appears in
    ``named_parameters()``, by whose names the optimizer's options and the state of resumed runs are found. It is also
    private and cannot be switched off again.
    """

    recompute = False

    def __call__(self, *inputs: Any) -> Any:
        if self.recompute and torch.is_grad_enabled():
            # No block draws random numbers.
            return checkpoint(super().__call__, *inputs, use_reentrant=False, preserve_rng_state=False)
        return super().__call__(*inputs)


def set_activation_checkpointing(network: nn.Module, recompute: bool) -> None:
    """Switch activation checkpointing on or off in all blocks of a network."""
    for module in network.modules():
        if isinstance(module, Recomputable):
            module.recompute = recompute
