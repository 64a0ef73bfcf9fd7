"""Files that are either whole or absent: write to a temporary name in the same folder, then rename."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .errors import InputError


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary path with the same suffix; it becomes ``path`` if the block succeeds.

    If the block raises, the temporary file is removed and what stood at ``path`` before is untouched.

    Raises:
        InputError: nothing can be written there; before the block runs.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f'{path}: is a folder; give the name of a file')
    temporary = _temporary_file(path)
    try:
        yield temporary
        # mkstemp makes private files; give the result the mode of an ordinary new file.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _temporary_file(path: Path) -> Path:
    """A new empty file beside ``path``, whose folder is made if need be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f'.{path.stem}.', suffix=path.suffix, dir=path.parent)
    except OSError as error:
        raise InputError(f'{path.parent}: cannot be written to ({error.strerror}); choose another folder') from error
    os.close(handle)
    return Path(name)


def require_writable(directory: str | os.PathLike) -> Path:
    """Return ``directory``, made if need be, if files can be written there.

    Ask before long work whose result goes there.

    Raises:
        InputError: names the directory.
    """
    directory = Path(directory)
    _temporary_file(directory / 'probe').unlink()
    return directory


def save_json(path: str | os.PathLike, value: Any, indent: int | None = None) -> None:
    """Write ``value`` as JSON, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(value, indent=indent))


def save_npy(path: str | os.PathLike, array: np.ndarray) -> None:
    """Write ``array`` as ``.npy``, atomically."""
    with atomic_path(path) as temporary:
        np.save(temporary, array)


def require_file(path: str | os.PathLike, cure: str) -> Path:
    """Return ``path`` if it is a non-empty file, else raise :class:`InputError` naming it and ``cure``."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f'{path}: no such file; {cure}')
    if path.stat().st_size == 0:
        raise InputError(f'{path}: the file is empty; {cure}')
    return path
