"""One training at a time in a work folder."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from ..utils.errors import InputError, warn

NAME = 'training.lock'


@contextlib.contextmanager
def training_in(work_dir: Path) -> Iterator[None]:
    """Inside, no other process can train in ``work_dir``.

    The operating system holds the lock for this process, not for the workers of its loader, and gives it up when the
    process ends in any way: what a killed training left behind keeps nobody out.

    Raises:
        InputError: another process trains there; says which.
    """
    path = work_dir / NAME
    file = _locked(path)
    if file is None:
        yield
        return
    with file:
        file.truncate(0)
        file.write(f'process {os.getpid()} on {socket.gethostname()}')
        file.flush()
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _locked(path: Path) -> TextIO | None:
    """The locked file; ``None`` where the file system knows no locks.

    Raises:
        InputError: another process has it.
    """
    while True:
        file = path.open('a+')
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            holder = file.read().strip() or 'another process'
            file.close()
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                warn(f'{path}: this file system has no locks ({error.strerror}): nobody notices a second training here')
                return None
            raise InputError(
                f'{path.parent}: {holder} trains here already, and both would write the same files; wait for its end, '
                'or give another --work-dir'
            ) from error
        # It may have been removed by a training that ended between the two steps.
        if path.exists() and path.stat().st_ino == os.fstat(file.fileno()).st_ino:
            return file
        file.close()
