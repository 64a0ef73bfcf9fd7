"""Share the threads of a process between torch and numba."""

from __future__ import annotations

import numba
import torch


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
