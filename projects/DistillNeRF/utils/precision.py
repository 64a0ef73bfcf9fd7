"""The precision of a run: what matrix products and convolutions are computed in.

| name | products and convolutions | needs |
| --- | --- | --- |
| ``fp32`` | float32; no TF32, though torch lets cuDNN use it unless told otherwise | |
| ``tf32`` | float32 whose factors are rounded to 10 bits, on tensor cores | CUDA; elsewhere the same as ``fp32`` |
| ``bf16`` | bfloat16 under autocast: 8 bits, the range of float32 | |
| ``fp16`` | float16 under autocast: 11 bits, up to 65504; trained with a scaled loss | a GPU |

Geometry, volume rendering, norms and losses are in float32 in all of them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

from .errors import InputError, warn

PRECISIONS = ('fp32', 'tf32', 'bf16', 'fp16')
DEFAULT = 'fp32'
AUTOCAST = {'bf16': torch.bfloat16, 'fp16': torch.float16}
"""Precision -> the dtype of autocast; the others do without."""


def require_precision(precision: str, on_cpu: bool, option: str = 'precision') -> None:
    """Check that a device computes in a precision; warn where it makes no difference.

    Args:
        precision: one of :data:`PRECISIONS`.
        on_cpu: whether the device is the processor.
        option: what the precision was given with.

    Raises:
        InputError: no such precision, or float16 on a processor.
    """
    if precision not in PRECISIONS:
        raise InputError(f'{option} {precision}: no such precision; choose from {", ".join(PRECISIONS)}')
    if on_cpu:
        if precision == 'fp16':
            raise InputError(f'{option} fp16: needs a GPU, and this runs on the CPU; choose bf16 or fp32')
        if precision == 'tf32':
            warn(f'{option} tf32: is for GPUs, and this runs on the CPU: it computes in fp32')


def allow_tf32(allowed: bool) -> None:
    """Let matrix products and convolutions in float32 use TF32, or not, in this process from now on."""
    _set_tf32(dict.fromkeys(_holders(), 'tf32' if allowed else 'ieee'))


@contextlib.contextmanager
def computing(precision: str, device: str) -> Iterator[None]:
    """Compute inside in a precision, and as before afterwards; ``fp32`` and ``tf32`` leave an outer autocast alone.

    It does not hold for a backward pass that is made outside.

    Args:
        precision: one of :data:`PRECISIONS`.
        device: type of the device of what is computed, such as ``cuda``.
    """
    before = {name: _state(holder) for name, holder in _holders().items()}
    allow_tf32(precision == 'tf32')
    dtype = AUTOCAST.get(precision)
    try:
        with contextlib.nullcontext() if dtype is None else torch.autocast(device, dtype=dtype):
            yield
    finally:
        _set_tf32(before)


def _holders() -> dict[str, Any]:
    """Return what holds the setting of each kind of operation; torch before 2.9 has two switches instead."""
    cudnn = torch.backends.cudnn
    holders = {'matmul': torch.backends.cuda.matmul, 'conv': getattr(cudnn, 'conv', cudnn)}
    return holders | ({'rnn': cudnn.rnn} if hasattr(cudnn, 'rnn') else {})


def _state(holder: Any) -> str:
    """Return ``tf32``, ``ieee`` (none), or ``none`` (as what is above says, in torch's own words)."""
    state = getattr(holder, 'fp32_precision', None)
    return state or ('tf32' if holder.allow_tf32 else 'ieee')


def _set_tf32(states: dict[str, str]) -> None:
    """Set all, first by the switches, which else refuse to be read: torch wants either them or the new settings."""
    torch.backends.cuda.matmul.allow_tf32 = states['matmul'] == 'tf32'
    torch.backends.cudnn.allow_tf32 = states['conv'] == 'tf32'
    for name, holder in _holders().items():
        if hasattr(holder, 'fp32_precision'):
            holder.fp32_precision = states[name]
