"""Tells whether what a command did with a damaged input is right."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.fuzz.attempts import Attempt
from tests.fuzz.fields import is_number

# Rounding of float32 on the way.
RELATIVE, ABSOLUTE = 1e-5, 1e-5


def differences(one: Any, other: Any, where: str = '') -> Iterator[str]:
    """Names of the things that are not the same in two results."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in one.keys() | other.keys():
            yield from differences(one.get(key), other.get(key), f'{where}/{key}')
    elif isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        yield from differences(one.numpy(), other.numpy(), where)
    elif isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)) and len(one) == len(other):
        for index, pair in enumerate(zip(one, other, strict=True)):
            yield from differences(*pair, f'{where}/{index}')
    elif isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        if one.shape != other.shape or not np.allclose(one, other, RELATIVE, ABSOLUTE, equal_nan=True):
            yield where
    elif is_number(one) and is_number(other):
        same = math.isclose(one, other, rel_tol=RELATIVE, abs_tol=ABSOLUTE)
        if not same and not (math.isnan(one) and math.isnan(other)):
            yield where
    elif one is not other and one != other:
        yield where


def verdict(
    made: Attempt, valid: Attempt, folder: Path, words: set[str], left: dict[str, bytes], before: dict[str, bytes]
) -> tuple[str, str]:
    """(what came of it, what is wrong with that, or nothing).

    Args:
        made: of the damaged input.
        valid: of the valid one.
        folder: of everything that this attempt read and wrote.
        words: that name the affected thing: file, record, field.
        left: files that the command left behind, with their contents; without caches.
        before: what stood there before.
    """
    if made.code is None:
        return 'traceback', made.trace
    hidden = [name for name in left if Path(name).name.startswith('.')]
    if hidden:
        return 'leftovers', f'temporary files: {hidden}'
    if made.code:
        return 'refused', _refusal(made, folder, words, left, before)
    changed = sorted(differences(made.result, valid.result))
    if not changed:
        return 'equal', ''
    new = [line for line in made.warnings if line not in valid.warnings]
    if any(word in line for line in new for word in words):
        return 'warned', ''
    return 'silent', f'{", ".join(changed[:4])} ({len(changed)} in all) changed; warnings: {new}'


def _refusal(made: Attempt, folder: Path, words: set[str], left: dict[str, bytes], before: dict[str, bytes]) -> str:
    if made.code != 2:
        return f'exit code {made.code}'
    if len(made.errors) != 1 or made.lines[-1] != made.errors[0]:
        return f'not one line of error at the end: {made.lines}'
    if any(not line.startswith(('error: ', 'warning: ', 'note: ')) for line in made.lines):
        return f'other lines on stderr: {made.lines}'
    paths = re.findall(re.escape(str(folder)) + r'[\w/.\-]*\w', made.errors[0])
    if not any(Path(path).exists() or Path(path).parent.exists() for path in paths):
        return f'names no file: {made.errors[0]}'
    # What was converted before the loader refused it is whole.
    if not made.steps and left != before:
        return f'{sorted(name for name in left if left[name] != before.get(name))} half-written or overwritten'
    return ''
