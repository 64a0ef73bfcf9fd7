"""Talk to the hub, or a mirror of it (``HF_ENDPOINT``): what a repository holds, and one file that goes on when cut.

No access token is sent: nothing in the catalog needs one.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from ..utils.errors import InputError
from ..utils.files import disk_failure
from .checksums import Checksum

INSTALL = 'install it with: pip install -r requirements/foundation.txt'
OTHER_SOURCES = 'another source: --from FOLDER (a copy on this machine), or HF_ENDPOINT=URL (a mirror)'
AGAIN = 'run the same command again, and it goes on where it stopped'
PART = '.part'


@dataclass(frozen=True)
class RemoteFile:
    """A file of a repository.

    Attributes:
        name: its path there.
        size: bytes; ``None`` if the hub does not say.
        checksum: as the hub reports; ``None`` if it does not.
    """

    name: str
    size: int | None
    checksum: Checksum | None


@dataclass(frozen=True)
class Repository:
    """What a repository holds at one commit.

    Attributes:
        name: its id.
        kind: ``model`` or ``space``.
        commit: the commit.
        license: as its card says; ``None`` if it does not.
        files: all of them, by name.
    """

    name: str
    kind: str
    commit: str
    license: str | None
    files: dict[str, RemoteFile]


def endpoint() -> str | None:
    """Return the address of the mirror; ``None`` for the hub itself."""
    return os.environ.get('HF_ENDPOINT', '').rstrip('/') or None


def list_repository(name: str, kind: str = 'model') -> Repository:
    """Ask for the files of a repository, with sizes and checksums.

    Raises:
        InputError: no such repository, no network, or an answer that is none of a hub.
    """
    hub = _package()
    with _told(hub, f'{name} at {endpoint() or "the hub"}', OTHER_SOURCES):
        info = hub.HfApi(endpoint=endpoint()).repo_info(name, repo_type=kind, files_metadata=True, token=False)
        if not info.sha or info.siblings is None:
            raise ValueError('the answer names no commit or no files')
    files = {}
    for entry in info.siblings:
        lfs = entry.lfs
        checksum = Checksum.from_etag(entry.blob_id if lfs is None else lfs.sha256)
        files[entry.rfilename] = RemoteFile(entry.rfilename, entry.size if lfs is None else lfs.size, checksum)
    licenses = [tag.removeprefix('license:') for tag in info.tags or () if tag.startswith('license:')]
    return Repository(name, kind, info.sha, licenses[0] if licenses else None, files)


def fetch(repository: Repository, file: RemoteFile, target: Path) -> None:
    """Download a file of a repository, verify it, and give it its name.

    What was loaded of it before an interruption stays beside it, and is gone on with.

    Args:
        repository: as listed.
        file: one of its files.
        target: where it goes; its folder is made.

    Raises:
        InputError: not found, no network, cut off, a full disk, or other bytes than the checksum says. In none of these
            cases there is a file ``target``.
    """
    hub = _package()
    what = f'{repository.name}/{file.name}'
    with _told(hub, f'{what} at {endpoint() or "the hub"}', OTHER_SOURCES):
        url = hub.hf_hub_url(
            repository.name, file.name, repo_type=repository.kind, revision=repository.commit, endpoint=endpoint()
        )
        found = hub.get_hf_file_metadata(url, token=False, endpoint=endpoint())
    checksum = Checksum.from_etag(found.etag)
    if file.checksum is not None and checksum is not None and checksum != file.checksum:
        raise InputError(
            f'{what}: the hub reports two checksums, {file.checksum.value} in its list and {checksum.value}; '
            f'try later, or {OTHER_SOURCES}'
        )
    checksum = file.checksum or checksum
    if checksum is None:
        raise InputError(f'{what}: the hub reports no checksum, so it cannot be verified; {OTHER_SOURCES}')
    part = target.with_name(f'.{target.name}.{checksum.value[:12]}{PART}')
    _load(hub, what, found.location, part, found.size if found.size is not None else file.size)
    if not checksum.fits(part):
        part.unlink()
        raise InputError(
            f'{what}: the bytes that arrived do not have the checksum {checksum.value} ({checksum.kind}) that the hub '
            f'reports; nothing was kept: run the same command again, or {OTHER_SOURCES}'
        )
    part.replace(target)


def _load(hub: ModuleType, what: str, url: str, part: Path, size: int | None) -> None:
    """Load the rest of a file behind what is there of it already."""
    from huggingface_hub.file_download import http_get

    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        there = part.stat().st_size if part.exists() else 0
        if size is not None and there > size:
            part.unlink()
            there = 0
        free = shutil.disk_usage(part.parent).free
        if size is not None and size - there > free:
            raise InputError(
                f'{part.parent}: {what} needs {size - there} more bytes, and {free} are free; make room, or choose '
                'another folder with --out'
            )
        with _told(hub, f'{what}: stopped', AGAIN), part.open('ab') as file:
            http_get(url, file, resume_size=there, expected_size=size, displayed_filename=what.rpartition('/')[2])
    except OSError as error:
        cause = disk_failure(error) or error.strerror or ' '.join(str(error).split())
        raise InputError(f'{part.parent}: cannot be written to ({cause}); choose another folder with --out') from error


def _package() -> ModuleType:
    """Return ``huggingface_hub``.

    Raises:
        InputError: it is not installed.
    """
    try:
        import huggingface_hub
    except ImportError as error:
        raise InputError(f'to download, huggingface_hub is needed; {INSTALL}') from error
    return huggingface_hub


@contextmanager
def _told(hub: ModuleType, what: str, hint: str) -> Iterator[None]:
    """Turn what can go wrong between here and a hub into one line.

    Raises:
        InputError: names what was asked for, the cause and a hint.
    """
    errors = hub.errors
    unreachable = (errors.HTTPError, errors.FileMetadataError, ConnectionError, TimeoutError)
    no_answer = (LookupError, TypeError, ValueError)  # of what is no hub
    try:
        yield
    except errors.GatedRepoError as error:
        raise InputError(f'{what}: must be asked for on its page, and is not loaded without; {hint}') from error
    except errors.RepositoryNotFoundError as error:
        raise InputError(f'{what}: no such repository, or it is private; {hint}') from error
    except (errors.EntryNotFoundError, errors.RevisionNotFoundError) as error:
        raise InputError(f'{what}: no such file there; {hint}') from error
    except errors.OfflineModeIsEnabled as error:
        raise InputError(f'{what}: HF_HUB_OFFLINE forbids the network; unset it, or {hint}') from error
    except (*unreachable, *no_answer) as error:
        response = getattr(error, 'response', None)
        cause = f'status {response.status_code}' if response is not None else ' '.join(str(error).split())[:200]
        raise InputError(f'{what}: cannot be reached ({cause or type(error).__name__}); {hint}') from error
    except OSError as error:
        # What huggingface_hub raises where less arrived than was to be.
        if error.errno is not None or 'Consistency check failed' not in str(error):
            raise
        raise InputError(f'{what}: less arrived than there is; {hint}') from error
