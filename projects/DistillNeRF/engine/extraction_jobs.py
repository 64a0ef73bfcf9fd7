"""Split an extraction into the jobs of a cluster, each a command of its own for a part of the images."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..utils.files import require_writable
from .teacher_jobs import run_on_cluster
from .tool_runs import run_tool


@dataclass(frozen=True)
class PartJob:
    """One command.

    Attributes:
        tool: its name, such as ``extract_features``.
        arguments: of its command line.
        log: file that what it prints is appended to.
    """

    tool: str
    arguments: tuple[str, ...]
    log: Path


def run_part(job: PartJob) -> str | None:
    """Run a command; return what went wrong, None if nothing did."""
    return run_tool(job.tool, job.arguments, job.log)


def run_parts(
    tool: str,
    arguments: Sequence[str],
    jobs: int,
    folder: Path,
    slurm: Mapping[str, Any],
    first: Sequence[str] = (),
) -> None:
    """Run a command as an array of slurm jobs, and exit with 1 if one failed.

    Args:
        tool: name of the command, such as ``extract_features``.
        arguments: its command line; ``--part K/N`` comes in place of the options of the launcher.
        jobs: number of parts, all at once.
        folder: of logs; all nodes see it.
        slurm: options of ``submitit.AutoExecutor.update_parameters``.
        first: options with which one job runs before all others; none if there is no need of it.

    Raises:
        InputError: submitit or slurm is missing, or submitit refuses the options.
    """
    folder = require_writable(folder.absolute())
    arrays = [[('prepare', first)]] if first else []
    arrays.append([(f'part {part}/{jobs}', ('--part', f'{part}/{jobs}')) for part in range(1, jobs + 1)])
    arguments, failed = _without_launcher(arguments), 0
    for array in arrays:
        named = {
            PartJob(tool, (*arguments, *more), folder / f'{name.replace("/", "-of-")}.log'): name
            for name, more in array
        }
        for job, problem in run_on_cluster(list(named), folder, jobs, slurm, run_part, tool):
            print(f'{named[job]}: {"done" if problem is None else f"failed: {problem}"}', flush=True)
            failed += problem is not None
        if failed:
            print('the same command goes on with what is missing', file=sys.stderr)
            sys.exit(1)


def _without_launcher(arguments: Sequence[str]) -> list[str]:
    """Leave the options out that say how jobs are started, with their values."""
    kept, leaving = [], False
    for word in arguments:
        if word.startswith('--'):
            leaving = word.partition('=')[0] in ('--launcher', '--slurm', '--jobs')
        if not leaving:
            kept.append(word)
    return kept
