"""Where weights lie: what is there of an entry, where its files come together, and how they get to their place.

Files come together in a hidden folder beside the place of the entry and are verified there. In its place it is whole
or absent. ``source.json``, in a folder or beside a file, says where it came from, with the SHA-256 of every file.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..utils.errors import InputError
from .catalog import TRANSFORMERS, Weights
from .checksums import RECORD, Checksum, changed_file, read_record, record_path, write_record
from .hub import Repository

MISSING, INTACT, DAMAGED, UNKNOWN = 'missing', 'there, intact', 'there, but changed', 'there, without a record'


@dataclass(frozen=True)
class Status:
    """What is there of an entry.

    Attributes:
        kind: ``MISSING``, ``INTACT``, ``DAMAGED`` or ``UNKNOWN`` (nobody recorded what it must be).
        file: the name of one that is damaged.
    """

    kind: str
    file: str | None = None


def status(entry: Weights, root: Path) -> Status:
    """Compare what is there of an entry with its record, every byte."""
    if not entry.path(root).exists():
        return Status(MISSING)
    record = read_record(record_of(entry, root))
    if record is None:
        return Status(UNKNOWN)
    changed = changed_file(record, folder_of(entry, root))
    return Status(INTACT) if changed is None else Status(DAMAGED, changed)


def folder_of(entry: Weights, root: Path) -> Path:
    """Return the folder that the names in the record of an entry are in."""
    place = entry.path(root)
    return place if entry.kind == TRANSFORMERS else place.parent


def record_of(entry: Weights, root: Path) -> Path:
    """Return the record of an entry."""
    return record_path(entry.path(root), entry.kind == TRANSFORMERS)


def about(entry: Weights, repository: Repository | None = None, source: Path | None = None) -> dict[str, Any]:
    """Return what a record says beside the files."""
    facts = {'name': entry.name, 'repository': entry.repo, 'kind': entry.repo_type, 'license': entry.license}
    if repository is not None:
        facts |= {'commit': repository.commit, 'license_on_card': repository.license}
    if source is not None:
        facts['copied_from'] = str(source)
    return facts


def staging(entry: Weights, root: Path) -> Path:
    """Make the hidden folder where the files of an entry come together; it keeps what an earlier run loaded."""
    place = entry.path(root)
    staged = place.with_name(f'.{place.name}.download')
    staged.mkdir(parents=True, exist_ok=True)
    return staged


def discard(staged: Path) -> None:
    """Remove such a folder."""
    shutil.rmtree(staged, ignore_errors=True)


def finish(entry: Weights, root: Path, names: Iterable[str], facts: Mapping[str, Any]) -> None:
    """Move the files of an entry, which are whole, from the hidden folder to their place, then their record.

    Args:
        entry: of the catalog.
        root: folder of all weights.
        names: of its files, in the hidden folder and in its place.
        facts: what the record says beside the files.
    """
    staged, folder = staging(entry, root), folder_of(entry, root)
    record = staged / RECORD
    write_record(record, facts, {name: staged / name for name in names})
    # Until the new record is there, a run that is stopped here leaves files that the old one does not know.
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
    if entry.kind == TRANSFORMERS and not any(folder.iterdir()):
        _remove_others(staged, {*names, RECORD})
        shutil.rmtree(folder)
        staged.replace(folder)
        return
    for name in names:
        (staged / name).replace(folder / name)
    record.replace(record_of(entry, root))
    discard(staged)


def _remove_others(folder: Path, kept: set[str]) -> None:
    """Remove files that are none of these, such as parts of those of another commit."""
    for path in [*folder.rglob('*')]:
        if path.is_file() and path.relative_to(folder).as_posix() not in kept:
            path.unlink()


def record_what_is_there(
    entry: Weights, root: Path, sums: Mapping[str, Checksum | None], facts: Mapping[str, Any]
) -> None:
    """Compare what somebody else put in the place of an entry with checksums, and record it.

    Raises:
        InputError: a file is missing or another one; nothing is changed.
    """
    folder = folder_of(entry, root)
    for name, checksum in sums.items():
        path = folder / name
        if not path.is_file() or checksum is None or not checksum.fits(path):
            wrong = 'has not the checksum that it must have' if path.is_file() else 'is missing'
            raise InputError(f'{path}: {wrong}; move {entry.path(root)} away, and run the same command again')
    write_record(record_of(entry, root), facts, {name: folder / name for name in sums})
