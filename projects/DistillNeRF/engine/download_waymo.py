"""Fetch segments of Waymo from its bucket, through the clients of Google: gcloud, or else gsutil.

What the bucket may be read with is theirs: ``gcloud auth login`` with an account that is registered at waymo.com/open.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..datasets.waymo_splits import SPLITS, names_of, read_wanted, segment_name
from ..utils.errors import InputError
from ..utils.files import atomic_path, require_file, require_writable

BUCKET = 'gs://waymo_open_dataset_v_1_4_3/individual_files/training'
SUFFIX = '.tfrecord'
PARTIAL = '.part'
# A line of a long list: bytes, time, address.
_LISTED = re.compile(r'^\s*(?:(\d+)\s+\S+\s+)?(\S*\d+_\d+_\d{3}_\d+_\d{3}\S*)\s*$')
_GIGABYTE = 1e9


@dataclass(frozen=True)
class Remote:
    """A segment in a bucket.

    Attributes:
        address: of its file.
        size: bytes; None: not known.
    """

    address: str
    size: int | None = None


@dataclass(frozen=True)
class Client:
    """A command that reads buckets.

    Attributes:
        copy: its words before source and target.
        list: its words before the folder that is to be listed, with sizes.
    """

    copy: tuple[str, ...]
    list: tuple[str, ...]


# The first that is installed is taken. Both go on with a copy of the same name that was cut.
CLIENTS = {
    'gcloud': Client(('gcloud', 'storage', 'cp'), ('gcloud', 'storage', 'ls', '--long')),
    'gsutil': Client(('gsutil', 'cp'), ('gsutil', 'ls', '-l')),
}


@dataclass(frozen=True)
class Plan:
    """What is fetched.

    Attributes:
        out: folder of the files.
        segments: name -> where it is.
        lists: name of a part of NOTR -> names of its segments.
    """

    out: Path
    segments: dict[str, Remote]
    lists: dict[str, list[str]]

    def target(self, name: str) -> Path:
        """Return the file of a segment."""
        return self.out / self.segments[name].address.rpartition('/')[2]

    def missing(self) -> list[str]:
        """List the segments that are not there in their size."""
        return [name for name in self.segments if not self._is_there(name)]

    def _is_there(self, name: str) -> bool:
        target, size = self.target(name), self.segments[name].size
        return target.is_file() and size in (None, target.stat().st_size)

    def lines(self) -> Iterator[str]:
        """Yield what is there and what is not, a line for each segment."""
        missing = self.missing()
        sizes = [self.segments[name].size for name in missing]
        known = sum(size for size in sizes if size is not None)
        size = 'sizes unknown' if None in sizes else f'{known / _GIGABYTE:.1f} GB'
        yield f'{len(self.segments)} segments, {len(self.segments) - len(missing)} in {self.out}; to fetch: {size}'
        for name in missing:
            yield f'{self.segments[name].address} -> {self.target(name)}'


def installed_client() -> Client | None:
    """Return the first client that is installed; None if there is none."""
    return next((client for name, client in CLIENTS.items() if shutil.which(name)), None)


def make_plan(
    out: Path,
    splits: Sequence[str] = (),
    lists: Sequence[Path] = (),
    listing: Path | None = None,
    bucket: str = BUCKET,
) -> Plan:
    """Find out what to fetch.

    Args:
        out: folder of the files.
        splits: parts of NOTR.
        lists: files of names or numbers (:func:`..datasets.waymo_splits.read_wanted`).
        listing: saved list of the bucket; None: ask the bucket, if a client is installed.
        bucket: address of the folder of the training segments.

    Raises:
        InputError: a bad list, a segment that is not in the bucket, or numbers without a list of the bucket.
    """
    client = installed_client()
    remote, where = None, 'NOTR'
    if listing is not None:
        hint = f'save one with: {" ".join(CLIENTS["gcloud"].list)} {bucket} > {listing}'
        where, remote = str(listing), _parsed(require_file(listing, hint).read_text(), str(listing), hint)
    elif client is not None:
        where, remote = bucket, _listed(client, bucket)
    names = {split: names_of(map(str, SPLITS[split]), remote, where) for split in splits}
    wanted = [name for part in names.values() for name in part]
    for path in lists:
        wanted += names_of(read_wanted(path), remote, where)
    segments = {}
    for name in dict.fromkeys(wanted):
        if remote is not None and name not in remote:
            raise InputError(f'{where}: has no segment {name}; correct the list, or give another --bucket')
        address = f'{bucket}/segment-{name}_with_camera_labels{SUFFIX}'
        segments[name] = Remote(address) if remote is None else remote[name]
        if '/' not in segments[name].address:
            segments[name] = Remote(address, segments[name].size)
    return Plan(out, segments, names)


def _listed(client: Client, bucket: str) -> dict[str, Remote]:
    """Ask a bucket for its segments."""
    command = [*client.list, f'{bucket}/']
    done = subprocess.run(command, capture_output=True, text=True)
    hint = 'sign in with: gcloud auth login (an account registered at waymo.com/open), or give a saved --listing'
    if done.returncode:
        said = ' '.join(done.stderr.split())[-300:]
        raise InputError(f'{bucket}: cannot be listed ({said}); {hint}')
    return _parsed(done.stdout, bucket, hint)


def _parsed(text: str, where: str, hint: str) -> dict[str, Remote]:
    """Read a list of a bucket: name -> where it is."""
    found = {}
    for line in text.splitlines():
        listed = _LISTED.match(line)
        if listed and (name := segment_name(listed[2])):
            found[name] = Remote(listed[2], int(listed[1]) if listed[1] else None)
    if not found:
        raise InputError(f'{where}: lists no segment; {hint}')
    return found


def download(plan: Plan) -> Iterator[str]:
    """Fetch what is missing, one segment after the other; yield a line for each.

    A file gets its name when it is whole, and has the size that the bucket says.

    Raises:
        InputError: no client, not enough space, a copy that failed or has another size; what came before is complete.
    """
    client, missing = installed_client(), plan.missing()
    if client is None and missing:
        raise InputError(
            f'neither {" nor ".join(CLIENTS)} is installed, so nothing was fetched: install one '
            '(https://cloud.google.com/sdk), or fetch the addresses above by hand into these files'
        )
    require_writable(plan.out)
    for split, names in plan.lists.items():
        with atomic_path(plan.out / f'{split}.txt') as temporary:
            temporary.write_text('\n'.join(names) + '\n')
    _require_space(plan, missing)
    for number, name in enumerate(missing, 1):
        assert client is not None
        _fetch(client, plan.segments[name], plan.target(name))
        yield f'{number}/{len(missing)} {plan.target(name)}'
    yield f'{len(plan.segments)} segments are in {plan.out}'


def _require_space(plan: Plan, missing: Sequence[str]) -> None:
    needed = sum(plan.segments[name].size or 0 for name in missing)
    free = shutil.disk_usage(plan.out).free
    if needed > free:
        raise InputError(
            f'{plan.out}: {needed / _GIGABYTE:.1f} GB are to be fetched and {free / _GIGABYTE:.1f} GB are free; '
            'make room, or fetch fewer segments'
        )


def _fetch(client: Client, remote: Remote, target: Path) -> None:
    """Copy one file."""
    partial = target.with_name(target.name + PARTIAL)
    done = subprocess.run([*client.copy, remote.address, str(partial)])
    if done.returncode or not partial.is_file():
        raise InputError(f'{remote.address}: {client.copy[0]} failed ({done.returncode}); the same command goes on')
    size = partial.stat().st_size
    if remote.size is not None and size != remote.size:
        partial.unlink()
        raise InputError(
            f'{remote.address}: came with {size} bytes instead of {remote.size}; run the same command again'
        )
    partial.replace(target)
