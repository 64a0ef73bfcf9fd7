"""Settings of the process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_small_numbers_are_zero_and_freed_memory_is_kept(repo_root: Path):
    """In a process of its own: the settings last."""
    script = """
import torch
from projects.DistillNeRF.engine.environment import prepare_processor
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
