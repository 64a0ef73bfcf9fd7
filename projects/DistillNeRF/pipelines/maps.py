"""Read the maps that a teacher, a foundation model or the truth of a synthetic world left on disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from mmdet3d.registry import TRANSFORMS

from ..datasets.presence import MAP_CURES
from ..errors import InputError


def read_map(path: str | Path, dimensions: int, cure: str, skip_missing: bool = False) -> np.ndarray | None:
    """Read an array ``.npy`` as float32.

    Args:
        path: the file.
        dimensions: how many axes it must have.
        cure: how to make the file, for messages.
        skip_missing: return None for a file that does not exist, rather than raise.

    Raises:
        InputError: a missing, truncated or wrong-shaped file, or one that is infinite somewhere.
    """
    path = Path(path)
    if not path.is_file():
        if skip_missing:
            return None
        raise InputError(f'{path}: no such file; {cure}, or set SKIP_MISSING=True in the dataset config')
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise InputError(f'{path}: not a readable array ({error}); {cure}') from error
    if array.ndim != dimensions or 0 in array.shape or array.dtype.kind not in 'fiub':
        raise InputError(f'{path}: holds {array.dtype} {array.shape}, not numbers in {dimensions} axes; {cure}')
    array = array.astype(np.float32)
    if np.isinf(array).any():
        raise InputError(f'{path}: holds infinite values; {cure}')
    return array


def require_one_size(maps: Sequence[tuple[str, np.ndarray | None]], cure: str) -> None:
    """The maps ``(path, array or None)`` of one sample are stacked.

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
        f'stacked; {cure}'
    )


@TRANSFORMS.register_module()
class LoadTeacher(BaseTransform):
    """Read the teacher's depth (z, metres) and sky mask of every view, at the size they were stored in.

    Adds ``teacher_depth`` and ``sky_mask`` ``(h_t, w_t)``; None where the file is missing and the dataset says
    ``SKIP_MISSING``. Does nothing in a dataset with ``load_teacher=False``.
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Fill ``teacher_depth`` and ``sky_mask`` of every view."""
        cure = MAP_CURES['teacher']
        for view in results['views'].values():
            if 'teacher' not in view:
                continue
            files = view['teacher']
            depth = read_map(files['depth'], 2, cure, results['skip_missing'])
            sky = read_map(files['sky_mask'], 2, cure, results['skip_missing'])
            if depth is not None and np.isnan(depth).all():
                raise InputError(f'{files["depth"]}: holds nothing but NaN; {cure}')
            if depth is not None and (depth < 0).any():
                raise InputError(f'{files["depth"]}: holds negative depths; {cure}')
            if sky is not None and not ((sky >= 0) & (sky <= 1)).all():
                raise InputError(f'{files["sky_mask"]}: holds values outside 0 to 1; {cure}')
            view['teacher_depth'], view['sky_mask'] = depth, sky
        for name, file in (('teacher_depth', 'depth'), ('sky_mask', 'sky_mask')):
            views = [view for view in results['views'].values() if 'teacher' in view]
            require_one_size([(view['teacher'][file], view[name]) for view in views], cure)
        return results


@TRANSFORMS.register_module()
class LoadTruth(BaseTransform):
    """Read the true depth (z, metres, NaN in the sky) of every view; resize it to ``image_size``.

    Each pixel takes the depth at its centre, so that the map agrees with the resized image pixel by pixel.
    Does nothing in a dataset with ``load_truth=False``.
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Fill ``true_depth`` of every view."""
        height, width = results['image_size']
        for view in results['views'].values():
            if 'truth' not in view:
                continue
            depth = read_map(view['truth']['depth'], 2, MAP_CURES['truth'], results['skip_missing'])
            if depth is not None:
                rows = ((np.arange(height) + 0.5) * depth.shape[0] / height).astype(np.int64)
                columns = ((np.arange(width) + 0.5) * depth.shape[1] / width).astype(np.int64)
                depth = depth[rows[:, None], columns]
            view['true_depth'] = depth
        return results


@TRANSFORMS.register_module()
class LoadFeatures(BaseTransform):
    """Read the foundation-model features ``(h_f, w_f, C)`` of every view; adds ``features`` ``(C, h_f, w_f)``.

    Does nothing in a dataset with ``load_features=False``.
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Fill ``features`` of every view."""
        loaded = []
        for view in results['views'].values():
            if 'features' not in view:
                continue
            features = read_map(view['features'], 3, MAP_CURES['features'], results['skip_missing'])
            if features is not None and np.isnan(features).any():
                raise InputError(f'{view["features"]}: holds NaN; {MAP_CURES["features"]}')
            loaded.append((view['features'], features))
            view['features'] = None if features is None else features.transpose(2, 0, 1)
        require_one_size(loaded, MAP_CURES['features'])
        return results
