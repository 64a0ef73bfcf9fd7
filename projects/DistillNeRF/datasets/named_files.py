"""The files that records name: names that are names, and of the right camera."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any

from ..errors import InputError
from .info_arrays import Info

# Maps of an image, and the files of each; one file without a name of its own.
KINDS = ('teacher', 'truth', 'features')


def check_named_files(infos: Sequence[Info], labels: Sequence[str], cure: str) -> None:
    """Check the names of images and their maps.

    Args:
        infos: the records.
        labels: file and keyframe of each, for messages.
        cure: what to do.

    Raises:
        InputError: a name that is none, or an image or map that lies in the folder of another camera.
    """
    for info, label in zip(infos, labels, strict=True):
        others = frozenset(info['images'])
        for camera, image in info['images'].items():
            for kind, name in _names(image):
                if not isinstance(name, str) or not name:
                    raise InputError(f'{label}, {camera}: {kind} is {str(name)[:40]!r}, not the name of a file; {cure}')
                folders = PurePosixPath(name).parts[:-1]
                if camera not in folders and (named := others.intersection(folders)):
                    raise InputError(
                        f'{label}, {camera}: its {kind} {name} lies in the folder of camera {min(named)}; {cure}'
                    )


def _names(image: Info) -> Iterator[tuple[str, Any]]:
    """(kind, name) of every file of an image."""
    yield 'img_path', image['img_path']
    for kind in KINDS:
        files = image.get(kind)
        if isinstance(files, dict):
            yield from ((f'{kind} {name}', path) for name, path in files.items())
        elif files is not None:
            yield kind, files
