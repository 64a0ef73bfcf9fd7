"""The info format: what converters write and the dataset class reads (``docs/DATA.md``).

A pickle ``{'metainfo': {...}, 'data_list': [info, ...]}`` with the fields of mmdet3d's v2 infos plus scene, links
to the neighbor keyframes, exact camera poses and the paths of teacher and truth. All paths are relative.
"""

from __future__ import annotations

import contextlib
import os
import pickle
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..utils.errors import InputError, warn
from ..utils.files import atomic_path, require_file
from ..utils.provenance import fingerprint
from .info_arrays import Info
from .info_checks import CONVERT_AGAIN, check_infos

FORMAT = 'distillnerf'
FORMAT_VERSION = 1
# Fields that tell which samples a file lists, and what their cameras see from where.
_IDENTITY = ('token', 'scene', 'timestamp', 'ego2global', 'images')


@dataclass(frozen=True)
class InfoFile:
    """An info file to write.

    Attributes:
        path: the pickle to write.
        dataset: name of the data set, such as ``nuscenes``.
        cameras: camera names in ring order: front left, front, front right, back right, back, back left.
        infos: one record per keyframe, in order of scene and time.
        source: what the records were made from, for messages; None: the pickle.
        more: further entries of ``metainfo``.
    """

    path: str | os.PathLike
    dataset: str
    cameras: Sequence[str]
    infos: Sequence[Info]
    source: str | os.PathLike | None = None
    more: dict[str, Any] = field(default_factory=dict)


def save_info_files(files: Sequence[InfoFile]) -> None:
    """Check all records of all files, then write the files: all or none, each whole.

    Raises:
        InputError: a record that cannot be true, before anything is written.
    """
    for file in files:
        check_infos(file.infos, str(file.source or file.path), converting=True)
    with contextlib.ExitStack() as stack:
        for file in files:
            metainfo = {
                'format': FORMAT,
                'format_version': FORMAT_VERSION,
                'dataset': file.dataset,
                'cameras': list(file.cameras),
                **file.more,
            }
            temporary = stack.enter_context(atomic_path(file.path))
            content = {'metainfo': metainfo, 'data_list': list(file.infos)}
            temporary.write_bytes(pickle.dumps(content, protocol=4))


def save_infos(
    path: str | os.PathLike,
    dataset: str,
    cameras: Sequence[str],
    infos: Sequence[Info],
    source: str | os.PathLike | None = None,
    **more: Any,
) -> None:
    """Write one info file, with the attributes of :class:`InfoFile`."""
    save_info_files([InfoFile(path, dataset, cameras, infos, source, more)])


def read_pickle(path: str | os.PathLike, hint: str) -> Any:
    """Unpickle a file that a user named; whatever a damaged pickle raises becomes :class:`InputError`."""
    path = require_file(path, hint)
    try:
        with path.open('rb') as file:
            return pickle.load(file)
    except OSError:
        raise
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise InputError(f'{path}: not a readable pickle ({type(error).__name__}: {error}); {hint}') from error


def load_infos(path: str | os.PathLike) -> tuple[dict[str, Any], list[Info]]:
    """Read and check an info file.

    Returns:
        its ``metainfo`` and the list of its records.

    Raises:
        InputError: a missing, damaged, empty or foreign file, or a bad record in it.
    """
    content = read_pickle(path, CONVERT_AGAIN)
    if not isinstance(content, dict) or 'metainfo' not in content or 'data_list' not in content:
        raise InputError(f'{path}: not an info file (no metainfo and data_list); {CONVERT_AGAIN}')
    metainfo, infos = content['metainfo'], content['data_list']
    if not isinstance(metainfo, dict) or not isinstance(infos, list):
        raise InputError(f'{path}: its metainfo is no record, or its data_list no list; {CONVERT_AGAIN}')
    if metainfo.get('format') != FORMAT:
        raise InputError(
            f'{path}: an info file of another program; convert it with tools/create_data.py nuscenes --from-info {path}'
        )
    version = metainfo.get('format_version')
    if version != FORMAT_VERSION:
        raise InputError(f'{path}: format version {version}, not {FORMAT_VERSION}; {CONVERT_AGAIN}')
    cameras, categories = metainfo.get('cameras'), metainfo.get('categories', {})
    if not isinstance(cameras, list) or not cameras or not all(isinstance(name, str) for name in cameras):
        raise InputError(f'{path}: metainfo names no cameras; {CONVERT_AGAIN}')
    if len(set(cameras)) < len(cameras):
        raise InputError(f'{path}: metainfo names a camera twice; {CONVERT_AGAIN}')
    if not isinstance(categories, dict) or not all(_is_label(label) for label in categories.values()):
        raise InputError(f'{path}: categories of metainfo are {str(categories)[:60]}, no numbers; {CONVERT_AGAIN}')
    check_infos(infos, str(path))
    if more := [name for name in infos[0]['images'] if name not in cameras and all(name in i['images'] for i in infos)]:
        warn(f'{path}: its cameras (metainfo) do not name {", ".join(more)}, which every sample has: left out')
    return metainfo, infos


def infos_digest(path: str | os.PathLike) -> str:
    """Compute a digest of which samples an info file lists, and of their cameras, poses and image files.

    Numbers count to six decimals: the same converter on another processor gives other last bits, but the same digest.

    Raises:
        InputError: as :func:`load_infos`.
    """
    metainfo, infos = load_infos(path)
    return fingerprint(metainfo=metainfo, infos=_rounded([[info[name] for name in _IDENTITY] for info in infos]))


def _rounded(value: Any) -> Any:
    """Return nested values with each number written one way: rounded, no whole number, no negative zero."""
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(one) for one in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return _rounded(value.tolist())
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return round(float(value), 6) + 0.0
    return value


def _is_label(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def lidar_measurements(info: Info, count: int) -> list[Info]:
    """List the LiDAR measurement of a keyframe, if it has one, and the first ``count - 1`` of its ``lidar_sweeps``."""
    own = [info] if info['lidar_points'] else []
    return own + info.get('lidar_sweeps', [])[: count - 1]
