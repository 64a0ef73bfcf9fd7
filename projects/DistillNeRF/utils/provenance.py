"""Provenance of files and figures: kept output is valid as long as its source, settings and version are the same.

A :class:`Provenance` is one small JSON for the files below a folder. For every file it has a fingerprint of what the
file was made from and a digest of the file itself, so that neither a change of the source nor a cut or overwritten
file goes unnoticed.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from .files import save_json

FILE_NAME = 'made_from.json'
_CHUNK = 1 << 20


def file_digest(path: Path) -> str:
    """Compute a digest of the bytes of a file."""
    state = hashlib.blake2b(digest_size=16)
    with path.open('rb') as file:
        while chunk := file.read(_CHUNK):
            state.update(chunk)
    return state.hexdigest()


def fingerprint(**parts: Any) -> str:
    """Compute a digest of named parts: contents of files (:class:`Path`), arrays, and values that JSON can hold."""
    described = {name: _describe(value) for name, value in parts.items()}
    return hashlib.blake2b(json.dumps(described, sort_keys=True).encode(), digest_size=16).hexdigest()


def _describe(value: Any) -> Any:
    if isinstance(value, Path):
        return {'file': file_digest(value)}
    if isinstance(value, np.ndarray):
        return {'array': value.tolist()}
    return value


def commit() -> str:
    """Return the short commit of the code, with ``+`` if tracked files differ from it; ``unknown`` outside of git."""
    git = shutil.which('git')  # an installation may have none, or the code may be in no repository
    if git is None:
        return 'unknown'

    def ask(*words: str) -> str:
        return subprocess.run([git, *words], cwd=Path(__file__).parent, capture_output=True, text=True).stdout.strip()

    if not ask('ls-files', Path(__file__).name):  # installed somewhere in a repository of others
        return 'unknown'
    found = ask('rev-parse', '--short', 'HEAD')
    changed = ask('status', '--porcelain', '--untracked-files=no')
    return found + '+' * bool(changed) if found else 'unknown'


class Provenance:
    """The sources of the files below one folder.

    It is written after every file, so that an interrupted run goes on where it stopped: a file whose entry is not
    there yet is made again. Where two runs write one folder at the same time, an entry may get lost, and its file is
    made again by the next run.

    Args:
        folder: the files are in it or below it.
        name: of the JSON, below the folder; one for each part that a process of its own writes.
    """

    def __init__(self, folder: Path, name: str = FILE_NAME) -> None:
        self.folder = folder
        self.path = folder / name
        self._made = _read(self.path)
        self.replaced = 0

    def source(self, target: Path) -> str | None:
        """Return the fingerprint of the source of ``target``; ``None`` if unknown."""
        entry = self._made.get(self._key(target))
        return entry['source'] if entry else None

    def is_current(self, target: Path, source: str) -> bool:
        """Return whether ``target`` is there, was made from ``source`` and is unchanged since.

        A file that is there but is not current is counted in ``replaced``.
        """
        if not target.is_file():
            return False
        entry = self._made.get(self._key(target))
        current = entry is not None and entry['source'] == source and entry['content'] == file_digest(target)
        self.replaced += not current
        return current

    def record(self, target: Path, source: str) -> None:
        """Record that ``target``, which is complete, was made from ``source``."""
        self.record_all([(target, source)])

    def record_all(self, made: Iterable[tuple[Path, str]]) -> None:
        """Record several targets, which are complete, each with its source."""
        # Another run may have written since.
        self._made = _read(self.path) | self._made
        for target, source in made:
            self._made[self._key(target)] = {'source': source, 'content': file_digest(target)}
        save_json(self.path, self._made, indent=0)

    def _key(self, target: Path) -> str:
        return target.relative_to(self.folder).as_posix()


def _read(path: Path) -> dict[str, dict[str, str]]:
    """Read the entries of the file; a damaged file has none."""
    try:
        entries = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    if not isinstance(entries, dict):
        return {}
    return {
        name: entry
        for name, entry in entries.items()
        if isinstance(entry, dict) and {'source', 'content'} <= set(entry)
    }
