"""Checkpoints of mmengine's Runner hold objects beside tensors: torch is told which of them are harmless."""

from __future__ import annotations

import pickle
from collections.abc import Callable

import numpy as np
import torch


def allow_mmengine_checkpoints() -> None:
    """Let ``torch.load(..., weights_only=True)`` read what mmengine's Runner saves. May be called again."""
    from mmengine.logging.history_buffer import HistoryBuffer

    torch.serialization.add_safe_globals(
        [
            HistoryBuffer,
            (_statistics_method, 'builtins.getattr'),
            np.ndarray,
            np.dtype,
            *sorted({type(np.dtype(code)) for code in '?bBhHiIlLqQefd'}, key=lambda kind: kind.__name__),
            # Arrays and scalars are rebuilt by private functions whose home numpy 2 renamed: take them from
            # numpy itself, and allow them under both names since checkpoints travel between versions.
            *_under_both_names(np.zeros(1).__reduce__()[0]),
            *_under_both_names(np.float64(0).__reduce__()[0]),
        ]
    )


def _statistics_method(owner: object, name: str) -> Callable[..., object]:
    """Stand in for ``getattr`` in checkpoints: only a history buffer may fetch its own statistics by it."""
    from mmengine.logging.history_buffer import HistoryBuffer

    methods = HistoryBuffer._statistics_methods or HistoryBuffer()._statistics_methods
    if owner is not HistoryBuffer or name not in methods:
        raise pickle.UnpicklingError(f'a checkpoint may not fetch {name!r} of {owner!r}')
    return methods[name]


def _under_both_names(function: Callable[..., object]) -> list[tuple[Callable[..., object], str]]:
    """Return a function under the names of numpy 2 and numpy 1, in the form that add_safe_globals takes."""
    tail = f'{function.__module__.split("core", 1)[1]}.{function.__qualname__}'
    return [(function, f'numpy._core{tail}'), (function, f'numpy.core{tail}')]
