"""Run our commands in processes of their own, with what they print in a log."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

TOOLS = Path(__file__).resolve().parents[3] / 'tools'


def run_tool(tool: str, arguments: Sequence[object], log: Path, threads: int | None = None) -> str | None:
    """Run ``tools/TOOL.py``; return what went wrong, None if nothing did.

    Args:
        tool: its name.
        arguments: of the command line.
        log: file that the output is appended to.
        threads: that it may use, where the environment does not say; None for as many as it takes.
    """
    environment = dict(os.environ)
    environment['PYTHONPATH'] = os.pathsep.join(filter(None, [str(TOOLS.parent), os.environ.get('PYTHONPATH')]))
    if threads is not None:
        environment.setdefault('OMP_NUM_THREADS', str(threads))
    with log.open('a') as file:
        start = file.tell()
        command = [sys.executable, str(TOOLS / f'{tool}.py'), *map(str, arguments)]
        code = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, stdout=file, stderr=file).returncode
    if code == 0:
        return None
    said = _last_error(log.read_bytes()[start:].decode(errors='replace'))
    ended = f'ended with exit code {code}' if code > 0 else f'was ended by signal {-code}, maybe for lack of memory'
    return f'tools/{tool}.py {ended}{f": {said}" if said else ""} ({log})'


def threads_for(workers: int) -> int | None:
    """Return how many threads each of some processes at once may use; None for one alone, which decides itself."""
    return None if workers == 1 else max(1, len(os.sched_getaffinity(0)) // workers)


def _last_error(text: str) -> str:
    """Return the line of an output that says what went wrong: that of our errors, or else the last one."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line.removeprefix('error: ') for line in lines if line.startswith('error: ')]
    return (errors or lines or [''])[-1]
