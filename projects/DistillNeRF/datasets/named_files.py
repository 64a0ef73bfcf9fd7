"""Checks of the files that records name: of the right camera and time, and each in one record alone."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import PurePosixPath
from statistics import median
from typing import Any

from ..utils.errors import InputError, warn
from .info_arrays import Info

# Kinds of maps of an image: a dict of files, or one file.
KINDS = ('teacher', 'truth', 'features')
# The end of ``n015-2018-07-24__CAM_FRONT__1532402927612460.jpg``.
_TIME = re.compile(r'__(-?\d+)$')
# Seconds.
LARGEST_OFFSET = 0.05


def check_named_files(infos: Sequence[Info], labels: Sequence[str], hint: str) -> None:
    """Warn of images and maps whose names belong to another camera or time.

    Args:
        infos: the records.
        labels: file and keyframe of each record, for messages.
        hint: what to do, for messages.
    """
    elsewhere: list[str] = []
    unnamed: list[str] = []
    total, images = 0, 0
    for info, label in zip(infos, labels, strict=True):
        for camera, image in _images(info):
            for kind, name in _names(image):
                total += 1
                if kind == 'image':
                    images += 1
                    if camera not in PurePosixPath(name).parts:
                        unnamed.append(f'{label}, {camera}: {name}')
                if other := _other_camera(name, camera, info['images']):
                    elsewhere.append(f'{label}, {camera}: its {kind} {name} lies in the folder of camera {other}')
    if elsewhere:
        warn(f'{elsewhere[0]}; so do {len(elsewhere)} of {total} files of images: {hint} if that is not so')
    # Where folders bear the names of cameras, all of them do.
    if 0 < len(unnamed) < images / 2:
        warn(f'{unnamed[0]} does not lie in a folder of this name (so do {len(unnamed)} of {images} images); {hint}')
    _compare_times(infos, labels)


def check_files_are_named_once(infos: Sequence[Info], where: str, hint: str) -> None:
    """Check that no two records name one file: one of them would read what belongs to the other.

    Args:
        infos: the records.
        where: the info file, for messages.
        hint: what to do, for messages.

    Raises:
        InputError: names ``where``, both records and the file; or what is not the name of a file.
    """
    owners: dict[tuple[str, str], str] = {}
    for info in infos:
        for kind, path, owner in _own_files(info):
            if not isinstance(path, str) or not path:
                raise InputError(f'{where}: {owner}: {kind} is {str(path)[:40]!r}, not the name of a file; {hint}')
            key = kind, posixpath.normpath(path)
            if (other := owners.setdefault(key, owner)) is not owner:
                raise InputError(f'{where}: {other} and {owner} name one {kind} file, {path}; {hint}')


def _own_files(info: Info) -> Iterator[tuple[str, str, str]]:
    """Yield (kind, path, owner) of every file that one record alone may name; sweeps may be LiDAR of other frames."""
    sample = f'sample {info["token"]}'
    if info.get('lidar_points'):
        yield 'LiDAR', info['lidar_points']['lidar_path'], sample
    for camera, image in _images(info):
        owner = f'{sample}, {camera}'
        yield from ((kind, path, owner) for kind, path in _names(image))


def _images(info: Info) -> Iterator[tuple[str, Info]]:
    """Yield camera and record of every image of a keyframe and of the time before it."""
    yield from info['images'].items()
    yield from ((camera, image) for camera, images in info.get('image_sweeps', {}).items() for image in images)


def _other_camera(name: str, camera: str, cameras: Collection[str]) -> str | None:
    """Return the other camera in whose folder a file lies; None if there is none."""
    folders = PurePosixPath(name).parts[:-1]
    return None if camera in folders else next((folder for folder in folders if folder in cameras), None)


def _compare_times(infos: Sequence[Info], labels: Sequence[str]) -> None:
    """Warn of names, which in nuScenes end with the time in microseconds, of another time than their record."""
    named = []
    for info, label in zip(infos, labels, strict=True):
        records = [(f'{label}, {camera}', image['img_path'], image) for camera, image in _images(info)]
        if info['lidar_points']:
            records.append((f'{label}, LiDAR', info['lidar_points']['lidar_path'], info))
        for where, name, record in records:
            if match := _TIME.search(PurePosixPath(name).stem.partition('.')[0]):
                named.append((f'{where}: {name}', int(match[1]) / 1e6 - record['timestamp']))
    if not named:
        return
    usual = median(offset for _, offset in named)
    off = [(name, offset - usual) for name, offset in named if abs(offset - usual) > LARGEST_OFFSET]
    # Otherwise the digits are no times.
    if off and len(off) < len(named) / 2:
        name, seconds = off[0]
        warn(
            f'{name} carries a time {seconds:+.3f} s off that of its record (so do {len(off)} of {len(named)} files); '
            'compare files and records'
        )


def _names(image: Info) -> Iterator[tuple[str, Any]]:
    """Yield (kind, name) of every file of an image."""
    yield 'image', image['img_path']
    for kind in KINDS:
        files = image.get(kind)
        if isinstance(files, dict):
            yield from ((f'{kind} {name}', path) for name, path in files.items())
        elif files is not None:
            yield kind, files
