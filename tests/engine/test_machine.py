"""Failures of the machine come with a hint; the processor is prepared for the numbers of this network."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from torch.utils.data import DataLoader, Dataset

from projects.DistillNeRF.engine.machine import machine_failures, prepare_processor
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
    environment = {**os.environ, 'CUDA_VISIBLE_DEVICES': ''}
    subprocess.run([sys.executable, '-c', script], cwd=repo_root, check=True, env=environment)


def test_memory_is_not_kept_where_a_gpu_computes(monkeypatch):
    asked = []
    library = SimpleNamespace(mallopt=lambda *setting: asked.append(setting))
    monkeypatch.setattr('projects.DistillNeRF.engine.machine.ctypes.CDLL', lambda name: library)
    for gpu in (True, False):
        monkeypatch.setattr(torch.cuda, 'is_available', lambda there=gpu: there)
        prepare_processor()
        assert bool(asked) != gpu
    torch.set_flush_denormal(False)


class Threads(Dataset):
    """Says with how many threads its samples are computed."""

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> int:
        return torch.get_num_threads()


def test_workers_compute_with_one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert [int(count) for count in DataLoader(Threads(), num_workers=2)] == [1, 1]
    finally:
        torch.set_num_threads(before)
