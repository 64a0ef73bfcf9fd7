"""A command or function run in this process, with everything that a user would see of it."""

from __future__ import annotations

import contextlib
import io
import re
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from projects.DistillNeRF.utils.errors import command

_BAR = re.compile(r'\d+%\||\d+it \[|(it|s|frame|scene|file)/(s|it|frame)\b')


@dataclass(frozen=True)
class Attempt:
    """How it ended.

    Attributes:
        code: exit code; None for an exception other than an exit, which users see as a traceback.
        lines: of stderr, without progress bars.
        trace: of that exception.
        result: what the last step gave, if all went well.
        steps: how many steps went well.
        folder: of everything that it read and wrote.
    """

    code: int | None
    lines: list[str]
    trace: str = ''
    result: dict[str, Any] = field(default_factory=dict)
    steps: int = 0
    folder: Path = Path()

    @property
    def warnings(self) -> list[str]:
        """Lines that say what is doubtful, wherever the input lies."""
        return [line.replace(str(self.folder), '') for line in self.lines if line.startswith('warning: ')]

    @property
    def errors(self) -> list[str]:
        """Lines that say what is wrong."""
        return [line for line in self.lines if line.startswith('error: ')]


def attempt(*steps: Callable[[], dict[str, Any] | None]) -> Attempt:
    """Run ``steps`` one after the other as a command would; errors of input become its one line and exit code 2."""
    out, err, results = io.StringIO(), io.StringIO(), []

    @command
    def main() -> None:
        for step in steps:
            results.append(step())

    code, trace = 0, ''
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as stop:
            code = stop.code
        except Exception:
            code, trace = None, traceback.format_exc()
    result = results[-1] if results and not code else {}
    return Attempt(code, _lines(err.getvalue()), trace, result or {}, len(results))


def _lines(text: str) -> list[str]:
    parts = [part.strip() for part in re.split(r'[\r\n]', text)]
    return [part for part in parts if part and not _BAR.search(part)]
