"""The machine that a command runs on: its processor, and failures of its memory and disk."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
from collections.abc import Iterator
from pathlib import Path

import torch
from mmengine.config import Config

from ..utils.errors import InputError
from ..utils.files import disk_failure

# Parameters of glibc's mallopt, from malloc.h.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
TOP_PAD = 1 << 28
# Linux's description of the processor.
CPU_INFO = Path('/proc/cpuinfo')
# What torch says about a worker that was killed or ran out of shared memory, and about memory that is not there.
_WORKER = ('DataLoader worker (pid', 'unable to open shared memory', 'unable to mmap', 'received 0 items of ancdata')
_MEMORY = ('out of memory', "can't allocate memory", 'not enough memory', 'Cannot allocate memory')


def machine() -> dict[str, str]:
    """Return what figures depend on: the processor and its number of cores, the device and torch."""
    lines = CPU_INFO.read_text().splitlines() if CPU_INFO.is_file() else []
    models = [line.split(':', 1)[1].strip() for line in lines if line.startswith('model name')]
    processor = models[0] if models else platform.processor() or platform.machine()
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else 'CPU'
    return {'machine': f'{processor}, {os.cpu_count()} cores', 'device': device, 'torch': torch.__version__}


def prepare_processor() -> None:
    """Round the smallest numbers to zero, which are slow, and keep freed memory for the next step.

    glibc gives large tensors back to the system, and touching fresh pages takes a third of a training step of the
    published network on a CPU. Where there is another allocator, or a GPU computes, only the first is done: kept
    memory would only lack elsewhere.
    """
    torch.set_flush_denormal(True)
    if torch.cuda.is_available():
        return
    libc = ctypes.CDLL(None)
    if hasattr(libc, 'mallopt'):
        for parameter, value in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, -1), (M_TOP_PAD, TOP_PAD)):
            libc.mallopt(parameter, value)


@contextlib.contextmanager
def machine_failures(config: Config, loader: str) -> Iterator[None]:
    """Turn failures of the machine that happen inside into errors with a hint.

    Args:
        config: of the run, with its ``work_dir``.
        loader: key of the dataloader that is used inside.

    Raises:
        InputError: instead of the failures that are recognized.
    """
    try:
        yield
    except (MemoryError, OSError, RuntimeError) as error:
        message = _hint(error, config, loader)
        if message is None:
            raise
        raise InputError(message) from error


def _hint(error: Exception, config: Config, loader: str) -> str | None:
    """Return one line with the hint; ``None`` for a failure that is not recognized."""
    text = ' '.join(str(error).split())
    if any(words in text for words in _WORKER):
        workers = config[loader].get('num_workers', 0)
        return (
            f'{config.work_dir}: a process of the data loader was killed or found no shared memory ({text[:120]}); '
            f'lower {loader}.num_workers, now {workers} (0 with persistent_workers=False needs no shared '
            'memory), or enlarge /dev/shm'
        )
    if isinstance(error, MemoryError) or any(words in text for words in _MEMORY):
        return (
            f'{config.work_dir}: out of memory ({text[:120] or "MemoryError"}); lower {loader}.batch_size or '
            'model.num_camera, or set model.network.activation_checkpointing=True'
        )
    if isinstance(error, OSError) and (cause := disk_failure(error)):
        return (
            f'{error.filename or config.work_dir}: could not be written ({cause}); make room, or give another '
            '--work-dir; training goes on with --resume'
        )
    return None
