"""Start worker processes."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context, parent_process
from threading import Thread
from typing import Any


def process_pool(workers: int, initializer: Callable[..., None] | None = None, *args: Any) -> ProcessPoolExecutor:
    """Return a pool of processes that are spawned, not forked.

    A fork copies the locks of threads that it does not have: numba's and OpenMP's wait for these forever. Nor can it
    use a GPU that its parent used. They end when this process does, however it ends.

    Args:
        workers: how many processes.
        initializer: called by each first.
        args: of the initializer; they are pickled.
    """
    return ProcessPoolExecutor(workers, get_context('spawn'), _begin, (initializer, args))


def _begin(initializer: Callable[..., None] | None, args: tuple) -> None:
    """Begin a worker process, which would wait for tasks forever if the parent were killed."""
    Thread(target=_end_with_parent, daemon=True).start()
    if initializer is not None:
        initializer(*args)


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
