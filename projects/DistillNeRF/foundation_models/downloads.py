"""Get weights into the folder where configs look for them: from the hub, a mirror, or a folder on this machine."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ..utils.errors import InputError, warn
from ..utils.files import require_writable
from .catalog import LPIPS, TRANSFORMERS, Weights
from .checksums import Checksum, sha256
from .choosing import VGG, check_shards, find_source, known_checksums, local_name, wanted
from .hub import OTHER_SOURCES, RemoteFile, Repository, fetch, list_repository
from .lpips_file import HEADS, check_lpips, fetch_heads, find_heads, write_lpips
from .placing import (
    DAMAGED,
    INTACT,
    UNKNOWN,
    about,
    discard,
    finish,
    folder_of,
    record_what_is_there,
    staging,
    status,
)


def get(entry: Weights, root: Path, folder: Path | None = None) -> Iterator[str]:
    """Get an entry unless it is there and intact.

    Args:
        entry: of the catalog.
        root: folder of all weights.
        folder: a copy on this machine; ``None`` for the hub or its mirror.

    Yields:
        lines for the user: what will be loaded with sizes, license and checksums, then what was done.

    Raises:
        InputError: whatever is in the way; then nothing is half-written.
    """
    place, found = entry.path(root), status(entry, root)
    if found.kind == INTACT:
        yield f'{entry.name}: {place} is there and intact'
        return
    if found.kind == DAMAGED:
        yield f'{entry.name}: {folder_of(entry, root) / str(found.file)} is not as it came: getting it again'
    require_writable(place.parent)
    if found.kind == UNKNOWN and entry.kind == LPIPS:
        # It is made here, so nobody else knows its checksum.
        check_lpips(place)
        record_what_is_there(entry, root, {place.name: Checksum('sha256', sha256(place))}, about(entry))
        warn(f'{place}: was there; its names and shapes are those of LPIPS, its values cannot be verified')
        yield f'{entry.name}: {place} was there, and was recorded'
    elif folder is None:
        yield from _download(entry, root, there=found.kind == UNKNOWN)
    else:
        yield from _copy(entry, root, folder, there=found.kind == UNKNOWN)


def _download(entry: Weights, root: Path, there: bool) -> Iterator[str]:
    """Load an entry from the hub, or record what is there of it if that is the same."""
    repository = list_repository(entry.repo, entry.repo_type)
    files = [repository.files[name] for name in wanted(repository.files, entry, entry.repo)]
    _check_published(entry, files)
    yield from _announced(entry, repository, files, entry.path(root))
    if there:
        sums = {local_name(entry, file.name): file.checksum for file in files}
        record_what_is_there(entry, root, sums, about(entry, repository))
        yield f'{entry.name}: {entry.path(root)} was there, and is the same'
        return
    staged = staging(entry, root)
    for file in files:
        target = staged / local_name(entry, file.name)
        # A run that was stopped may have loaded it.
        if not (target.is_file() and file.checksum is not None and file.checksum.fits(target)):
            fetch(repository, file, target)
    if entry.kind == LPIPS:
        fetch_heads(staged / Path(HEADS).name)
    yield _placed(entry, root, [local_name(entry, file.name) for file in files], about(entry, repository))


def _check_published(entry: Weights, files: Sequence[RemoteFile]) -> None:
    """Check that the hub has the file of which the checksum is known here.

    Raises:
        InputError: it has another one.
    """
    expected = None if entry.sha256 is None else Checksum('sha256', entry.sha256)
    for file in files:
        if expected is not None and file.checksum != expected:
            found = 'no checksum' if file.checksum is None else f'the checksum {file.checksum.value}'
            raise InputError(
                f'{entry.repo}/{file.name}: has {found} there, and published was {entry.sha256}; nothing was loaded; '
                f'{OTHER_SOURCES}'
            )


def _announced(entry: Weights, repository: Repository, files: Iterable[RemoteFile], place: Path) -> Iterator[str]:
    """Say what will be loaded."""
    yield f'{entry.name}: {entry.repo} (commit {repository.commit[:12]}) -> {place}'
    yield f'  license: {entry.license}; on its card: {repository.license or "none"}'
    for file in files:
        size = 'unknown size' if file.size is None else f'{file.size:,} bytes'
        checksum = 'no checksum in the list' if file.checksum is None else f'{file.checksum.kind} {file.checksum.value}'
        yield f'  {file.name}: {size}, {checksum}'


def _copy(entry: Weights, root: Path, folder: Path, there: bool) -> Iterator[str]:
    """Copy an entry from a folder, or record what is there of it if that is the same."""
    source, names = find_source(entry, folder)
    known = known_checksums(entry, source, names)
    yield f'{entry.name}: {source} -> {entry.path(root)}'
    yield f'  license: {entry.license}'
    for name in names:
        checksum = f'{known[name].kind} {known[name].value}' if name in known else 'no known checksum'
        yield f'  {name}: {(source / name).stat().st_size:,} bytes, {checksum}'
    if there:
        sums = {local_name(entry, name): known.get(name) or Checksum('sha256', sha256(source / name)) for name in names}
        record_what_is_there(entry, root, sums, about(entry, source=source))
        yield f'{entry.name}: {entry.path(root)} was there, and is the same'
        return
    staged = staging(entry, root)
    for name in names:
        target = staged / local_name(entry, name)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, target)
        if name in known and not known[name].fits(target):
            discard(staged)
            raise InputError(f'{source / name}: has not the checksum that it must have; copy it again')
    if unknown := [name for name in names if name not in known]:
        warn(f'{source}: nothing says which checksum {", ".join(unknown)} must have; copied as it is')
    if entry.kind == LPIPS and VGG in names:
        heads = find_heads(source) or find_heads(folder)
        if heads is None:
            fetch_heads(staged / Path(HEADS).name)
        else:
            shutil.copyfile(heads, staged / Path(HEADS).name)
    yield _placed(entry, root, [local_name(entry, name) for name in names], about(entry, source=source))


def _placed(entry: Weights, root: Path, names: list[str], facts: dict) -> str:
    """Make of the files of an entry what configs read, and move it to its place."""
    staged = staging(entry, root)
    try:
        if entry.kind == TRANSFORMERS:
            check_shards(staged)
        if entry.kind == LPIPS:
            place = Path(entry.place).name
            if VGG in names:
                write_lpips(staged / VGG, staged / Path(HEADS).name, staged / place)
            check_lpips(staged / place)
            names = [place]
    except InputError:
        discard(staged)
        raise
    finish(entry, root, names, facts)
    return f'wrote {entry.path(root)}'
