"""Failures of the machine come with a hint; the processor is prepared for the numbers of this network."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.config import Config

from projects.DistillNeRF.engine.machine import machine_failures
from projects.DistillNeRF.utils.errors import InputError


@pytest.mark.parametrize(
    ('error', 'words'),
    [
        (
            RuntimeError('DataLoader worker (pid 7) is killed by signal: Bus error.'),
            r'train_loader\.num_workers, now 3',
        ),
        (RuntimeError('DataLoader worker (pid(s) 7, 8) exited unexpectedly'), r'/dev/shm'),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), r'batch_size'),
        (RuntimeError('CUDA out of memory. Tried to allocate 2 GiB'), r'activation_checkpointing=True'),
        (MemoryError(), r'out of memory'),
        (
            OSError(28, 'No space left on device', 'work/iter_2.pth'),
            r'work/iter_2\.pth: could not be written.*--resume',
        ),
    ],
)
def test_a_failure_of_the_machine_is_reported_with_a_hint(error, words):
    config = Config({'work_dir': 'work', 'train_loader': {'num_workers': 3}})
    with pytest.raises(InputError, match=words), machine_failures(config, 'train_loader'):
        raise error


@pytest.mark.parametrize(
    'error', [RuntimeError('Caught RuntimeError in DataLoader worker process 0.'), OSError(2, 'No')]
)
def test_bugs_keep_their_traceback(error):
    with pytest.raises(type(error)), machine_failures(Config({'work_dir': 'work'}), 'train_loader'):
        raise error


def test_small_numbers_are_zero_and_freed_memory_is_kept(repo_root: Path):
    """In a process of its own: the settings last."""
    script = """
import torch
from projects.DistillNeRF.engine.machine import prepare_processor
def resident():
    return int(open('/proc/self/statm').read().split()[1]) * 4096
prepare_processor()
assert (torch.tensor([1e-39]) * 1).item() == 0
x = torch.ones(1 << 26)
before = resident()
del x
assert resident() > before - (1 << 20), 'the memory was given back'
"""
    subprocess.run([sys.executable, '-c', script], cwd=repo_root, check=True)
