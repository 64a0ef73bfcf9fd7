"""Two processes that meet over gloo, as a launcher starts them."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import subprocess
import sys

from tests.helpers.data import ROOT

# What every process does first.
JOIN = """
import sys
from pathlib import Path
from mmengine.config import Config
from projects.DistillNeRF.engine.distributed import join, leave
join(Config(), 'pytorch')
from torch import distributed
rank = distributed.get_rank()
"""


def free_port() -> str:
    """Return a port to meet at, below those that the kernel gives to connections: nobody takes it in the meantime."""
    while True:
        port = random.SystemRandom().randrange(20000, 32000)
        with socket.socket() as tried, contextlib.suppress(OSError):
            tried.bind(('127.0.0.1', port))
            return str(port)


def run_ranks(command: list[str], count: int = 2) -> list[subprocess.CompletedProcess]:
    """Run ``python COMMAND`` as so many processes of one group, with one thread each; return how each ended."""
    place = {'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': free_port()}
    shared = {'WORLD_SIZE': str(count), **place, 'OMP_NUM_THREADS': '1'}
    started = [
        subprocess.Popen(
            [sys.executable, *command],
            cwd=ROOT,
            env={**os.environ, **shared, 'RANK': str(rank), 'LOCAL_RANK': str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]
    try:
        outputs = [process.communicate(timeout=300) for process in started]
    finally:
        for process in started:
            process.kill()
    codes = [process.returncode for process in started]
    return [subprocess.CompletedProcess(command, code, *texts) for code, texts in zip(codes, outputs, strict=True)]


def run_script(script: str, *arguments: object) -> list[str]:
    """Run a script in two processes that have joined as ``rank`` 0 and 1; return what each printed."""
    ended = run_ranks(['-c', f'{JOIN}{script}\nleave()\n', *map(str, arguments)])
    for process in ended:
        assert process.returncode == 0, process.stderr[-3000:]
    return [process.stdout for process in ended]
