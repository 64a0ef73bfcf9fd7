"""The one info format: what converters write and the dataset class reads (``docs/DATA.md``).

A pickle ``{'metainfo': {...}, 'data_list': [info, ...]}`` with the fields of mmdet3d's v2 infos plus scene, links
to the neighbour keyframes, exact camera poses and the paths of teacher and truth. All paths are relative.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import InputError
from ..files import atomic_path, require_file
from .poses import check_intrinsics, check_poses

FORMAT = 'distillnerf'
FORMAT_VERSION = 1
CONVERT_AGAIN = 'convert the data again with tools/create_data.py'

Info = dict[str, Any]

_INFO_FIELDS = ('token', 'scene', 'frame', 'timestamp', 'prev', 'next', 'ego2global', 'lidar2global', 'images')
_IMAGE_FIELDS = ('img_path', 'cam2img', 'lidar2cam', 'cam2global', 'height', 'width', 'timestamp')


def save_infos(
    path: str | os.PathLike, dataset: str, cameras: Sequence[str], infos: Sequence[Info], **more: Any
) -> None:
    """Check the records and write them as one pickle, whole or not at all.

    Args:
        path: the pickle to write.
        dataset: name of the data set, such as ``nuscenes``.
        cameras: camera names in ring order: front left, front, front right, back right, back, back left.
        infos: one record per keyframe, in order of scene and time.
        more: further entries of ``metainfo``.
    """
    check_infos(infos, str(path))
    metainfo = {
        'format': FORMAT,
        'format_version': FORMAT_VERSION,
        'dataset': dataset,
        'cameras': list(cameras),
        **more,
    }
    with atomic_path(path) as temporary, temporary.open('wb') as file:
        pickle.dump({'metainfo': metainfo, 'data_list': list(infos)}, file, protocol=4)


def read_pickle(path: str | os.PathLike, cure: str) -> Any:
    """Unpickle a file that a user named; whatever a damaged pickle raises becomes :class:`InputError`."""
    path = require_file(path, cure)
    try:
        with path.open('rb') as file:
            return pickle.load(file)
    except OSError:
        raise
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise InputError(f'{path}: not a readable pickle ({type(error).__name__}: {error}); {cure}') from error


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
    if metainfo.get('format') != FORMAT:
        raise InputError(
            f'{path}: an info file of another program; convert it with tools/create_data.py nuscenes --from-info {path}'
        )
    version = metainfo.get('format_version')
    if version != FORMAT_VERSION:
        raise InputError(f'{path}: format version {version}, not {FORMAT_VERSION}; {CONVERT_AGAIN}')
    if not metainfo.get('cameras'):
        raise InputError(f'{path}: metainfo names no cameras; {CONVERT_AGAIN}')
    check_infos(infos, str(path))
    return metainfo, infos


def lidar_measurements(info: Info, count: int) -> list[Info]:
    """The keyframe's own LiDAR measurement, if it has one, and the first ``count - 1`` of its ``lidar_sweeps``."""
    own = [info] if info['lidar_points'] else []
    return own + info.get('lidar_sweeps', [])[: count - 1]


def check_infos(infos: Sequence[Info], where: str) -> None:
    """Check every record: fields, links, rigid poses, plausible intrinsics, everything finite.

    Raises:
        InputError: names ``where``, the token and the camera of the first bad record, and the cure.
    """
    if not infos:
        raise InputError(f'{where}: holds no samples; {CONVERT_AGAIN}')
    poses: list[Any] = []
    pose_labels: list[str] = []
    intrinsics: list[Any] = []
    sizes: list[tuple[int, int]] = []
    camera_labels: list[str] = []
    for index, info in enumerate(infos):
        label = f'{where}: sample {info.get("token", index)}'
        _require_fields(info, _INFO_FIELDS, label)
        poses += [info['ego2global'], info['lidar2global']]
        pose_labels += [f'{label}: ego2global', f'{label}: lidar2global']
        for camera, image in info['images'].items():
            label_camera = f'{label}, {camera}'
            _require_fields(image, _IMAGE_FIELDS, label_camera)
            poses += [image['cam2global'], image['lidar2cam']]
            pose_labels += [f'{label_camera}: cam2global', f'{label_camera}: lidar2cam']
            intrinsics.append(image['cam2img'])
            sizes.append((image['height'], image['width']))
            camera_labels.append(f'{label_camera}: cam2img')
    check_poses(_stack(poses, (4, 4), pose_labels), pose_labels)
    check_intrinsics(_stack(intrinsics, (3, 3), camera_labels), np.asarray(sizes, dtype=np.float64), camera_labels)
    _check_links(infos, where)


def _require_fields(record: dict[str, Any], fields: Sequence[str], label: str) -> None:
    missing = [field for field in fields if field not in record]
    if missing:
        raise InputError(f'{label}: lacks {", ".join(missing)}; {CONVERT_AGAIN}')


def _stack(matrices: Sequence[Any], shape: tuple[int, int], labels: Sequence[str]) -> np.ndarray:
    try:
        stacked = np.asarray(matrices, dtype=np.float64)
    except (TypeError, ValueError):
        stacked = np.empty(0)
    if stacked.shape[1:] == shape:
        return stacked
    for matrix, label in zip(matrices, labels, strict=True):
        try:
            found = np.shape(np.asarray(matrix, dtype=np.float64))
        except (TypeError, ValueError):
            found = 'not a matrix of numbers'
        if found != shape:
            raise InputError(f'{label} is {found}, not {shape}; {CONVERT_AGAIN}')
    raise InputError(f'{labels[0]}: no matrices of {shape}; {CONVERT_AGAIN}')


def _check_links(infos: Sequence[Info], where: str) -> None:
    scenes = {info['token']: info['scene'] for info in infos}
    if len(scenes) != len(infos):
        raise InputError(f'{where}: two samples share a token; {CONVERT_AGAIN}')
    for info in infos:
        for link in ('prev', 'next'):
            if info[link] is not None and scenes.get(info[link]) != info['scene']:
                raise InputError(
                    f'{where}: sample {info["token"]}: {link} leads to {info[link]}, which is not in its scene; '
                    f'{CONVERT_AGAIN}'
                )
