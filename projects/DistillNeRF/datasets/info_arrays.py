"""The fields of the info format, and its records as arrays that can be checked all at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..utils.errors import InputError
from .drive_checks import Drive

Info = dict[str, Any]

# Files of each kind of map that the loaders read; features are one file.
MAP_FILES = {'teacher': ('depth', 'sky_mask'), 'truth': ('depth',)}


@dataclass(frozen=True)
class FieldType:
    """What the value of a field must be.

    Attributes:
        fits: tells whether a value is right.
        words: what it must be, for messages.
    """

    fits: Callable[[Any], bool]
    words: str


def is_name(value: Any) -> bool:
    """Tell whether a value is a string that is not empty."""
    return isinstance(value, str) and value != ''


def is_whole(value: Any) -> bool:
    """Tell whether a value is a whole number."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def is_finite(value: Any) -> bool:
    """Tell whether a value is a finite number."""
    is_number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    return is_number and math.isfinite(value)


def _is_velocity(value: Any) -> bool:
    numbers = _numbers(value)
    return numbers is not None and numbers.shape == (2,)


def _are_origins(value: Any) -> bool:
    numbers = _numbers(value)
    return numbers is not None and numbers.ndim == 2 and numbers.shape[1] == 3 and bool(np.isfinite(numbers).all())


def _are_speeds(value: Any) -> bool:
    numbers = _numbers(value)
    return numbers is not None and numbers.ndim == 1 and not bool((numbers < 0).any())


NAME = FieldType(is_name, 'a name')
FILE = FieldType(is_name, 'the name of a file')
LINK = FieldType(lambda value: value is None or isinstance(value, str), 'a token or None')
WHOLE = FieldType(is_whole, 'a whole number')
PIXELS = FieldType(is_whole, 'a whole number of pixels')
SECONDS = FieldType(is_finite, 'a finite number of seconds')
COLUMNS = FieldType(lambda value: is_whole(value) and value >= 3, 'a number of columns (x, y, z and more)')
RECORDS = FieldType(lambda value: isinstance(value, list), 'a list of records')
IMAGES = FieldType(lambda value: isinstance(value, dict), 'records of images')
COLUMN = FieldType(lambda value: value is None or (is_whole(value) and value >= 3), 'the number of a column or None')
SPEEDS = FieldType(_are_speeds, 'a list of speeds, 0 or more m/s or NaN')
ORIGINS = FieldType(_are_origins, 'a list of finite positions (x, y, z), one per sensor')
VELOCITIES = FieldType(_are_origins, 'a list of finite velocities (x, y, z), one per sensor')
VELOCITY = FieldType(_is_velocity, 'two numbers')
# Poses, matrices and records, which are checked on their own.
ANYTHING = FieldType(lambda value: True, 'anything')

INFO_FIELDS = {
    **dict.fromkeys(('token', 'scene'), NAME),
    **dict.fromkeys(('prev', 'next'), LINK),
    'frame': WHOLE,
    'timestamp': SECONDS,
    **dict.fromkeys(('ego2global', 'lidar2global'), ANYTHING),
    'images': IMAGES,
    'lidar_points': ANYTHING,
}
OPTIONAL_INFO_FIELDS = {
    **{'lidar_sweeps': RECORDS, 'instances': RECORDS, 'image_sweeps': IMAGES},
    'instance_speeds': SPEEDS,
}
IMAGE_FIELDS = {
    'img_path': FILE,
    **dict.fromkeys(('cam2img', 'lidar2cam', 'cam2global'), ANYTHING),
    **dict.fromkeys(('height', 'width'), PIXELS),
    'timestamp': SECONDS,
}
IMAGE_SWEEP_FIELDS = {
    'img_path': FILE,
    **dict.fromkeys(('cam2img', 'cam2ego', 'cam2global'), ANYTHING),
    **dict.fromkeys(('height', 'width'), PIXELS),
    'timestamp': SECONDS,
}
POINT_FIELDS = {'lidar_path': FILE, 'num_pts_feats': COLUMNS}
OPTIONAL_POINT_FIELDS = {
    **{'origins': ORIGINS, 'sensor_column': COLUMN, 'time_column': COLUMN},
    **{'origins_velocity': VELOCITIES, 'origins_delay': SECONDS},
}
SWEEP_FIELDS = dict.fromkeys(('lidar_points', 'lidar2global'), ANYTHING)
BOX_FIELDS = {'bbox_3d': ANYTHING}
OPTIONAL_BOX_FIELDS = {'bbox_label': WHOLE, 'velocity': VELOCITY}


@dataclass(frozen=True)
class Images:
    """All images of a file, one after the other.

    Attributes:
        sample: ``(n,)`` index of the keyframe of each image.
        names: name of the camera of each image.
        labels: file, keyframe and camera of each image, for messages.
        cam2global, lidar2cam: ``(n, 4, 4)`` poses, meters.
        cam2img: ``(n, 3, 3)`` pinhole matrices.
        sizes: ``(n, 2)`` height and width, pixels.
        times: ``(n,)`` seconds.
        cam2ego: ``(n, 4, 4)`` poses, meters; None if some record lacks it.
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
    """Gather the keyframes of all records.

    Args:
        infos: the records.
        where: the info file, for messages.
        hint: what to do about a wrong record, for messages.

    Raises:
        InputError: names ``where``, the keyframe, the field that is missing or wrong, and the hint.
    """
    labels = []
    for index, info in enumerate(infos):
        label = f'{where}: sample {info.get("token", index) if isinstance(info, dict) else index}'
        check_fields(info, INFO_FIELDS, label, hint)
        if not info['images']:
            raise InputError(f'{label}: has no images; {hint}')
        if info['lidar_points'] is not None:
            check_points(info['lidar_points'], label, hint)
        check_values(info, OPTIONAL_INFO_FIELDS, label, hint)
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
    """Gather all images of records that :func:`gather_drive` has checked.

    Args:
        infos: the records.
        sample_labels: file and keyframe of each record, for messages.
        hint: what to do about a wrong record, for messages.

    Raises:
        InputError: names file, keyframe and camera, the field that is missing or wrong, and the hint.
    """
    records, names, labels, sample = [], [], [], []
    for index, info in enumerate(infos):
        for camera, image in info['images'].items():
            label = f'{sample_labels[index]}, {camera}'
            check_fields(image, IMAGE_FIELDS, label, hint)
            _check_maps(image, label, hint)
            records.append(image)
            names.append(str(camera))
            labels.append(label)
            sample.append(index)
        _check_image_sweeps(info, sample_labels[index], hint)
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


def check_fields(
    record: Any, fields: Mapping[str, FieldType], label: str, hint: str, within: str | None = None
) -> None:
    """Check that a record has all fields, and that their values are right.

    Args:
        record: what should be a record.
        fields: the fields that it must have.
        label: file, keyframe and camera, for messages.
        hint: what to do, for messages.
        within: what the record is a part of, where ``label`` does not say it.

    Raises:
        InputError: no record, or the first field that is missing or wrong.
    """
    where = label if within is None else f'{label}: {within}'
    if not isinstance(record, dict):
        raise InputError(f'{where} is no record ({str(record)[:40]!r}); {hint}')
    if missing := [field for field in fields if field not in record]:
        raise InputError(f'{where}: lacks {", ".join(missing)}; {hint}')
    check_values(record, fields, label, hint)


def check_values(record: Info, fields: Mapping[str, FieldType], label: str, hint: str) -> None:
    """Check the values of those fields that a record has.

    Raises:
        InputError: names the first field that is wrong, what it must be, and the hint.
    """
    for field, kind in fields.items():
        if field in record and not kind.fits(record[field]):
            raise InputError(f'{label}: {field} is {str(record[field])[:40]!r}, not {kind.words}; {hint}')


def check_points(points: Any, label: str, hint: str) -> None:
    """Check ``lidar_points`` of a keyframe or a sweep."""
    check_fields(points, POINT_FIELDS, label, hint, 'lidar_points')
    label = f'{label}: lidar_points'
    check_values(points, OPTIONAL_POINT_FIELDS, label, hint)
    column, sensors = points.get('sensor_column'), len(points.get('origins', [0]))
    if (column is None and sensors != 1) or not sensors or (column is not None and 'origins' not in points):
        raise InputError(f'{label}: has origins of {sensors} sensors, and sensor_column is {column}; {hint}')
    if column is not None and column >= points['num_pts_feats']:
        raise InputError(f'{label}: sensor_column is {column}, of {points["num_pts_feats"]} columns (from 0); {hint}')
    _check_point_times(points, label, hint)


def _check_point_times(points: Info, label: str, hint: str) -> None:
    """Check where points have their time, and how the origins of their beams move."""
    column, sensors = points.get('time_column'), len(points.get('origins', []))
    if column is not None and column >= points['num_pts_feats']:
        raise InputError(f'{label}: time_column is {column}, of {points["num_pts_feats"]} columns (from 0); {hint}')
    if column is not None and column == points.get('sensor_column'):
        raise InputError(f'{label}: time_column and sensor_column are both {column}; {hint}')
    if 'origins_velocity' in points and (column is None or len(points['origins_velocity']) != sensors):
        raise InputError(
            f'{label}: has origins_velocity of {len(points["origins_velocity"])} sensors, origins of {sensors}, and '
            f'time_column is {column}; {hint}'
        )


def check_box(box: Any, label: str, hint: str) -> None:
    """Check an entry of ``instances``, apart from the numbers of its ``bbox_3d``."""
    check_fields(box, BOX_FIELDS, label, hint, 'an instance')
    check_values(box, OPTIONAL_BOX_FIELDS, label, hint)


def _check_image_sweeps(info: Info, sample_label: str, hint: str) -> None:
    """Check the fields of the images since the keyframe before."""
    for camera, images in info.get('image_sweeps', {}).items():
        label = f'{sample_label}, {camera}'
        if camera not in info['images']:
            raise InputError(f'{label}: has image_sweeps, but no image of the keyframe; {hint}')
        check_values({'image_sweeps': images}, {'image_sweeps': RECORDS}, label, hint)
        for number, image in enumerate(images):
            check_fields(image, IMAGE_SWEEP_FIELDS, f'{label}, image sweep {number}', hint)


def _check_maps(image: Info, label: str, hint: str) -> None:
    """Check the paths of teacher, truth and features, where there are any."""
    files = {'features': image['features']} if image.get('features') else {}
    for kind, names in MAP_FILES.items():
        if record := image.get(kind):
            check_fields(record, dict.fromkeys(names, ANYTHING), label, hint, kind)
            files |= {f'{kind} {name}': path for name, path in record.items()}
    check_values(files, dict.fromkeys(files, FILE), label, hint)


def stack_matrices(matrices: Sequence[Any], shape: tuple[int, int], labels: Sequence[str], hint: str) -> np.ndarray:
    """Stack nested lists as ``(n, *shape)`` float64.

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
    """Stack one pose of every record as ``(n, 4, 4)``."""
    return stack_matrices([record[field] for record in records], (4, 4), [f'{name}: {field}' for name in labels], hint)


def _numbers(value: Any) -> np.ndarray | None:
    """Return a nested list as float64; None if it is ragged or holds anything but numbers."""
    try:
        array = np.asarray(value)
    except ValueError:
        return None
    return array.astype(np.float64) if array.dtype.kind in 'fiu' else None
