"""The records of the info format as arrays, for checks of all of them at once; what is no record is refused here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..utils.errors import InputError
from .drive_checks import Drive

Info = dict[str, Any]

_INFO_FIELDS = ('token', 'scene', 'frame', 'timestamp', 'prev', 'next', 'ego2global', 'lidar2global', 'images')
_INFO_FIELDS += ('lidar_points',)
_IMAGE_FIELDS = ('img_path', 'cam2img', 'lidar2cam', 'cam2global', 'height', 'width', 'timestamp')
_LIDAR_FIELDS = ('lidar_path', 'num_pts_feats')
_FEWEST_COLUMNS = 3
# Files of each kind of map that the loaders read; features are one file.
MAP_FILES = {'teacher': ('depth', 'sky_mask'), 'truth': ('depth',)}


@dataclass(frozen=True)
class Images:
    """All images of a file, one after the other.

    Attributes:
        sample: ``(n,)`` index of each image's keyframe.
        names, labels: of cameras; labels name file and keyframe, too.
        cam2global, lidar2cam: ``(n, 4, 4)``.
        cam2img: ``(n, 3, 3)``.
        sizes: ``(n, 2)`` height, width.
        times: ``(n,)`` seconds.
        cam2ego: ``(n, 4, 4)``; None if some record lacks it.
    """

    sample: np.ndarray
    names: Sequence[str]
    labels: Sequence[str]
    cam2global: np.ndarray
    lidar2cam: np.ndarray
    cam2img: np.ndarray
    sizes: np.ndarray
    times: np.ndarray
    cam2ego: np.ndarray | None


def gather_drive(infos: Sequence[Info], where: str, hint: str) -> Drive:
    """The keyframes.

    Raises:
        InputError: names ``where``, the keyframe, the field that is missing or no number or pose, and the hint.
    """
    labels = []
    for index, info in enumerate(infos):
        label = f'{where}: sample {info.get("token", index) if isinstance(info, dict) else index}'
        require_fields(info, _INFO_FIELDS, label, hint)
        for field in ('token', 'scene'):
            _require(isinstance(info[field], str) and info[field] != '', label, field, info[field], 'a name', hint)
        for link in ('prev', 'next'):
            _require(
                info[link] is None or isinstance(info[link], str), label, link, info[link], 'a token or None', hint
            )
        _require(_is_whole(info['frame']), label, 'frame', info['frame'], 'a whole number', hint)
        _require_time(info['timestamp'], label, hint)
        _require(isinstance(info['images'], dict), label, 'images', info['images'], 'records of images', hint)
        if not info['images']:
            raise InputError(f'{label}: has no images; {hint}')
        if info['lidar_points'] is not None:
            require_points(info['lidar_points'], label, hint)
        for field in ('lidar_sweeps', 'instances'):
            _require(isinstance(info.get(field, []), list), label, field, info.get(field), 'a list of records', hint)
        labels.append(label)
    return Drive(
        _poses(infos, 'ego2global', labels, hint),
        _poses(infos, 'lidar2global', labels, hint),
        np.array([info['timestamp'] for info in infos], dtype=np.float64),
        [info['scene'] for info in infos],
        np.array([info['frame'] for info in infos]),
        labels,
    )


def gather_images(infos: Sequence[Info], sample_labels: Sequence[str], hint: str) -> Images:
    """All images, of records that :func:`gather_drive` has seen.

    Raises:
        InputError: names file, keyframe and camera, the field that is missing or wrong, and the hint.
    """
    records, names, labels, sample = [], [], [], []
    for index, info in enumerate(infos):
        for camera, image in info['images'].items():
            label = f'{sample_labels[index]}, {camera}'
            require_fields(image, _IMAGE_FIELDS, label, hint)
            path = image['img_path']
            _require(isinstance(path, str) and path != '', label, 'img_path', path, 'the name of a file', hint)
            for field in ('height', 'width'):
                _require(_is_whole(image[field]), label, field, image[field], 'a whole number of pixels', hint)
            _require_time(image['timestamp'], label, hint)
            _require_maps(image, label, hint)
            records.append(image)
            names.append(str(camera))
            labels.append(label)
            sample.append(index)
    has_ego = all('cam2ego' in image for image in records)
    return Images(
        np.array(sample),
        names,
        labels,
        _poses(records, 'cam2global', labels, hint),
        _poses(records, 'lidar2cam', labels, hint),
        stack_matrices([image['cam2img'] for image in records], (3, 3), [f'{name}: cam2img' for name in labels], hint),
        np.array([[image['height'], image['width']] for image in records], dtype=np.float64),
        np.array([image['timestamp'] for image in records], dtype=np.float64),
        _poses(records, 'cam2ego', labels, hint) if has_ego else None,
    )


def require_points(points: Any, label: str, hint: str) -> None:
    """``lidar_points`` of a keyframe or a sweep."""
    require_fields(points, _LIDAR_FIELDS, f'{label}: lidar_points', hint)
    path, columns = (points[field] for field in _LIDAR_FIELDS)
    _require(isinstance(path, str) and path != '', label, 'lidar_path', path, 'the name of a file', hint)
    enough = _is_whole(columns) and columns >= _FEWEST_COLUMNS
    _require(enough, label, 'num_pts_feats', columns, 'a number of columns (x, y, z and more)', hint)


def _require_maps(image: Info, label: str, hint: str) -> None:
    """Paths of teacher, truth and features, where there are any."""
    files = {'features': image['features']} if image.get('features') else {}
    for kind, names in MAP_FILES.items():
        if record := image.get(kind):
            require_fields(record, names, f'{label}: {kind}', hint)
            files |= {f'{kind} {name}': path for name, path in record.items()}
    for name, path in files.items():
        _require(isinstance(path, str) and path != '', label, name, path, 'the name of a file', hint)


def require_fields(record: Any, fields: Sequence[str], label: str, hint: str) -> None:
    """Refuse what is no record, and a record that lacks some of ``fields``."""
    if not isinstance(record, dict):
        raise InputError(f'{label} is no record ({str(record)[:40]!r}); {hint}')
    if missing := [field for field in fields if field not in record]:
        raise InputError(f'{label}: lacks {", ".join(missing)}; {hint}')


def require_box(box: Any, label: str, hint: str) -> None:
    """An entry of ``instances``, apart from the numbers of its ``bbox_3d``."""
    require_fields(box, ('bbox_3d',), f'{label}: an instance', hint)
    if 'bbox_label' in box:
        _require(_is_whole(box['bbox_label']), label, 'bbox_label', box['bbox_label'], 'a whole number', hint)
    if 'velocity' in box:
        velocity = _numbers(box['velocity'])
        fits = velocity is not None and velocity.shape == (2,)
        _require(fits, label, 'velocity', box['velocity'], 'two numbers', hint)


def stack_matrices(matrices: Sequence[Any], shape: tuple[int, int], labels: Sequence[str], hint: str) -> np.ndarray:
    """``(n, *shape)`` float64 of nested lists.

    Raises:
        InputError: names the label of the first that is no matrix of numbers, or of another shape, and the hint.
    """
    stacked = _numbers(matrices)
    if stacked is not None and stacked.shape[1:] == shape:
        return stacked
    for matrix, label in zip(matrices, labels, strict=True):
        found = _numbers(matrix)
        if found is None or found.shape != shape:
            what = 'no matrix of numbers' if found is None else 'empty' if not found.size else found.shape
            raise InputError(f'{label} is {what}, not {shape}; {hint}')
    raise InputError(f'{labels[0]}: no matrices of {shape}; {hint}')


def _poses(records: Sequence[Info], field: str, labels: Sequence[str], hint: str) -> np.ndarray:
    return stack_matrices([record[field] for record in records], (4, 4), [f'{name}: {field}' for name in labels], hint)


def _numbers(value: Any) -> np.ndarray | None:
    """As float64; None if it is ragged or holds anything but numbers."""
    try:
        array = np.asarray(value)
    except ValueError:
        return None
    return array.astype(np.float64) if array.dtype.kind in 'fiu' else None


def _require(fits: bool, label: str, field: str, value: Any, what: str, hint: str) -> None:
    if not fits:
        raise InputError(f'{label}: {field} is {str(value)[:40]!r}, not {what}; {hint}')


def _require_time(value: Any, label: str, hint: str) -> None:
    fits = (
        isinstance(value, (int, float, np.integer, np.floating))
        and not isinstance(value, bool)
        and math.isfinite(value)
    )
    _require(fits, label, 'timestamp', value, 'a finite number of seconds', hint)


def _is_whole(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)
