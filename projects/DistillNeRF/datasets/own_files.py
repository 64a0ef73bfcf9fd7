"""Files that belong to one record alone."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence

from ..errors import InputError
from .info_arrays import Info


def check_files_are_named_once(infos: Sequence[Info], where: str, cure: str) -> None:
    """Two records that read one file are one measurement twice, or one of them reads another's.

    Raises:
        InputError: names ``where``, both records, the file and the cure.
    """
    owners: dict[tuple[str, str], str] = {}
    for info in infos:
        for kind, path, owner in _own_files(info):
            key = kind, posixpath.normpath(path)
            if (other := owners.setdefault(key, owner)) is not owner:
                raise InputError(f'{where}: {other} and {owner} name one {kind} file, {path}; {cure}')


def _own_files(info: Info) -> Iterator[tuple[str, str, str]]:
    """(kind, path, owner) of every file that one record alone may name; sweeps are LiDAR of other frames, too."""
    sample = f'sample {info["token"]}'
    if info.get('lidar_points'):
        yield 'LiDAR', info['lidar_points']['lidar_path'], sample
    for camera, image in info['images'].items():
        owner = f'{sample}, {camera}'
        yield 'image', image['img_path'], owner
        for kind in ('teacher', 'truth', 'features'):
            files = image.get(kind) or {}
            for name, path in files.items() if isinstance(files, dict) else [('', files)]:
                yield f'{kind} {name}'.strip(), path, owner
