"""Checksums of files, and the records that say what was downloaded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..utils.files import save_json

CHUNK = 1 << 20
RECORD = 'source.json'


@dataclass(frozen=True)
class Checksum:
    """What the bytes of a file must be: a SHA-256, or the SHA-1 that git has of a file of this size.

    Attributes:
        kind: ``sha256`` or ``git``.
        value: hexadecimal digits.
    """

    kind: str
    value: str

    @classmethod
    def from_etag(cls, etag: str | None) -> Checksum | None:
        """Return what an ETag of the hub says: git-lfs files have their SHA-256, small ones that of git."""
        digits = etag or ''
        if set(digits) - set('0123456789abcdef') or len(digits) not in (40, 64):
            return None
        return cls('sha256' if len(digits) == 64 else 'git', digits)

    def fits(self, path: Path) -> bool:
        """Return whether a file has this checksum."""
        return (sha256(path) if self.kind == 'sha256' else git_sha1(path)) == self.value


def sha256(path: Path) -> str:
    """Compute the SHA-256 of a file."""
    return _digest(hashlib.sha256(), path)


def git_sha1(path: Path) -> str:
    """Compute the SHA-1 by which git knows the content of a file."""
    return _digest(hashlib.sha1(b'blob %d\0' % path.stat().st_size, usedforsecurity=False), path)


def _digest(state: Any, path: Path) -> str:
    with path.open('rb') as file:
        while chunk := file.read(CHUNK):
            state.update(chunk)
    return state.hexdigest()


def record_path(place: Path, is_folder: bool) -> Path:
    """Return where the record of a file or folder is: in the folder, or beside the file."""
    return place / RECORD if is_folder else place.with_name(f'{place.name}.{RECORD}')


def write_record(path: Path, about: Mapping[str, Any], files: Mapping[str, Path]) -> None:
    """Write where files came from, with the size and the SHA-256 of each.

    Args:
        path: of the record.
        about: what else is known.
        files: name -> where it lies now.
    """
    sums = {name: {'size': file.stat().st_size, 'sha256': sha256(file)} for name, file in files.items()}
    save_json(path, {**about, 'files': sums}, indent=2)


def read_record(path: Path) -> dict[str, Any] | None:
    """Return a record; ``None`` where there is none, or a damaged one."""
    try:
        record = json.loads(path.read_text())
        complete = all({'size', 'sha256'} <= set(entry) for entry in record['files'].values())
    except (AttributeError, FileNotFoundError, KeyError, TypeError, ValueError):
        return None
    return record if complete and record['files'] else None


def changed_file(record: Mapping[str, Any], folder: Path) -> str | None:
    """Return the name of a file that is not what a record says, missing or changed; ``None`` if all are."""
    for name, entry in record['files'].items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != entry['size'] or sha256(path) != entry['sha256']:
            return name
    return None
