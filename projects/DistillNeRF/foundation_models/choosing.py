"""Which files of a repository or a folder belong to an entry of the catalog."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from pathlib import Path

from ..utils.errors import InputError
from .catalog import FILE, LPIPS, TRANSFORMERS, Weights
from .checksums import Checksum, read_record, record_path
from .hub import OTHER_SOURCES

# Of a repository for transformers, what its classes read beside the weights, and what says who may use it.
SMALL_FILES = re.compile(
    r'config\.json|(pre)?processor_config\.json|tokenizer(_config)?\.json|special_tokens_map\.json|added_tokens\.json'
    r'|vocab\.(json|txt)|merges\.txt|(spiece|tokenizer)\.model|README\.md|LICENSE[^/]*|NOTICE[^/]*'
)
# The first of these that is there has the weights; an index names more files.
INDEX = '.index.json'
WEIGHT_FILES = ('model.safetensors', f'model.safetensors{INDEX}', 'pytorch_model.bin', f'pytorch_model.bin{INDEX}')
SHARD = re.compile(r'(.*)-\d+-of-\d+(\.\w+)')
VGG = 'model.safetensors'


def wanted(names: Collection[str], entry: Weights, where: str) -> list[str]:
    """Choose the files of an entry among the names of a repository or folder, weights last.

    Raises:
        InputError: what is needed is not among them.
    """
    if entry.kind == FILE:
        assert entry.file is not None
        needed = [entry.file]
    elif entry.kind == LPIPS:
        needed = [VGG]
    else:
        weights = next((name for name in WEIGHT_FILES if name in names), WEIGHT_FILES[0])
        small = sorted(name for name in names if SMALL_FILES.fullmatch(name))
        needed = list(dict.fromkeys(['config.json', *small, weights, *_shards(names, weights)]))
    if absent := [name for name in needed if name not in names]:
        raise InputError(f'{where}: has no {absent[0]}, so it is not what {entry.name} needs; {OTHER_SOURCES}')
    return needed


def _shards(names: Collection[str], index: str) -> list[str]:
    """List the files that belong to an index, as their names tell."""
    if not index.endswith(INDEX):
        return []
    stem, _, suffix = index.removesuffix(INDEX).rpartition('.')
    return sorted(name for name in names if (found := SHARD.fullmatch(name)) and found.groups() == (stem, f'.{suffix}'))


def check_shards(folder: Path) -> None:
    """Check that all files that an index in a folder names are there.

    Raises:
        InputError: names the first that is not, or the index if it names none.
    """
    for index in folder.glob(f'*{INDEX}'):
        try:
            named = set(json.loads(index.read_bytes())['weight_map'].values())
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise InputError(f'{index}: names no files of weights; {OTHER_SOURCES}') from error
        if absent := sorted(name for name in named if not (folder / name).is_file()):
            raise InputError(f'{index}: names {absent[0]}, which is not among the files; {OTHER_SOURCES}')


def local_name(entry: Weights, name: str) -> str:
    """Return the name that a file of a repository has in the place of an entry."""
    return Path(entry.place).name if entry.kind == FILE else name


def find_source(entry: Weights, folder: Path) -> tuple[Path, list[str]]:
    """Find an entry in a folder: another folder of weights, a cache of the hub, or the files themselves.

    Returns:
        the folder of its files, and their names in it.

    Raises:
        InputError: it is not there, or not all of it.
    """
    cache = folder / f'{entry.repo_type}s--{entry.repo.replace("/", "--")}'
    commits = (cache / 'snapshots').iterdir() if (cache / 'snapshots').is_dir() else ()
    own = folder / entry.place
    short = entry.repo.partition('/')[2]
    places = [own if entry.kind == TRANSFORMERS else own.parent, folder / entry.repo, folder / short]
    for place in [*places, *sorted(commits, key=lambda path: path.stat().st_mtime, reverse=True), folder]:
        if entry.kind == TRANSFORMERS:
            if (place / 'config.json').is_file():
                names = [path.relative_to(place).as_posix() for path in place.rglob('*') if path.is_file()]
                return place, wanted(names, entry, str(place))
            continue
        singles = (entry.file, Path(entry.file).name) if entry.file else (Path(entry.place).name, VGG)
        if name := next((name for name in singles if (place / name).is_file()), None):
            return place, [name]
    raise InputError(f'{folder}: has no {entry.name}: neither {entry.place}, {short} nor {cache.name} is in it')


def known_checksums(entry: Weights, source: Path, names: Collection[str]) -> dict[str, Checksum]:
    """Return the checksums that files of a folder must have, of those of which anything says it."""
    place = source if entry.kind == TRANSFORMERS else source / Path(entry.place).name
    record = read_record(record_path(place, entry.kind == TRANSFORMERS))
    known = {}
    for name in names:
        # In a cache of the hub, files are links to what is named by its checksum.
        linked = Checksum.from_etag((source / name).resolve().name)
        noted = record['files'].get(local_name(entry, name)) if record is not None else None
        if entry.sha256 is not None:
            known[name] = Checksum('sha256', entry.sha256)
        elif noted is not None:
            known[name] = Checksum('sha256', noted['sha256'])
        elif linked is not None:
            known[name] = linked
    return known
