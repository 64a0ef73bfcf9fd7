"""Share the threads of a process between torch and numba."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numba
import torch

Item = TypeVar('Item')
Result = TypeVar('Result')


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


def map_threads(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """Call a function with each item, on as many threads as torch uses; return the results in order.

    It helps where most of the time is spent without the interpreter: in numpy, cv2, and numba's ``nogil`` kernels.
    What torch and kernels compute in the function stays on its thread, as threads of threads wait for each other.
    """
    threads = torch.get_num_threads()
    if threads == 1:
        return [function(item) for item in items]
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return list(pool.map(function, items))
    finally:
        # New threads take what was set last.
        torch.set_num_threads(threads)
