"""``torch.compile`` of parts of the network, with an error of its own where it cannot work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from ..utils.errors import InputError


def compile_part(part: nn.Module) -> None:
    """Compile a module in place when it is first called; its name and those of its weights stay.

    Raises:
        InputError: here or when it is first called: this machine lacks what ``torch.compile`` needs.
    """
    try:
        part.compile()
    except RuntimeError as error:  # an interpreter that is not supported
        raise _refusal(error) from error
    compiled: Callable[..., Any] | None = part._compiled_call_impl
    assert compiled is not None  # it was made just now

    def call(*inputs: Any, **options: Any) -> Any:
        from torch._dynamo.exc import ShortenTraceback  # imported by now, if anything was compiled

        try:
            return compiled(*inputs, **options)
        except ShortenTraceback as error:  # of a compiler alone: what the part itself raises is another error
            raise _refusal(error) from error

    part._compiled_call_impl = call


def _refusal(error: Exception) -> InputError:
    first = next(filter(None, map(str.strip, str(error).splitlines())), type(error).__name__)
    return InputError(
        f'model.network.compile=True: torch.compile does not work here ({first[:200]}); install what it needs (on a '
        'CPU a C++ compiler such as g++, on CUDA triton and a C compiler), or set model.network.compile=False'
    )
