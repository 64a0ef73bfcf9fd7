"""Check whether a scene on disk is still what was written, and which version of the generator wrote it."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from projects.DistillNeRF.utils.provenance import file_digest, fingerprint

from .truth import teacher_root

# Modules that no file of a town depends on.
READERS = ('true_views.py', 'integrity.py', 'generate.py', '__init__.py')


@functools.cache
def code_digest() -> str:
    """Return a digest of the source of the generator."""
    sources = sorted(path for path in Path(__file__).parent.glob('*.py') if path.name not in READERS)
    return fingerprint(**{path.name: path for path in sources})


def scene_files(root: Path, name: str, record: Mapping[str, Any]) -> dict[str, str]:
    """Return digests of all files of a scene: ``data:`` or ``teacher:`` and the path below that root -> digest.

    Args:
        root: data root.
        name: of the scene.
        record: its rows of the tables.
    """
    maps = [root / row['filename'] for row in record['tables']['map']]
    found = {f'data:{path.relative_to(root).as_posix()}': path for path in chain(_below(root, name), maps)}
    teacher = teacher_root(root)
    found |= {f'teacher:{path.relative_to(teacher).as_posix()}': path for path in _below(teacher, name)}
    return {key: file_digest(path) for key, path in sorted(found.items())}


def _below(folder: Path, name: str) -> list[Path]:
    """Return the files below a folder whose name, or that of a folder of theirs, is that of the scene."""
    named = [*folder.rglob(f'{name}__*'), *folder.glob(f'gts/{name}')]
    within = (path.rglob('*') if path.is_dir() else [path] for path in named)
    return [path for path in chain.from_iterable(within) if path.is_file()]


def damaged_files(root: Path, record: Mapping[str, Any]) -> list[Path]:
    """Return the files of a scene that are missing or changed; none for records of before such digests."""
    roots = {'data': root, 'teacher': teacher_root(root)}
    damaged = []
    for key, digest in record.get('files', {}).items():
        where, _, relative = key.partition(':')
        path = roots[where] / relative
        if not path.is_file() or file_digest(path) != digest:
            damaged.append(path)
    return damaged
