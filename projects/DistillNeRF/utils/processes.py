"""Start worker processes, and share the threads of one between torch and numba."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import numba
import torch


def process_pool(workers: int, initializer: Callable[..., None] | None = None, *args: Any) -> ProcessPoolExecutor:
    """Return a pool of processes that are spawned, not forked.

    A fork copies the locks of threads that it does not have: numba's and OpenMP's wait for these forever. Nor can it
    use a GPU that its parent used.

    Args:
        workers: how many processes.
        initializer: called by each first.
        args: of the initializer; they are pickled.
    """
    return ProcessPoolExecutor(workers, get_context('spawn'), initializer, args)


def match_threads() -> int:
    """Let numba's kernels that this thread calls next use as many threads as torch, and return how many.

    numba asks neither torch nor ``OMP_NUM_THREADS``: it takes all cores. When it starts its threads it makes torch
    take them, too. Processes beside each other then wait for each other's threads, ten times as long as they compute.
    """
    threads = torch.get_num_threads()
    used = min(threads, numba.config.NUMBA_NUM_THREADS)
    numba.set_num_threads(used)
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
    return used
