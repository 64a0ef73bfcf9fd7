"""Read grids of Occ3D-nuScenes and predictions of the same form, and find which belong together.

A grid is class numbers ``(200, 200, 16)`` of :data:`...semantics.classes.OCC3D_CLASSES` (17 is free) along x, y, z of
the ego frame (:mod:`...semantics.occ3d`), in an ``.npz`` file under the name ``semantics``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...semantics.classes import OCC3D_CLASSES
from ...semantics.occ3d import SHAPE
from ...utils.errors import InputError
from ...utils.files import atomic_path, is_folder, require_file

KEY = 'semantics'
MASKS = ('camera', 'lidar')
LABEL_FILE = 'labels.npz'
LABELS_AGAIN = 'copy the file of Occ3D-nuScenes again'
SAVE_AGAIN = 'write it with numpy.savez_compressed(FILE, semantics=GRID)'


@dataclass(frozen=True)
class Labels:
    """The true grid of a frame.

    Attributes:
        semantics: ``(200, 200, 16)`` uint8.
        mask: bool of the same shape, the voxels that count; None if no mask was asked for.
        origins: ``(n, 3)`` places of the LiDAR in the ego frame, meters, from which RayIoU looks; None if the file has
            none, as those of Occ3D.
    """

    semantics: np.ndarray
    mask: np.ndarray | None
    origins: np.ndarray | None


@dataclass(frozen=True)
class OccupancyRecord:
    """What a data sample knows of its true grid, before that is read.

    Attributes:
        labels: the file, which may be missing.
        ego2lidar: ``(4, 4)`` pose of the ego frame, in which the grid is, in the LiDAR frame, in which the scene is.
        origins: ``(n, 3)`` where rays of RayIoU start: places of the LiDAR along the drive, meters, ego frame.
    """

    labels: Path
    ego2lidar: np.ndarray
    origins: np.ndarray


@dataclass(frozen=True)
class Frame:
    """A frame of which there are labels and a prediction."""

    scene: str
    token: str
    labels: Path
    prediction: Path


@dataclass(frozen=True)
class Matches:
    """What :func:`match_frames` found.

    Attributes:
        frames: in order of scene and token.
        missing: ``SCENE/TOKEN`` of the labels that have no prediction.
        others: predictions of no frame of the labels.
    """

    frames: list[Frame]
    missing: list[str]
    others: list[Path]


def read_labels(path: str | os.PathLike, mask: str | None = None) -> Labels:
    """Read the labels of a frame.

    Args:
        path: ``labels.npz``.
        mask: one of :data:`MASKS`, or None: read none.

    Raises:
        InputError: the file is missing, damaged, or holds something else.
    """
    name = None if mask is None else f'mask_{mask}'
    arrays = _read_arrays(path, (KEY, *filter(None, [name])), ('origins',), LABELS_AGAIN)
    return Labels(
        _class_numbers(arrays[KEY], path, LABELS_AGAIN),
        None if name is None else _mask(arrays[name], name, path),
        _origins(arrays['origins'], path) if 'origins' in arrays else None,
    )


def read_prediction(path: str | os.PathLike) -> np.ndarray:
    """Read the predicted grid ``(200, 200, 16)`` uint8 of a frame.

    Raises:
        InputError: the file is missing, damaged, or holds something else.
    """
    return _class_numbers(_read_arrays(path, (KEY,), (), SAVE_AGAIN)[KEY], path, SAVE_AGAIN)


def save_prediction(path: str | os.PathLike, grid: np.ndarray) -> None:
    """Write a predicted grid as :func:`read_prediction` reads it, atomically."""
    with atomic_path(path) as temporary:
        np.savez_compressed(temporary, **{KEY: grid})


def label_file(labels: str | os.PathLike, scene: str, token: str) -> Path:
    """Return the file of a frame in a folder of labels."""
    return Path(labels) / scene / token / LABEL_FILE


def match_frames(labels: str | os.PathLike, predictions: str | os.PathLike) -> Matches:
    """Find all labels of a folder, and the predictions of the same frames.

    Args:
        labels: folder of ``SCENE/TOKEN/labels.npz``, such as ``gts`` of Occ3D-nuScenes.
        predictions: folder of ``SCENE/TOKEN.npz`` or ``SCENE/TOKEN/labels.npz``.

    Raises:
        InputError: no such folder, no labels, no prediction at all, or two of one frame.
    """
    labels, predictions = Path(labels), Path(predictions)
    for folder in (labels, predictions):
        if not is_folder(folder):
            raise InputError(f'{folder}: no such folder; give the folder of labels, then that of predictions')
    found = sorted(labels.glob(f'*/*/{LABEL_FILE}'))
    if not found:
        raise InputError(f'{labels}: no SCENE/TOKEN/{LABEL_FILE} in it; give the folder gts of Occ3D-nuScenes')
    frames, missing = [], []
    for path in found:
        scene, token = path.parts[-3:-1]
        prediction = _prediction_of(predictions / scene, token)
        if prediction is None:
            missing.append(f'{scene}/{token}')
        else:
            frames.append(Frame(scene, token, path, prediction))
    if not frames:
        first = predictions / f'{missing[0]}.npz'
        raise InputError(
            f'{first}: no such file, nor any other prediction of the {len(found)} frames of {labels}; '
            f'name the files SCENE/TOKEN.npz or SCENE/TOKEN/{LABEL_FILE}'
        )
    there = {*predictions.glob('*/*.npz'), *predictions.glob(f'*/*/{LABEL_FILE}')}
    return Matches(frames, missing, sorted(there - {frame.prediction for frame in frames}))


def _prediction_of(folder: Path, token: str) -> Path | None:
    """Return the file of a frame in the folder of its scene."""
    there = [path for path in (folder / f'{token}.npz', folder / token / LABEL_FILE) if path.is_file()]
    if len(there) > 1:
        raise InputError(f'{there[0]}: {there[1]} is a prediction of the same frame; remove one of them')
    return there[0] if there else None


def _read_arrays(
    path: str | os.PathLike, needed: tuple[str, ...], optional: tuple[str, ...], hint: str
) -> dict[str, np.ndarray]:
    """Read some arrays of an ``.npz`` file."""
    path = require_file(path, hint)
    try:
        with np.load(path, allow_pickle=False) as file:
            names = set(file.files)
            arrays = {name: file[name] for name in (*needed, *optional) if name in names}
    except Exception as error:  # a damaged archive can raise nearly anything, and a plain .npy is no archive
        raise InputError(f'{path}: not a readable .npz file ({type(error).__name__}: {error}); {hint}') from error
    for name in needed:
        if name not in arrays:
            other = ' or go without it (--mask none, OccupancyMetric: mask=None)' if name.startswith('mask_') else ''
            raise InputError(f'{path}: has no {name}, only {", ".join(sorted(names)) or "nothing"}; {hint}{other}')
    return arrays


def _class_numbers(grid: np.ndarray, path: str | os.PathLike, hint: str) -> np.ndarray:
    """Check class numbers, and return them as uint8."""
    if grid.dtype.kind not in 'ui':
        raise InputError(f'{path}: {KEY} are {grid.dtype}, not class numbers; save them as uint8')
    if grid.shape != SHAPE:
        raise InputError(f'{path}: {KEY} have the shape {grid.shape}, not {SHAPE} along x, y, z; {hint}')
    last = len(OCC3D_CLASSES) - 1
    low, high = int(grid.min()), int(grid.max())
    if low < 0 or high > last:
        wrong = low if low < 0 else high
        raise InputError(f'{path}: {KEY} have a class {wrong}, but classes are 0 to {last}, {last} is free; {hint}')
    return np.ascontiguousarray(grid, np.uint8)


def _mask(mask: np.ndarray, name: str, path: str | os.PathLike) -> np.ndarray:
    """Check a mask of zeros and ones, and return it as bool."""
    if mask.shape != SHAPE or mask.dtype.kind not in 'uib' or mask.min() < 0 or mask.max() > 1:
        about = f'{mask.dtype} of the shape {mask.shape}'
        raise InputError(f'{path}: {name} is {about}, not zeros and ones {SHAPE}; {LABELS_AGAIN}')
    return mask.astype(bool)


def _origins(origins: np.ndarray, path: str | os.PathLike) -> np.ndarray:
    """Check places of the LiDAR, and return them as float64."""
    fits = origins.ndim == 2 and origins.shape[1] == 3 and len(origins) > 0 and origins.dtype.kind in 'fui'
    if not fits or not np.isfinite(origins).all():
        about = f'{origins.dtype} of the shape {origins.shape}'
        raise InputError(f'{path}: origins is {about}, not finite meters (n, 3) in the ego frame; leave it out')
    return origins.astype(np.float64)
