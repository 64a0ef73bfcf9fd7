"""Write files that are either whole or absent, and read files with clear errors."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .errors import InputError

# File systems take names of 255 bytes; suffixes and temporary names need some of them.
LONGEST_STEM = 150
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary path with the same suffix; it becomes ``path`` if the block succeeds.

    If the block raises, the temporary file is removed and what stood at ``path`` before is untouched.

    Raises:
        InputError: nothing can be written there (before the block runs), or the disk is full.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f'{path}: is a folder; give the name of a file')
    temporary = _temporary_file(path)
    try:
        try:
            yield temporary
        except OSError as error:
            if (cause := disk_failure(error)) is None:
                raise
            raise InputError(f'{path}: could not be written ({cause}); make room, or choose another folder') from error
        # mkstemp makes private files; give the result the mode of an ordinary new file.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def disk_failure(error: OSError) -> str | None:
    """Return in words why the disk did not take a file; ``None`` if the error is of another kind."""
    if error.errno in DISK_ERRORS:
        return os.strerror(error.errno)
    # numpy gives no number.
    return os.strerror(errno.ENOSPC) if error.errno is None and 'requested and' in str(error) else None


def _temporary_file(path: Path) -> Path:
    """Make a new empty file beside ``path``, and its folder if need be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # The name itself may be as long as the file system allows: no room for more.
        handle, name = tempfile.mkstemp(prefix=f'.{path.stem[:30]}.', suffix=path.suffix, dir=path.parent)
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
    """Write ``value`` as JSON, atomically.

    JSON has no infinity: it becomes ``1e999``, which readers take for infinity, as it is beyond all doubles.
    """
    with atomic_path(path) as temporary:
        text = json.dumps(value, indent=indent)
        temporary.write_text(_STRING_OR_INFINITY.sub(_infinite, text) if 'Infinity' in text else text)


# A text in JSON as a whole, so that nothing within it is looked at, or a number that json writes and JSON has not.
_STRING_OR_INFINITY = re.compile(r'"(?:[^"\\]|\\.)*"|Infinity')


def _infinite(match: re.Match[str]) -> str:
    return '1e999' if match[0] == 'Infinity' else match[0]


def save_npy(path: str | os.PathLike, array: np.ndarray) -> None:
    """Write ``array`` as ``.npy``, atomically."""
    with atomic_path(path) as temporary:
        np.save(temporary, array)


def read_json(path: str | os.PathLike, hint: str) -> Any:
    """Read the value in a JSON file, in any encoding of Unicode, with or without a byte order mark.

    Raises:
        InputError: a missing, empty or damaged file; names it and ``hint``.
    """
    path = require_file(path, hint)
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:  # of decoding as well
        raise InputError(f'{path}: not readable as JSON ({error}); {hint}') from error


def file_stems(names: Sequence[str], longest: int = LONGEST_STEM) -> list[str]:
    """Make file names, without suffix, of different names: no two are the same, on any file system.

    Characters that file names cannot have become ``_``. Where two would be the same then, or a name has more than
    ``longest`` bytes, a part of the hash of the whole name is added, except to a name that needed no change.
    """
    plain = [re.sub(r'[^\w.+-]+', '_', name).lstrip('.') or '_' for name in names]
    # Names that stay as they are come first: theirs is the plain file.
    order = sorted(range(len(names)), key=lambda number: plain[number] != names[number])
    taken: set[str] = set()
    stems = [''] * len(names)
    for number in order:
        stem = plain[number]
        if stem.casefold() in taken or len(os.fsencode(stem)) > longest:
            short = os.fsencode(stem)[: longest - 9].decode('utf-8', 'ignore')
            stem = f'{short}-{hashlib.sha256(names[number].encode()).hexdigest()[:8]}'
        taken.add(stem.casefold())
        stems[number] = stem
    return stems


def is_file(path: str | os.PathLike) -> bool:
    """Return whether there is such a file; a name that is too long for any file is that of none."""
    return os.path.isfile(path)  # noqa: PTH113 - Path.is_file raises for such a name


def is_folder(path: str | os.PathLike) -> bool:
    """Return whether there is a folder; a name that is too long is that of none."""
    try:
        return Path(path).is_dir()
    except OSError:
        return False


def through_links(path: str) -> str:
    """Return a path with ``..`` as it was meant where a folder in it is a link.

    The system takes ``data/nuscenes/../teacher`` for the folder beside what ``data/nuscenes`` points to; who writes it
    and who lists ``data`` sees ``data/teacher``. The one that exists is returned.

    Raises:
        InputError: both exist, and are different folders.
    """
    written = os.path.normpath(path)
    if '..' not in Path(path).parts or not is_folder(written):
        return path
    if not is_folder(path):
        return written
    if not Path(path).samefile(written):
        raise InputError(
            f'{path}: is {Path(path).resolve()}, as a folder in it is a link, but there is {written}, too; give the '
            'absolute path of the one that is meant'
        )
    return path


def require_file(path: str | os.PathLike, hint: str) -> Path:
    """Return ``path`` if it is a non-empty file, else raise :class:`InputError` naming it and ``hint``."""
    path = Path(path)
    if is_folder(path):
        raise InputError(f'{path}: is a folder, not a file; {hint}')
    if not is_file(path):
        raise InputError(f'{path}: no such file; {hint}')
    if path.stat().st_size == 0:
        raise InputError(f'{path}: the file is empty; {hint}')
    return path
