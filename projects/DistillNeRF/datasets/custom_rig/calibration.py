"""``cameras.json``: its format, and what it must say of every camera (``docs/OWN_DATA.md``)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...geometry.poses import check_intrinsics, check_poses, inverse_pose
from ...utils.errors import InputError
from ...utils.files import is_file, read_json, require_file
from ..rig_checks import ORIGIN_HEIGHT, check_distinct, check_rig
from .distortion import COEFFICIENTS, Distortion
from .spellings import (
    FOCAL_KEYS,
    NO_LENS,
    coefficients,
    lens_model,
    matrix,
    model_of_list,
    pinhole_matrix,
    whole_number,
)

FILE_NAME = 'cameras.json'
HINT = 'correct the calibration, see docs/OWN_DATA.md'
# Axes of the vehicle's frame in those of the network's world: x right, y forward, z up.
FRAMES = {
    'rfu': np.eye(4),
    'flu': np.array([[0.0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]),
}
_FILE_KEYS = {'frame', 'origin_height', 'cameras'}
# Other names of a key that can mean nothing else.
SYNONYMS = {'K': 'intrinsics', 'camera_matrix': 'intrinsics', 'cam2img': 'intrinsics', 'cam2ego': 'cam2vehicle'}
_CAMERA_KEYS = {'name', 'image', 'width', 'height', 'intrinsics', *FOCAL_KEYS, 'cam2vehicle', 'distortion'}


@dataclass(frozen=True)
class Calibration:
    """One image and its camera.

    Attributes:
        where: file and camera, for messages.
        name: name of the camera.
        image: file of the image.
        height, width: size in pixels for which the intrinsics hold.
        intrinsics: ``(3, 3)`` pinhole matrix.
        cam2world: ``(4, 4)`` camera to the network's world (x right, y forward, z up), meters.
        distortion: distortion of the lens; ``None`` if the image has none.
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
    """Read and check the cameras of ``folder/cameras.json``, in the order of the file.

    Raises:
        InputError: names the file and the camera, what is wrong and the hint.
    """
    path = require_file(folder / FILE_NAME, 'write one as docs/OWN_DATA.md says')
    content = _content(path)
    cameras = _listed(content['cameras'], path)
    names = [_name(camera, number, path) for number, camera in enumerate(cameras)]
    if twice := [name for number, name in enumerate(names) if name in names[:number]]:
        raise InputError(f'{path}: two cameras are called {twice[0]}; give every camera a name of its own')
    labels = [f'{path}: camera {name}' for name in names]
    labeled = list(zip(cameras, labels, strict=True))
    for camera, where in labeled:
        _check_keys(camera, _CAMERA_KEYS, {'image', 'width', 'height', 'cam2vehicle'}, where)
    sizes = [_size(camera, where) for camera, where in labeled]
    intrinsics = np.stack([_intrinsics(camera, where) for camera, where in labeled])
    poses = np.stack([_matrix(camera, 'cam2vehicle', (4, 4), where) for camera, where in labeled])
    distortions = [_distortion(camera, where) for camera, where in labeled]
    check_intrinsics(
        intrinsics, np.asarray(sizes, dtype=np.float64), [f'{label}: intrinsics' for label in labels], HINT
    )
    check_poses(poses, [f'{label}: cam2vehicle' for label in labels], HINT)
    vehicle2world = _vehicle2world(content, path)
    cam2world = vehicle2world @ poses

    def check(candidates: np.ndarray) -> None:
        check_rig(intrinsics, candidates, sizes, ORIGIN_HEIGHT, labels, HINT)

    try:
        check(cam2world)
    except InputError as error:
        raise InputError(f'{error}{pose_hint(poses, vehicle2world, check)}') from error
    check_distinct(cam2world[None], [labels], names, HINT)
    return [
        Calibration(where, name, _image_file(folder, camera['image']), *size, matrix, pose, distortion)
        for where, name, camera, size, matrix, pose, distortion in zip(
            labels, names, cameras, sizes, intrinsics, cam2world, distortions, strict=True
        )
    ]


def _content(path: Path) -> dict[str, Any]:
    """Read the file; it must name at least one camera."""
    content = read_json(path, 'correct it')
    if not isinstance(content, dict):
        raise InputError(f'{path}: holds no object {{"cameras": [...]}}; {HINT}')
    _check_keys(content, _FILE_KEYS, {'cameras'}, str(path))
    if not isinstance(content['cameras'], list | dict) or not content['cameras']:
        raise InputError(f'{path}: names no cameras; give a list of one or more, see docs/OWN_DATA.md')
    return content


def _listed(cameras: list[Any] | dict[str, Any], path: Path) -> list[Any]:
    """Return the records of the cameras, given as a list or as ``{name: camera}``, with the keys that we know."""
    if isinstance(cameras, dict):
        cameras = [{'name': name, **camera} if isinstance(camera, dict) else camera for name, camera in cameras.items()]
    return [_known_keys(camera, path) if isinstance(camera, dict) else camera for camera in cameras]


def _known_keys(camera: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Replace other names of a key in a record (:data:`SYNONYMS`)."""
    renamed: dict[str, Any] = {}
    for key, value in camera.items():
        known = SYNONYMS.get(key, key)
        if known in renamed:
            raise InputError(f'{path}: camera {camera.get("name")}: gives {known} twice, as {key}, too; leave one')
        renamed[known] = value
    return renamed


def _check_keys(record: Mapping[str, Any], known: set[str], needed: set[str], where: str) -> None:
    """Check that a record has all keys that are needed, and none that is unknown."""
    if missing := sorted(needed - set(record)):
        raise InputError(f'{where}: lacks {", ".join(missing)}; {HINT}')
    if unknown := sorted(set(record) - known):
        raise InputError(f'{where}: {unknown[0]} is unknown; choose from {", ".join(sorted(known))}')


def _vehicle2world(content: Mapping[str, Any], path: Path) -> np.ndarray:
    """Return ``(4, 4)``, frame of the file to the world of the network, in which the road lies below the LiDAR."""
    frame, height = content.get('frame', 'rfu'), content.get('origin_height', ORIGIN_HEIGHT)
    frame = frame.strip().lower() if isinstance(frame, str) else frame
    if not isinstance(frame, str) or frame not in FRAMES:
        raise InputError(f'{path}: frame is {frame!r}; choose one of {", ".join(FRAMES)}')
    if not _is_number(height):
        raise InputError(f'{path}: origin_height is {height!r}; give meters above the road')
    raised = np.eye(4)
    raised[2, 3] = height - ORIGIN_HEIGHT
    return raised @ FRAMES[frame]


def _name(camera: Any, number: int, path: Path) -> str:
    """Return the name of a camera; raise :class:`InputError` if it or its image has none."""
    name = camera.get('name') if isinstance(camera, dict) else None
    if isinstance(name, int) and not isinstance(name, bool):
        name = str(name)
    if not isinstance(name, str) or not name.strip():
        raise InputError(f'{path}: camera number {number} has no name; {HINT}')
    if not isinstance(camera.get('image', ''), str):
        raise InputError(f'{path}: camera {name}: image is {camera["image"]!r}; give the name of a file')
    return name


def _image_file(folder: Path, name: str) -> Path:
    """Return the file of an image, whose name may have the separators of Windows or begin with ``~``."""
    path = folder / Path(name).expanduser()
    return path if is_file(path) else folder / name.replace('\\', '/')


def _size(camera: Mapping[str, Any], where: str) -> tuple[int, int]:
    """Return (height, width) of a camera."""
    height, width = whole_number(camera['height']), whole_number(camera['width'])
    if height is None or width is None or min(height, width) <= 0:
        raise InputError(
            f'{where}: width {camera["width"]!r} and height {camera["height"]!r} are no size; give whole pixels'
        )
    return height, width


def _intrinsics(camera: Mapping[str, Any], where: str) -> np.ndarray:
    """Return the pinhole matrix ``(3, 3)`` of a camera, given as a matrix or as four numbers."""
    given = [key for key in FOCAL_KEYS if key in camera]
    if 'intrinsics' in camera:
        if given:
            raise InputError(f'{where}: has both intrinsics and {given[0]}; leave one of them')
        if (found := pinhole_matrix(camera['intrinsics'])) is None:
            raise InputError(f'{where}: intrinsics is no matrix of 3 rows of 3 numbers, nor fx, fy, cx, cy; {HINT}')
        return found
    if len(given) < len(FOCAL_KEYS):
        raise InputError(f'{where}: lacks intrinsics, or fx, fy, cx and cy; {HINT}')
    if wrong := [key for key in given if not _is_number(camera[key], finite=False)]:
        raise InputError(f'{where}: {wrong[0]} is {camera[wrong[0]]!r}; give pixels')
    fx, fy, cx, cy = (float(camera[key]) for key in FOCAL_KEYS)
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])


def _matrix(camera: Mapping[str, Any], key: str, shape: tuple[int, int], where: str) -> np.ndarray:
    """Return a matrix of a camera; raise :class:`InputError` if it has another shape."""
    rows, columns = shape
    if (found := matrix(camera[key], shape)) is None:
        raise InputError(f'{where}: {key} is no matrix of {rows} rows of {columns} numbers; {HINT}')
    return found


def _distortion(camera: Mapping[str, Any], where: str) -> Distortion | None:
    """Return the distortion of the lens of a camera; None if it has none, or one that does nothing."""
    given = camera.get('distortion')
    if given is None:
        return None
    if isinstance(given, str):
        given = {'model': given}
    elif not isinstance(given, dict):
        given = {'model': model_of_list(given), 'coefficients': given}
    model = lens_model(given.get('model'))
    lacks = 'coefficients' not in given and model != NO_LENS
    if model is None or lacks or set(given) - {'model', 'coefficients'}:
        raise InputError(f'{where}: distortion needs coefficients and a model, {_known_models()}; {HINT}')
    values = given.get('coefficients')
    found = coefficients([] if values is None else values, model)
    if found is None:
        raise InputError(
            f'{where}: distortion has the coefficients {values!r}; give those of a model, {_known_models()}'
        )
    return Distortion(model, found) if found else None


def _known_models() -> str:
    """List the distortion models, for messages."""
    return ', '.join(f'{name} ({" or ".join(map(str, counts))} numbers)' for name, counts in COEFFICIENTS.items())


def _is_number(value: Any, finite: bool = True) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and (not finite or math.isfinite(value))


OPENGL = np.diag([1.0, -1, -1, 1])


def pose_hint(poses: np.ndarray, vehicle2world: np.ndarray, check: Callable[[np.ndarray], None]) -> str:
    """Say, in parentheses, how to correct ``cam2vehicle`` so that all cameras can be those of a car.

    Empty if no correction, or more than one, makes them fit.

    Args:
        poses: ``(n, 4, 4)`` rigid poses, camera to vehicle, as given.
        vehicle2world: ``(4, 4)`` frame of the vehicle to the world of the network.
        check: raises :class:`InputError` for poses ``(n, 4, 4)``, camera to world, that cannot be right.
    """
    millimeters = poses.copy()
    millimeters[:, :3, 3] /= 1000
    candidates = {
        'they fit a car if cam2vehicle is inverted: vehicle to camera was given': inverse_pose(poses),
        "they fit a car if cam2vehicle has OpenGL's axes: negate its second and third column": poses @ OPENGL,
        'they fit a car if cam2vehicle is inverted, and its second and third column then negated (OpenGL)': (
            inverse_pose(poses) @ OPENGL
        ),
        'they fit a car if the positions are in millimeters: divide them by 1000': millimeters,
    }
    fitting = [hint for hint, candidate in candidates.items() if _passes(vehicle2world @ candidate, check)]
    return f' ({fitting[0]})' if len(fitting) == 1 else ''


def _passes(cam2world: np.ndarray, check: Callable[[np.ndarray], None]) -> bool:
    """Tell whether poses pass a check."""
    try:
        check(cam2world)
    except InputError:
        return False
    return True
