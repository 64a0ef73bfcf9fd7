"""What files were made from: kept output is right only as long as its source, settings and version are the same.

A :class:`Provenance` is one small JSON beside the files of a folder. For every file it has a fingerprint of what the
file was made from and a digest of the file itself, so that neither a change of the source nor a cut or overwritten
file goes unnoticed.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from .files import save_json

FILE_NAME = 'made_from.json'
_CHUNK = 1 << 20


def file_digest(path: Path) -> str:
    """A digest of the bytes of a file."""
    state = hashlib.blake2b(digest_size=16)
    with path.open('rb') as file:
        while chunk := file.read(_CHUNK):
            state.update(chunk)
    return state.hexdigest()


def fingerprint(**parts: Any) -> str:
    """A digest of named parts: contents of files (:class:`Path`), arrays, and whatever JSON can hold."""
    told = {name: _told(value) for name, value in parts.items()}
    return hashlib.blake2b(json.dumps(told, sort_keys=True).encode(), digest_size=16).hexdigest()


def _told(value: Any) -> Any:
    if isinstance(value, Path):
        return {'file': file_digest(value)}
    if isinstance(value, np.ndarray):
        return {'array': value.tolist()}
    return value


class Provenance:
    """What the files of one folder were made from.

    It is written after every file, so that an interrupted run goes on where it stopped: a file whose entry is not
    there yet is made again. Where two runs write one folder at the same time, an entry may get lost, and its file is
    made again by the next run.

    Args:
        folder: of the files.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE_NAME
        self._made = _read(self.path)
        self.replaced = 0

    def source(self, target: Path) -> str | None:
        """The fingerprint of what ``target`` was made from; None if unknown."""
        entry = self._made.get(target.name)
        return entry['source'] if entry else None

    def is_current(self, target: Path, source: str) -> bool:
        """Whether ``target`` is there, was made from ``source`` and is unchanged since.

        Counts in ``replaced`` what is there and is not right.
        """
        if not target.is_file():
            return False
        entry = self._made.get(target.name)
        current = entry is not None and entry['source'] == source and entry['content'] == file_digest(target)
        self.replaced += not current
        return current

    def record(self, target: Path, source: str) -> None:
        """Remember that ``target``, which is complete, was made from ``source``."""
        # Another run may have written since.
        self._made = _read(self.path) | self._made
        self._made[target.name] = {'source': source, 'content': file_digest(target)}
        save_json(self.path, self._made, indent=0)


def _read(path: Path) -> dict[str, dict[str, str]]:
    """The entries of the file; one that is damaged vouches for nothing."""
    try:
        found = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {
        name: entry for name, entry in found.items() if isinstance(entry, dict) and {'source', 'content'} <= set(entry)
    }
