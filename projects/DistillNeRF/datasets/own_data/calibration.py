"""``cameras.json``: its format, and what it must say of every camera (``docs/OWN_DATA.md``)."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import InputError
from ...files import require_file
from ..poses import check_intrinsics, check_poses
from ..rig_checks import ORIGIN_HEIGHT, check_distinct, check_rig
from .distortion import COEFFICIENTS, Distortion

FILE_NAME = 'cameras.json'
CURE = 'correct the calibration, see docs/OWN_DATA.md'
# Axes of the vehicle's frame in those of the network's world: x right, y forward, z up.
FRAMES = {
    'rfu': np.eye(4),
    'flu': np.array([[0.0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]),
}
_FILE_KEYS = {'frame', 'origin_height', 'cameras'}
_FOCAL_KEYS = ('fx', 'fy', 'cx', 'cy')
_CAMERA_KEYS = {'name', 'image', 'width', 'height', 'intrinsics', *_FOCAL_KEYS, 'cam2vehicle', 'distortion'}


@dataclass(frozen=True)
class Calibration:
    """One image and its camera.

    Attributes:
        where: file and camera, for messages.
        name: of the camera.
        image: file.
        height, width: size in pixels for which the intrinsics hold.
        intrinsics: ``(3, 3)`` pinhole matrix.
        cam2world: ``(4, 4)`` camera to the network's world (x right, y forward, z up), metres.
        distortion: of the lens; ``None`` if the image has none.
    """

    where: str
    name: str
    image: Path
    height: int
    width: int
    intrinsics: np.ndarray
    cam2world: np.ndarray
    distortion: Distortion | None


def read_calibrations(folder: Path) -> list[Calibration]:
    """The cameras of ``folder/cameras.json``, checked, in the order of the file.

    Raises:
        InputError: names the file and the camera, what is wrong and the cure.
    """
    path = require_file(folder / FILE_NAME, 'write one as docs/OWN_DATA.md says')
    content = _content(path)
    cameras = content['cameras']
    names = [_name(camera, number, path) for number, camera in enumerate(cameras)]
    if twice := [name for number, name in enumerate(names) if name in names[:number]]:
        raise InputError(f'{path}: two cameras are called {twice[0]}; give every camera a name of its own')
    labels = [f'{path}: camera {name}' for name in names]
    for camera, where in zip(cameras, labels, strict=True):
        _check_keys(camera, _CAMERA_KEYS, {'image', 'width', 'height', 'cam2vehicle'}, where)
    sizes = [_size(camera, where) for camera, where in zip(cameras, labels, strict=True)]
    intrinsics = np.stack([_intrinsics(camera, where) for camera, where in zip(cameras, labels, strict=True)])
    poses = np.stack(
        [_matrix(camera, 'cam2vehicle', (4, 4), where) for camera, where in zip(cameras, labels, strict=True)]
    )
    distortions = [_distortion(camera, where) for camera, where in zip(cameras, labels, strict=True)]
    check_intrinsics(
        intrinsics, np.asarray(sizes, dtype=np.float64), [f'{label}: intrinsics' for label in labels], CURE
    )
    check_poses(poses, [f'{label}: cam2vehicle' for label in labels], CURE)
    cam2world = _vehicle2world(content, path) @ poses
    check_rig(intrinsics, cam2world, sizes, ORIGIN_HEIGHT, labels, CURE)
    check_distinct(cam2world[None], [labels], names, CURE)
    return [
        Calibration(where, name, folder / camera['image'], *size, matrix, pose, distortion)
        for where, name, camera, size, matrix, pose, distortion in zip(
            labels, names, cameras, sizes, intrinsics, cam2world, distortions, strict=True
        )
    ]


def _content(path: Path) -> dict[str, Any]:
    """The file, with a list of at least one camera in it."""
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except (ValueError, RecursionError) as error:  # of decoding as well
        raise InputError(f'{path}: not readable as JSON ({error}); correct it') from error
    if not isinstance(content, dict):
        raise InputError(f'{path}: holds no object {{"cameras": [...]}}; {CURE}')
    _check_keys(content, _FILE_KEYS, {'cameras'}, str(path))
    if not isinstance(content['cameras'], list) or not content['cameras']:
        raise InputError(f'{path}: names no cameras; give a list of one or more, see docs/OWN_DATA.md')
    return content


def _check_keys(record: Mapping[str, Any], known: set[str], needed: set[str], where: str) -> None:
    """Everything that is needed, and nothing that would be passed over."""
    if missing := sorted(needed - set(record)):
        raise InputError(f'{where}: lacks {", ".join(missing)}; {CURE}')
    if unknown := sorted(set(record) - known):
        raise InputError(f'{where}: {unknown[0]} is unknown; choose from {", ".join(sorted(known))}')


def _vehicle2world(content: Mapping[str, Any], path: Path) -> np.ndarray:
    """``(4, 4)`` from the file's frame to the network's world: other axes, and the road where the network knows it."""
    frame, height = content.get('frame', 'rfu'), content.get('origin_height', ORIGIN_HEIGHT)
    if not isinstance(frame, str) or frame not in FRAMES:
        raise InputError(f'{path}: frame is {frame!r}; choose one of {", ".join(FRAMES)}')
    if not _is_number(height):
        raise InputError(f'{path}: origin_height is {height!r}; give metres above the road')
    raised = np.eye(4)
    raised[2, 3] = height - ORIGIN_HEIGHT
    return raised @ FRAMES[frame]


def _name(camera: Any, number: int, path: Path) -> str:
    if not isinstance(camera, dict) or not isinstance(camera.get('name'), str) or not camera['name'].strip():
        raise InputError(f'{path}: camera number {number} has no name; {CURE}')
    if not isinstance(camera.get('image', ''), str):
        raise InputError(f'{path}: camera {camera["name"]}: image is {camera["image"]!r}; give the name of a file')
    return camera['name']


def _size(camera: Mapping[str, Any], where: str) -> tuple[int, int]:
    """(height, width)."""
    size = camera['height'], camera['width']
    if not all(isinstance(side, int) and side > 0 for side in size):
        raise InputError(f'{where}: width {size[1]!r} and height {size[0]!r} are no size; give whole pixels')
    return size


def _intrinsics(camera: Mapping[str, Any], where: str) -> np.ndarray:
    """``(3, 3)`` from a matrix or from four numbers."""
    given = [key for key in _FOCAL_KEYS if key in camera]
    if 'intrinsics' in camera:
        if given:
            raise InputError(f'{where}: has both intrinsics and {given[0]}; leave one of them')
        return _matrix(camera, 'intrinsics', (3, 3), where)
    if len(given) < len(_FOCAL_KEYS):
        raise InputError(f'{where}: lacks intrinsics, or fx, fy, cx and cy; {CURE}')
    if wrong := [key for key in given if not _is_number(camera[key], finite=False)]:
        raise InputError(f'{where}: {wrong[0]} is {camera[wrong[0]]!r}; give pixels')
    fx, fy, cx, cy = (float(camera[key]) for key in _FOCAL_KEYS)
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])


def _matrix(camera: Mapping[str, Any], key: str, shape: tuple[int, int], where: str) -> np.ndarray:
    rows, columns = shape
    try:
        matrix = np.asarray(camera[key], dtype=np.float64)
    except (TypeError, ValueError):
        matrix = np.empty(0)
    if matrix.shape != shape:
        raise InputError(f'{where}: {key} is no matrix of {rows} rows of {columns} numbers; {CURE}')
    return matrix


def _distortion(camera: Mapping[str, Any], where: str) -> Distortion | None:
    """That of the lens; none where there is none, or where it does nothing."""
    given = camera.get('distortion')
    if given is None:
        return None
    known = ', '.join(f'{name} ({" or ".join(map(str, counts))} numbers)' for name, counts in COEFFICIENTS.items())
    if (
        not isinstance(given, dict)
        or set(given) != {'model', 'coefficients'}
        or not isinstance(given['model'], str)
        or given['model'] not in COEFFICIENTS
    ):
        raise InputError(f'{where}: distortion needs coefficients and a model, {known}; {CURE}')
    values = given['coefficients']
    if (
        not isinstance(values, Sequence)
        or len(values) not in COEFFICIENTS[given['model']]
        or not all(_is_number(value) for value in values)
    ):
        raise InputError(f'{where}: distortion has the coefficients {values!r}; give those of a model, {known}')
    if not any(values):
        return None
    return Distortion(given['model'], tuple(map(float, values)))


def _is_number(value: Any, finite: bool = True) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and (not finite or math.isfinite(value))
