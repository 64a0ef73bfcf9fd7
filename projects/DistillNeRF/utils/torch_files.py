"""Read files of ``torch.save`` safely, and recognize other files that a user may give instead."""

from __future__ import annotations

import io
import os
import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import torch

from .errors import InputError
from .files import atomic_path, require_file

# Pattern of a file's first bytes, its kind, and a hint. The first that matches counts.
_BEGINNINGS: tuple[tuple[bytes, str, str], ...] = (
    (rb'version https://git-lfs', 'only the pointer of a file in git-lfs', 'fetch the file itself: git lfs pull'),
    (rb'\s*<(!doctype|html|head|\?xml|error)', 'a web page, not what was to be downloaded', 'download it again'),
    (
        rb'.{8}\s*\{\s*"',
        'a safetensors file',
        'write it as torch.save does: torch.save(safetensors.torch.load_file(OLD), NEW)',
    ),
    (rb'\x1f\x8b', 'compressed with gzip', 'unpack it first'),
    (rb'BZh|\xfd7zXZ|7z\xbc\xaf|\x28\xb5\x2f\xfd', 'a compressed file', 'unpack it first'),
    (rb'\x89HDF', 'an HDF5 file', 'write its weights with torch.save'),
)
_SAMPLE = 2048


def load_torch(path: str | os.PathLike, kind: str, hint: str, unsafe_pickle: bool = False) -> Any:
    """Read the contents of a file of ``torch.save`` into main memory.

    Args:
        path: the file.
        kind: the kind of file that is expected, for messages: ``checkpoint``, ``scene``.
        hint: what to give instead, for messages.
        unsafe_pickle: run any code that the file holds.

    Raises:
        InputError: missing, a folder, damaged, or of another kind, which the message names if it is known.
        pickle.UnpicklingError: the file holds Python objects beside tensors.
    """
    path = require_file(path, hint)
    try:
        return torch.load(path, map_location='cpu', weights_only=not unsafe_pickle)
    except Exception as error:  # a damaged file can raise nearly anything
        if (problem := _recognized(path, error)) is not None:
            cause, better = problem
            raise InputError(f'{path}: not a readable {kind}: {cause}; {better or hint}') from error
        if holds_objects(error):
            raise
        raise InputError(f'{path}: not a readable {kind} ({type(error).__name__}); {hint}') from error


def save_torch(path: str | os.PathLike, value: Any) -> None:
    """Write ``value`` as torch does, whole or not at all.

    Raises:
        InputError: nothing can be written there, or the disk is full.
    """
    # Into a buffer first: torch's own writer does not tell a full disk from a bug.
    buffer = io.BytesIO()
    torch.save(value, buffer)
    with atomic_path(path) as temporary:
        temporary.write_bytes(buffer.getvalue())


def holds_objects(error: Exception) -> bool:
    """Return whether torch refused to build a Python object."""
    return isinstance(error, pickle.UnpicklingError) and 'weights only' in str(error).lower().replace('_', ' ')


def refused_object(error: Exception) -> str:
    """Return the name of the object that torch refused to build, as a remark in brackets."""
    match = re.search(r'GLOBAL (\w+\.[\w.]+)', str(error))
    return f' ({match[1]})' if match else ''


def _recognized(path: Path, error: Exception) -> tuple[str, str | None] | None:
    """Return what is wrong with a file, and a hint if there is a better one than the usual."""
    if isinstance(error, OSError) and error.errno is not None:
        return f'cannot be read ({error.strerror})', 'correct its permissions, or copy it again'
    if path.name == 'last_checkpoint':
        return f'it only names a checkpoint, {path.read_text(errors="replace").strip()[:200]}', 'give that one'
    with path.open('rb') as file:
        start = file.read(_SAMPLE)
    for pattern, cause, hint in _BEGINNINGS:
        if re.match(pattern, start, re.DOTALL | re.IGNORECASE):
            return cause, hint
    if start.startswith(b'PK'):
        if not zipfile.is_zipfile(path):
            return f'it is cut short, after {path.stat().st_size} bytes', None
        with zipfile.ZipFile(path) as archive:
            if not any(Path(name).name == 'data.pkl' for name in archive.namelist()):
                return 'a zip archive of other files', 'unpack it, and give the checkpoint in it'
    return None
