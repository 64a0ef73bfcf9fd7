"""Settings of this process that make work on a CPU faster."""

from __future__ import annotations

import ctypes

import torch

# Parameters of glibc's mallopt, from malloc.h.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
TOP_PAD = 1 << 28


def prepare_processor() -> None:
    """Round the smallest numbers to zero, which are slow, and keep freed memory for the next step.

    glibc gives large tensors back to the system, and touching fresh pages takes a third of a training step of the
    published network. Where there is another allocator, only the first is done.
    """
    torch.set_flush_denormal(True)
    libc = ctypes.CDLL(None)
    if hasattr(libc, 'mallopt'):
        for parameter, value in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, -1), (M_TOP_PAD, TOP_PAD)):
            libc.mallopt(parameter, value)
