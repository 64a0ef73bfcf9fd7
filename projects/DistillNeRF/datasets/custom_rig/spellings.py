"""Other spellings of a calibration: those of other programs, and variants that people type."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .distortion import COEFFICIENTS

# Names of the models elsewhere (ROS, Kalibr, COLMAP, librealsense, Basalt), without case, spaces and hyphens.
NO_LENS = 'none'
_MODELS = {
    'opencv': 'opencv fullopencv plumbbob rationalpolynomial rational radtan radialtangential brown brownconrady '
    'pinhole pinholeradtan perspective',
    'fisheye': 'fisheye opencvfisheye equidistant equi pinholeequi kannalabrandt kannalabrandt4 kb kb4',
    NO_LENS: 'none no undistorted ideal perfect',
}
_MODEL_OF = {name: model for model, names in _MODELS.items() for name in names.split()}
FOCAL_KEYS = ('fx', 'fy', 'cx', 'cy')


def numbers(value: Any) -> np.ndarray | None:
    """Return an array of float64, also of ``{"data": [...]}`` (OpenCV's and ROS' files); ``None`` if it is none."""
    if isinstance(value, Mapping):
        value = value.get('data')
    try:
        found = np.asarray(value)
    except ValueError:  # rows of different lengths
        return None
    return found.astype(np.float64) if found.dtype.kind in 'iuf' else None


def matrix(value: Any, shape: tuple[int, int]) -> np.ndarray | None:
    """Return a matrix, given as rows or as one list, row by row; ``None`` if it has another shape."""
    found = numbers(value)
    if found is None or found.size != shape[0] * shape[1]:
        return None
    is_flat = found.size == max(found.shape, default=0)
    return found.reshape(shape) if is_flat or found.shape == shape else None


def pinhole_matrix(value: Any) -> np.ndarray | None:
    """Return a pinhole matrix ``(3, 3)``; ``None`` if it is none.

    It may be given as a matrix, as fx, fy, cx, cy (a list or named), or as a projection matrix without motion.
    """
    if isinstance(value, Mapping) and set(value) == set(FOCAL_KEYS):
        value = [value[key] for key in FOCAL_KEYS]
    found = numbers(value)
    if found is None:
        return None
    if found.shape in ((3, 4), (4, 4)) and np.array_equal(found[:, 3], np.eye(4)[: len(found), 3] * (len(found) == 4)):
        return found[:3, :3]
    if found.size == len(FOCAL_KEYS) and max(found.shape) == found.size:
        fx, fy, cx, cy = found.ravel()
        return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    return matrix(value, (3, 3))


def whole_number(value: Any) -> int | None:
    """Return a whole number, also written as ``1600.0``; ``None`` if it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
        return None
    return int(value) if value == int(value) else None


def lens_model(name: Any) -> str | None:
    """Return OpenCV's name of a distortion model, or :data:`NO_LENS`; ``None`` for one that OpenCV lacks."""
    return _MODEL_OF.get(re.sub(r'[\W_]+', '', name).lower()) if isinstance(name, str) else None


def model_of_list(values: Any) -> str | None:
    """Return the model of coefficients without a name; ``None`` for four, which both models can have."""
    found = numbers(values)
    return None if found is not None and found.size in COEFFICIENTS['fisheye'] and found.any() else 'opencv'


def coefficients(values: Any, model: str) -> tuple[float, ...] | None:
    """Return the shortest list that means the same to ``model``, without zeros at the end that other models need.

    They may be given as a list, or as one row or one column. ``None`` if the model takes no such list.
    """
    found = numbers(values)
    if found is None or not np.isfinite(found).all() or (found.size and found.size != max(found.shape, default=0)):
        return None
    found = found.ravel()
    if not found.any() and found.size in (0, *_lengths()):
        return ()
    used = int(np.flatnonzero(found).max(initial=-1)) + 1
    fitting = [length for length in COEFFICIENTS.get(model, ()) if used <= length <= found.size]
    return tuple(found[: fitting[0]].tolist()) if fitting and found.size in _lengths() else None


def _lengths() -> Sequence[int]:
    """Return the numbers of coefficients that any model takes."""
    return sorted({length for lengths in COEFFICIENTS.values() for length in lengths})
