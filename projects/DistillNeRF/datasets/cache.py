"""Cached arrays: what the files of a data set become when a sample is loaded, kept in files of its own.

A cache never changes a number: a file of it holds the array bit for bit, with everything that it was made from (the
settings, the versions of the libraries, and size, times and digest of the source files). A reader compares all of it,
so that a source that has changed since, other settings, or a damaged file are noticed.

A file is one line of JSON and the bytes of the arrays. It is written under another name and renamed when it is
complete, so that any number of processes may read and write one cache.
"""

from __future__ import annotations

import functools
import json
import os
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import numpy as np

from ..utils.errors import InputError
from ..utils.files import atomic_path, is_file
from ..utils.provenance import file_digest
from .file_checks import FolderListings

# Raise it when what is loaded from the same files changes.
VERSION = 1
DEFAULT_FOLDER = 'cache'
SUFFIX = '.cache'
MAKE_CACHE = 'make it with `python tools/create_data.py cache CONFIG`, or leave the dataset option cache away'
CHECKSUM_LENGTH = 9
# Digests of sources that each process remembers.
REMEMBERED = 1 << 14


@dataclass(frozen=True)
class Origin:
    """What a cached file is made from.

    Attributes:
        sources: the source files.
        settings: values that JSON can hold; all that the arrays depend on beside the contents of the sources.
    """

    sources: Sequence[str]
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Cached:
    """The content of a cached file.

    Attributes:
        arrays: name -> array.
        facts: what else was learned from the sources; values that JSON can hold.
    """

    arrays: Mapping[str, np.ndarray]
    facts: Mapping[str, Any] = field(default_factory=dict)


class CachingTransform(Protocol):
    """A transform whose arrays can be cached."""

    def cache_file(self, view: Mapping[str, Any], results: Mapping[str, Any]) -> Path | None:
        """Return the file for a view, in ``results['cache']``; None if the view needs none."""

    def write_cache(self, results: dict[str, Any]) -> int:
        """Write the files of all views of a sample that are missing or stale; return how many."""


def caching_transforms(transforms: Iterable[Any]) -> list[CachingTransform]:
    """List the transforms whose arrays can be cached."""
    return [transform for transform in transforms if hasattr(transform, 'write_cache')]


def cache_name(kind: str, relative: str) -> str:
    """Return the name of an image in the cache.

    Args:
        kind: root of the image, ``img`` or ``teacher``.
        relative: path of the image below its root.
    """
    # Nothing is written outside of the cache, wherever an info file points.
    parts = ['up' if part == '..' else part for part in PurePosixPath(relative).parts if part != '/']
    return str(PurePosixPath(kind, *parts)) + SUFFIX


def check_cache_exists(
    views: Iterable[Mapping[str, Any]], transforms: Iterable[Any], results: Mapping[str, Any], where: str
) -> None:
    """Check that the files of all views are there; whether each is current shows when it is read.

    Args:
        views: views with their ``cache_name``.
        transforms: of the dataset.
        results: settings of the dataset as in a sample.
        where: the info file, for messages.

    Raises:
        InputError: names the first missing file and the hint.
    """
    folders, caching = FolderListings(), caching_transforms(transforms)
    paths = [path for view in views for one in caching if (path := one.cache_file(view, results)) is not None]
    if missing := [path for path in paths if not folders.has(path)]:
        raise InputError(
            f'{missing[0]}: is not in the cache (nor are {len(missing) - 1} more of the {len(paths)} files that '
            f'{where} needs); {MAKE_CACHE}'
        )


def update_cached(
    path: Path, origin: Origin, make: Callable[[], Cached], fits: Callable[[Cached], bool] = lambda _: True
) -> bool:
    """Make a cached file unless it is current; return whether it was written.

    Where only the times of the sources differ, the new times are noted: the next reader need not look at the contents.

    Args:
        path: the cached file.
        origin: what it must be made from.
        make: makes its content.
        fits: whether a content of that origin can be kept.
    """
    # Before the sources are read: what changes meanwhile is noticed later.
    sources = [[*stamp, _digest(source, stamp)] for source in origin.sources if (stamp := _stamp(source))]
    try:
        cached, stamped = _read(path, origin)
        current = fits(cached)
    except _NotCurrent:
        current = False
    if not current:
        cached, stamped = make(), False
    if not stamped:
        _write(path, {'settings': dict(origin.settings), 'sources': sources, 'facts': dict(cached.facts)}, cached)
    return not stamped


def read_cached(path: Path, origin: Origin, hint: str = MAKE_CACHE) -> Cached:
    """Read a cached file.

    Args:
        path: the cached file.
        origin: what it must be made from.
        hint: how to make it, for messages.

    Raises:
        InputError: it is missing, damaged, or made from something else than ``origin``.
    """
    try:
        return _read(path, origin)[0]
    except _NotCurrent as error:
        raise InputError(f'{path}: {error}; {hint}') from error


class _NotCurrent(Exception):
    """Say why a cached file cannot be used."""


def _write(path: Path, header: dict[str, Any], cached: Cached) -> None:
    arrays = {name: np.ascontiguousarray(array) for name, array in cached.arrays.items()}
    header['arrays'] = {name: [array.dtype.str, list(array.shape)] for name, array in arrays.items()}
    content = json.dumps(header).encode() + b'\n' + b''.join(array.tobytes() for array in arrays.values())
    with atomic_path(path) as temporary:
        temporary.write_bytes(_checksum(content) + content)


def _checksum(content: bytes) -> bytes:
    return b'%08x ' % zlib.crc32(content)


def _read(path: Path, origin: Origin) -> tuple[Cached, bool]:
    """Read a cached file; also return whether the times of its sources are those that it notes.

    Raises:
        _NotCurrent: it is missing, damaged, or made from something else.
    """
    if not is_file(path):
        raise _NotCurrent('is not in the cache')
    file = path.read_bytes()
    content = memoryview(file)[CHECKSUM_LENGTH:]
    if file[:CHECKSUM_LENGTH] != _checksum(content):
        raise _NotCurrent('is damaged, or no file of a cache')
    try:
        start = file.index(b'\n') + 1
        header = json.loads(file[CHECKSUM_LENGTH:start])
        _compare_settings(header['settings'], origin.settings)
        same_times = _compare_sources(header['sources'], origin.sources)
        return Cached(_arrays(header['arrays'], memoryview(file)[start:]), header['facts']), same_times
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise _NotCurrent('is damaged, or no file of a cache of this version') from error


def _arrays(described: Mapping[str, Any], content: memoryview) -> dict[str, np.ndarray]:
    arrays, position = {}, 0
    for name, (dtype, shape) in described.items():
        count = int(np.prod(shape))
        # A copy, since a transform may write into what it is given.
        arrays[name] = np.frombuffer(content, dtype, count, position).reshape(shape).copy()
        position += arrays[name].nbytes
    return arrays


def _compare_settings(then: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    for name in sorted({*then, *now}):
        if then.get(name) != now.get(name):
            raise _NotCurrent(f'is stale: it was made with {name} {then.get(name)}, and now it is {now.get(name)}')


def _compare_sources(then: Sequence[Sequence[Any]], now: Sequence[str]) -> bool:
    """Return whether the times of the sources are as they were; where they are not, compare the contents."""
    if len(then) != len(now):
        raise _NotCurrent(f'is stale: it was made from {len(then)} files, and now there are {len(now)}')
    same = True
    for (*stamp, digest), source in zip(then, now, strict=True):
        try:
            present = _stamp(source)
            if present == tuple(stamp):
                continue
            same = False
            changed = present[0] != stamp[0] or _digest(source, present) != digest
        except FileNotFoundError:
            raise _NotCurrent(f'is stale: its source {source} is not there') from None
        if changed:
            raise _NotCurrent(f'is stale: its source {source} has changed since')
    return same


def _stamp(path: str) -> tuple[int, int, int]:
    """Return the size of a file and its times, nanoseconds: no writer can set back when its status changed."""
    status = os.stat(path)  # noqa: PTH116 - called hundreds of times for a sample
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


@functools.lru_cache(REMEMBERED)
def _digest(path: str, stamp: tuple[int, int, int]) -> str:
    """Return the digest of a file, which is read again when its stamp has changed."""
    return file_digest(Path(path))
