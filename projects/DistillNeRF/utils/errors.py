"""Errors and warnings for wrong input.

Everything that a user can cause (a missing file, a broken calibration, an unknown option) is raised as
:class:`InputError` with one line that names the file and a hint. :func:`command` turns it into that line on stderr
and exit code 2; every other exception is a bug and keeps its traceback. :func:`warn` tells of doubtful input with
which the program can go on.
"""

from __future__ import annotations

import functools
import logging
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

EXIT_BAD_INPUT = 2
# The run of a training adds its log file to this logger.
LOGGER = logging.getLogger('distillnerf')


class InputError(Exception):
    """Wrong input from outside. The message is one line: what is wrong, where, and a hint how to correct it."""


class _StderrHandler(logging.Handler):
    """Write to the present stderr; a stream handler would keep the stream at the import."""

    def emit(self, record: logging.LogRecord) -> None:
        kind = 'warning' if record.levelno >= logging.WARNING else 'note'
        print(f'{kind}: {self.format(record)}', file=sys.stderr)


LOGGER.addHandler(_StderrHandler())
LOGGER.setLevel(logging.INFO)


def warn(message: str) -> None:
    """Print one line ``warning: MESSAGE`` on stderr; a run has it in its log, too.

    Args:
        message: the doubt, the file, the extent, and a hint.
    """
    LOGGER.warning(' '.join(message.split()))


def note(message: str) -> None:
    """Print one line ``note: MESSAGE`` on stderr; a run has it in its log, too. For what a user may want to know."""
    LOGGER.info(' '.join(message.split()))


def command(main: Callable[..., None]) -> Callable[..., None]:
    """Decorate the ``main`` of a command line tool: :class:`InputError` -> one line, exit code 2.

    The tool and this package must be of one checkout.
    """

    @functools.wraps(main)
    def wrapped(*args, **kwargs) -> None:
        try:
            _require_own_checkout(Path(main.__code__.co_filename))
            main(*args, **kwargs)
        except InputError as error:
            _end_other_output()
            print(f'error: {_one_line(error)}', file=sys.stderr)
            sys.exit(EXIT_BAD_INPUT)
        except KeyboardInterrupt:
            print('interrupted', file=sys.stderr)
            sys.exit(130)

    return wrapped


def _require_own_checkout(script: Path) -> None:
    """Refuse the tool of one checkout with the package of another: an environment imports the code of one alone.

    Raises:
        InputError: beside the folder of the script is a package, and it is not this one.
    """
    own, imported = script.resolve().parent.parent, Path(__file__).resolve().parents[3]
    if own != imported and (own / 'projects' / 'DistillNeRF').is_dir():
        raise InputError(
            f'{script}: this environment has the code of another checkout, {imported}; put '
            f'PYTHONPATH={shlex.quote(str(own))} before the command, or use the .venv that `bash setup.sh` makes there'
        )


def _end_other_output() -> None:
    """Flush stdout and end the lines of progress bars, so that the error stands last and alone."""
    if 'tqdm' in sys.modules:
        for bar in list(sys.modules['tqdm'].tqdm._instances):
            bar.close()
    sys.stdout.flush()


def _one_line(error: InputError) -> str:
    """Return the message alone: an error of a data loader's worker process has a traceback before it."""
    return ' '.join(str(error).rpartition(f'{InputError.__name__}: ')[2].split())
