"""Random weights and inputs, and gradients of two functions."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

M = TypeVar('M', bound=nn.Module)


def randomized(module: M, std: float = 0.5) -> M:
    """Return ``module`` in float64 with weights, biases and gains of that standard deviation, always the same."""
    generator = torch.Generator().manual_seed(0)
    for parameter in module.double().parameters():
        parameter.data = torch.randn(parameter.shape, dtype=torch.float64, generator=generator) * std
    return module


def normal(*shape: int, seed: int = 1) -> Tensor:
    """Return standard normal float64 numbers, always the same."""
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def defaults(function: Callable[..., Any]) -> dict[str, Any]:
    """Return what the arguments of a function or class are if they are not given."""
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}


def values_and_gradients(function: Callable[..., tuple[Tensor, ...]], *leaves: Tensor) -> tuple[Any, Any]:
    """Return the values of ``function`` and the gradients of a random sum of them; ``leaves`` stay as they are.

    The sum is the same for all functions with values of the same shapes.
    """
    copies = [leaf.detach().clone().requires_grad_() for leaf in leaves]
    values = function(*copies)
    generator = torch.Generator().manual_seed(2)
    cotangents = [torch.randn(v.shape, dtype=v.dtype, generator=generator) for v in values]
    return values, torch.autograd.grad(values, copies, cotangents)


def assert_same_gradients(
    function: Callable[..., tuple[Tensor, ...]],
    reference: Callable[..., tuple[Tensor, ...]],
    *leaves: Tensor,
    rtol: float = 1e-9,
    atol: float = 1e-12,
) -> None:
    """Assert that values and gradients of two functions of the same leaves agree."""
    found, expected = (values_and_gradients(each, *leaves) for each in (function, reference))
    torch.testing.assert_close(found, expected, rtol=rtol, atol=atol, check_stride=False)
