"""mmengine's checkpoints under torch's safe loading.

Since torch 2.6 ``torch.load`` builds nothing from a file that was not allowed by name. mmengine 0.10 saves its
message hub in every checkpoint, so that resuming fails on ``mmengine.logging.history_buffer.HistoryBuffer``. The
protection stays on; what a message hub really holds, numbers and the names of four statistics, is allowed.
"""

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
    """What a checkpoint gets for ``getattr``: a history buffer refers to its own statistics by it, nothing else may."""
    from mmengine.logging.history_buffer import HistoryBuffer

    methods = HistoryBuffer._statistics_methods or HistoryBuffer()._statistics_methods
    if owner is not HistoryBuffer or name not in methods:
        raise pickle.UnpicklingError(f'a checkpoint may not fetch {name!r} of {owner!r}')
    return methods[name]


def _under_both_names(function: Callable[..., object]) -> list[tuple[Callable[..., object], str]]:
    """``numpy._core.x.name`` (numpy 2) and ``numpy.core.x.name`` (numpy 1), as add_safe_globals takes aliases."""
    tail = f'{function.__module__.split("core", 1)[1]}.{function.__qualname__}'
    return [(function, f'numpy._core{tail}'), (function, f'numpy.core{tail}')]
