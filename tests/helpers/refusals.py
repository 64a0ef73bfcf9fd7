"""How tests say that bad input is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from projects.DistillNeRF.utils.errors import InputError
from tests.helpers.commands import Result


def assert_refused(attempt: Result | Callable[[], Any], *words: object, start: object = '') -> str:
    """Assert that ``attempt`` was or is refused in one line with these words.

    Args:
        attempt: how a command ended: with exit code 2, no traceback and ``error: LINE`` as its last line and only
            error; or a function: it raises an :class:`InputError`.
        words: each is in the line.
        start: with what the line begins.

    Returns:
        The line, without ``error: ``.
    """
    if isinstance(attempt, Result):
        assert attempt.code == 2, attempt.err
        assert 'Traceback' not in attempt.out + attempt.err
        lines = [line for line in attempt.err.splitlines() if line.startswith('error: ')]
        assert lines == attempt.err.splitlines()[-1:]
        line = lines[0].removeprefix('error: ')
    else:
        with pytest.raises(InputError) as error:
            attempt()
        line = str(error.value)
    assert '\n' not in line
    assert line.startswith(str(start)), line
    for word in words:
        assert str(word) in line, line
    return line
