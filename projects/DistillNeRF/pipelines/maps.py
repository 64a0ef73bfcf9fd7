"""Read the maps of a teacher, of a foundation model or of the truth of a synthetic world."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from mmdet3d.registry import TRANSFORMS
from PIL import Image

from ..datasets.file_checks import MAP_HINTS
from ..datasets.image_files import subsample
from ..utils.errors import InputError
from ..utils.files import require_file
from .class_codes import read_true_classes, seen_classes

# Objects that go slower stand still, m/s.
SLOWEST = 0.2
# A camera of a car sees the road nearer than this, and something beyond that, meters: a truck may stand 1.2 m away.
# Inverse depth, and shares of a range, stay below.
FARTHEST_ROAD, NEAREST_VIEW = 200.0, 1.0
# Percent of the pixels that may be wrong, and share of zeros.
NEAR_PERCENT, MOST_ZEROS = 1, 0.1
# Share of sky in a tenth of the rows that is as good as none.
LITTLE_SKY = 0.1


def read_map(path: str | Path, dimensions: int, hint: str, skip_missing: bool = False) -> np.ndarray | None:
    """Read an array ``.npy`` as float32.

    Args:
        path: the file.
        dimensions: how many axes it must have.
        hint: how to make the file, for messages.
        skip_missing: return None for a file that does not exist, rather than raise.

    Raises:
        InputError: a missing, truncated or wrong-shaped file, or one that is infinite somewhere.
    """
    path = Path(path)
    if not path.is_file():
        if skip_missing:
            return None
        raise InputError(f'{path}: no such file; {hint}, or set skip_missing=True in the dataset config')
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise InputError(f'{path}: not a readable array ({error}); {hint}') from error
    if array.ndim != dimensions or 0 in array.shape or array.dtype.kind not in 'fiub':
        raise InputError(f'{path}: holds {array.dtype} {array.shape}, not numbers in {dimensions} axes; {hint}')
    array = array.astype(np.float32)
    if np.isinf(array).any():
        raise InputError(f'{path}: holds infinite values; {hint}')
    return array


def require_one_size(maps: Sequence[tuple[str, np.ndarray | None]], hint: str) -> None:
    """Check that the maps ``(path, array or None)`` of one sample have one size, as they are stacked.

    Raises:
        InputError: names the first file whose size is not that of most.
    """
    shapes = [array.shape for _, array in maps if array is not None]
    if len(set(shapes)) < 2:
        return
    usual = max(shapes, key=shapes.count)
    path, array = next((path, array) for path, array in maps if array is not None and array.shape != usual)
    raise InputError(
        f'{path}: has size {array.shape}, most maps of this sample {usual}, and maps of different sizes cannot be '
        f'stacked; {hint}'
    )


def check_depth(path: str | Path, depth: np.ndarray, hint: str) -> None:
    """Check that a depth map ``(h, w)`` can be z in meters, NaN where unknown, as seen from a car.

    Raises:
        InputError: negative values, another unit, inverse depth, or zeros for what is unknown.
    """
    sample = subsample(depth)
    known = sample[np.isfinite(sample)]
    if (depth < 0).any():
        raise InputError(f'{path}: holds negative depths; {hint}')
    if not known.size:
        return
    zeros = float((known == 0).mean())
    if zeros > MOST_ZEROS:
        raise InputError(f'{path}: {zeros:.0%} of its depths are zero; write NaN where the depth is unknown, or {hint}')
    nearest, farthest = np.percentile(known[known > 0], (NEAR_PERCENT, 100 - NEAR_PERCENT))
    if nearest > FARTHEST_ROAD:
        raise InputError(
            f'{path}: its nearest depths are {nearest:.4g}, which are no meters; divide by 1000 what is in millimeters '
            f'(by 100: centimeters, by 256: KITTI), or {hint}'
        )
    if farthest < NEAREST_VIEW:
        raise InputError(
            f'{path}: its farthest depths are {farthest:.4g}, which are no meters; give z itself, not its inverse and '
            f'no share of a range, or {hint}'
        )


def check_sky(path: str | Path, sky: np.ndarray, hint: str) -> None:
    """Check that a sky mask ``(h, w)`` can be 1 where the sky is.

    Raises:
        InputError: values outside of 0 to 1, or 1 where the road is and 0 above.
    """
    if not ((sky >= 0) & (sky <= 1)).all():
        largest = np.nanmax(sky, initial=0)
        raise InputError(
            f'{path}: holds values outside 0 to 1, up to {largest:g}; divide by 255 what is in 0 to 255, or {hint}'
        )
    border = max(1, len(sky) // 10)
    if sky[:border].mean() < LITTLE_SKY and sky[-border:].mean() > 1 - LITTLE_SKY:
        raise InputError(
            f'{path}: says that the sky is below and not above; 1 is sky and 0 is not: invert it, or {hint}'
        )


def _read_maps(
    results: dict[str, Any], name: str, kind: str, dimensions: int
) -> Iterator[tuple[dict[str, Any], str, np.ndarray | None]]:
    """Read one map of every view that has a path of this name.

    Args:
        results: the sample.
        name: name of the map in a view, such as ``teacher_depth``.
        kind: ``teacher``, ``truth`` or ``features``.
        dimensions: how many axes the map must have.

    Yields:
        the view, the path and the array; None for a missing file that may be missing.
    """
    for view in results['views'].values():
        if path := view.get('paths', {}).get(name):
            yield view, path, read_map(path, dimensions, MAP_HINTS[kind], results['skip_missing'])


@TRANSFORMS.register_module()
class LoadTeacher(BaseTransform):
    """Read the teacher's depth (z, meters) and sky mask of every view, at the size they were stored in.

    Adds ``teacher_depth`` and ``sky_mask`` ``(h_t, w_t)``; None where the file is missing and the dataset says
    ``skip_missing``. Does nothing in a dataset with ``load_teacher=False``.
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Fill ``teacher_depth`` and ``sky_mask`` of every view."""
        hint = MAP_HINTS['teacher']
        for name, check in (('teacher_depth', _check_known_depth), ('sky_mask', check_sky)):
            loaded = []
            for view, path, array in _read_maps(results, name, 'teacher', 2):
                if array is not None:
                    check(path, array, hint)
                view[name] = array
                loaded.append((path, array))
            require_one_size(loaded, hint)
        return results


def _check_known_depth(path: str, depth: np.ndarray, hint: str) -> None:
    """Check that a depth map is known somewhere, and :func:`check_depth`."""
    if np.isnan(depth).all():
        raise InputError(f'{path}: holds nothing but NaN; {hint}')
    check_depth(path, depth, hint)


@TRANSFORMS.register_module()
class LoadTruth(BaseTransform):
    """Read the true depth (z, meters, NaN in the sky) of every view, and what moves; resize them to ``image_size``.

    Each pixel takes what is at its center, so that the maps agree with the resized image pixel by pixel. ``moving`` is
    1 where an object is faster than :data:`SLOWEST`, 0 elsewhere and NaN on objects of unknown speed; views whose
    records name no map of objects and no speeds get none.
    Does nothing in a dataset with ``load_truth=False``.

    Args:
        with_classes: ``true_classes``, too, at ``render_size``, for text queries
            (:class:`.class_codes.CodeBookFeatures` adds them itself).
    """

    def __init__(self, with_classes: bool = False) -> None:
        self.with_classes = with_classes

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Fill ``true_depth`` and, where it is known, ``moving`` of every view."""
        size = results['image_size']
        for view, path, depth in _read_maps(results, 'true_depth', 'truth', 2):
            if depth is not None:
                _check_truth(path, depth, (view['height'], view['width']))
                depth = at_centers(depth, *size)
            view['true_depth'] = depth
        views = results['views'].values()
        if any(view.get('instance_speeds') is not None for view in views):
            for view in views:
                view['moving'] = _moving(view, size, results['skip_missing'])
        if self.with_classes:
            _add_classes(results)
        return results


def at_centers(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return what a map shows at the centers of the pixels of a ``(height, width)`` image of the same view."""
    rows = ((np.arange(height) + 0.5) * values.shape[0] / height).astype(np.int64)
    columns = ((np.arange(width) + 0.5) * values.shape[1] / width).astype(np.int64)
    return values[rows[:, None], columns]


def _moving(view: Mapping[str, Any], size: tuple[int, int], skip_missing: bool) -> np.ndarray | None:
    """Return where something moves in a view, float32 ``size``; None where it is not known."""
    path, speeds = view.get('paths', {}).get('true_instances'), view.get('instance_speeds')
    if path is None or speeds is None or (skip_missing and not Path(path).is_file()):
        return None
    try:
        with Image.open(require_file(path, MAP_HINTS['truth'])) as image:
            numbers = np.array(image)
    except OSError as error:
        raise InputError(f'{path}: not a readable image ({error}); {MAP_HINTS["truth"]}') from error
    if numbers.ndim != 2 or numbers.dtype.kind not in 'iu' or numbers.min() < 0 or numbers.max() > len(speeds):
        raise InputError(
            f'{path}: holds no numbers of the {len(speeds)} objects of its scene; convert the town again with '
            'tools/create_data.py minitown'
        )
    # 0 is no object.
    speed = np.concatenate([[0.0], np.asarray(speeds, np.float64)])[at_centers(numbers, *size)]
    return np.where(np.isnan(speed), np.nan, speed > SLOWEST).astype(np.float32)


def _add_classes(results: dict[str, Any]) -> None:
    """Fill ``true_classes`` of every view that has truth; None of the others, if there are some."""
    sizes, views = (results['image_size'], results['render_size']), results['views'].values()
    known = [view for view in views if view.get('paths', {}).get('true_depth')]
    for view in views if known else ():
        view['true_classes'] = None
    for view in known:
        path = view['paths'].get('true_classes')
        if results['skip_missing'] and path is not None and not Path(path).is_file():
            continue
        classes = seen_classes(read_true_classes(view, 'LoadTruth(with_classes=True)'), *sizes)
        view['true_classes'] = classes.astype(np.float32)


def _check_truth(path: str, depth: np.ndarray, image_size: tuple[int, int]) -> None:
    """Check that a true depth map ``(h, w)`` is z in meters and has the shape of its image ``(height, width)``."""
    _check_known_depth(path, depth, MAP_HINTS['truth'])
    (height, width), (image_height, image_width) = depth.shape, image_size
    # Sizes are whole pixels: a small map may be half a pixel off.
    off = abs(width * image_height - height * image_width)
    if off > min(image_size) / 2:
        raise InputError(
            f"{path}: the map is {width}x{height}, which has not the shape of the camera's "
            f'{image_width}x{image_height}; {MAP_HINTS["truth"]}'
        )


@TRANSFORMS.register_module()
class LoadFeatures(BaseTransform):
    """Read the teacher features ``(h_f, w_f, C)`` of every view, those of a foundation model.

    Adds ``features`` ``(C, h_f, w_f)``; None where the file is missing and the dataset says ``skip_missing``.
    Does nothing in a dataset with ``load_features=False``.
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Fill ``features`` of every view."""
        loaded = []
        for view, path, features in _read_maps(results, 'features', 'features', 3):
            if features is not None and np.isnan(features).any():
                raise InputError(f'{path}: holds NaN; {MAP_HINTS["features"]}')
            loaded.append((path, features))
            view['features'] = None if features is None else features.transpose(2, 0, 1)
        require_one_size(loaded, MAP_HINTS['features'])
        return results
