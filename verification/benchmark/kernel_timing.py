"""What the comparisons of Triton's kernels with torch share: options, the clock, the table."""

from __future__ import annotations

import argparse
import importlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from projects.DistillNeRF.evaluation.report import text_table
from projects.DistillNeRF.kernels.selection import interpreted
from projects.DistillNeRF.utils.errors import InputError
from verification.benchmark.profiler import now


def parser(description: str | None) -> argparse.ArgumentParser:
    """Make a parser with the options of every comparison."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument('--device', default='cpu')
    made.add_argument('--repetitions', type=int, default=10)
    made.add_argument('--json', type=Path, help='write all figures to this file, too')
    return made


def kernels_device(name: str) -> torch.device:
    """Return the device of a name.

    Raises:
        InputError: Triton cannot run there.
    """
    device = torch.device(name)
    if device.type == 'cpu' and not interpreted():
        raise InputError(f'--device {name}: Triton needs a GPU here; set TRITON_INTERPRET=1 to check without one')
    try:
        importlib.import_module('triton')
    except ImportError as error:
        raise InputError(f'triton cannot be imported ({error}): pip install triton') from error
    return device


def milliseconds(function: Callable[[], object], device: torch.device, repetitions: int) -> float:
    """Return how long a call takes, the mean of some after one that is not counted; none of these on a CPU.

    There the interpreter runs, whose times mean nothing.
    """
    if device.type != 'cpu':
        function()
    start = now(device)
    for _ in range(repetitions):
        function()
    return 1000 * (now(device) - start) / repetitions


def difference(ours: Tensor, expected: Tensor) -> float:
    """Return the largest difference over the largest value."""
    if not expected.numel():
        return 0.0
    ours, expected = ours.detach().double(), expected.detach().double()
    return float((ours - expected).abs().max() / expected.abs().max().clamp_min(1e-12))


def report(
    timings: Sequence[Any],
    head: Sequence[str],
    row: Callable[[Any], Sequence[str]],
    json_file: Path | None,
    left: Sequence[int] = (0,),
) -> None:
    """Print the table of all timings and write them to a file, if one is wanted; exit with 1 if one disagrees.

    Args:
        timings: dataclasses that have ``agrees``.
        head: titles of the columns.
        row: what the columns say of a timing.
        left: the columns that begin at the left.
    """
    print(text_table(list(head), [list(row(timing)) for timing in timings], left=tuple(left)))
    if json_file:
        json_file.write_text(json.dumps([asdict(timing) for timing in timings], indent=1))
    if not all(timing.agrees for timing in timings):
        raise SystemExit(1)
