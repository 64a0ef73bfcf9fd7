"""Worker processes and threads."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numba
import pytest
import torch
from numba import njit, prange

from projects.DistillNeRF.utils.processes import process_pool
from projects.DistillNeRF.utils.threads import map_threads, match_threads


@njit(parallel=True)
def _count(values):
    total = 0
    for index in prange(len(values)):
        total += values[index]
    return total


def _sum_of(n: int) -> tuple[int, int, int]:
    used = match_threads()
    return int(_count(torch.arange(n).numpy())), used, torch.get_num_threads()


def _limit(threads: int) -> None:
    torch.set_num_threads(threads)


def test_workers_of_a_process_with_threads_do_not_hang():
    """A fork would: the threads of numba's kernels are gone there."""
    assert _sum_of(1000)[0] == 499500
    with process_pool(2, _limit, 1) as pool:
        assert list(pool.map(_sum_of, (10, 100), timeout=120)) == [(45, 1, 1), (4950, 1, 1)]


def test_workers_end_with_a_process_that_is_killed():
    code = (
        'import os, time; from projects.DistillNeRF.utils.processes import process_pool\n'
        'if __name__ == "__main__":\n'
        '    with process_pool(1) as pool:\n'
        '        print(pool.submit(os.getpid).result(), flush=True); time.sleep(300)\n'
    )
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, '-c', code], env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        worker = int(process.stdout.readline())
        assert _runs(worker)
        process.kill()
    deadline = time.monotonic() + 30
    while _runs(worker) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not _runs(worker)


def _runs(process: int) -> bool:
    """Tell whether a process is there and not only waits for somebody to ask how it ended."""
    try:
        return Path(f'/proc/{process}/stat').read_text().rsplit(')', 1)[1].split()[0] != 'Z'
    except FileNotFoundError:
        return False


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason='needs two processors')
def test_numba_takes_the_threads_of_torch_and_leaves_them():
    """Of a fresh process: numba starts its threads once."""
    code = 'from tests.utils.test_processes import _sum_of; import numba; print(*_sum_of(4), numba.get_num_threads())'
    environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, '-c', code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ['6', '1', '1', '1']

    before = torch.get_num_threads()
    try:
        for threads in (2, 1):
            torch.set_num_threads(threads)
            assert match_threads() == threads == numba.get_num_threads() == torch.get_num_threads()
    finally:
        torch.set_num_threads(before)
        match_threads()


@pytest.mark.parametrize('threads', [1, 2, 3])
def test_threads_map_in_order_and_leave_the_number_of_threads(threads: int):
    before, own = torch.get_num_threads(), threading.get_ident()
    torch.set_num_threads(threads)
    try:
        found = map_threads(lambda item: (item, torch.get_num_threads(), threading.get_ident() == own), range(7))
        assert [item for item, _, _ in found] == list(range(7)) and map_threads(str, []) == []
        # Each of them computes alone.
        assert all(used == 1 for _, used, _ in found)
        assert all(here == (threads == 1) for _, _, here in found)
        with pytest.raises(ZeroDivisionError):
            map_threads(lambda item: 1 // item, range(7))
        assert torch.get_num_threads() == threads
        assert map_threads(lambda _: match_threads(), [0])[0] == 1
        # Threads that begin later have as many as before.
        later = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
        later.start()
        later.join()
        assert found[-1] == threads
    finally:
        torch.set_num_threads(before)
