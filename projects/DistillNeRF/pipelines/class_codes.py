"""Teacher features without a foundation model: the code vector of the class of every pixel, true or of LiDAR points."""

from __future__ import annotations

from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from mmdet3d.registry import TRANSFORMS
from PIL import Image

from ..datasets.file_checks import MAP_HINTS
from ..semantics.classes import CHANNELS, CLASSES, SKY, UNKNOWN_CLASS, code_book
from ..utils.errors import InputError
from ..utils.files import require_file


@TRANSFORMS.register_module()
class CodeBookFeatures(BaseTransform):
    """Turn the true class map of every view into ``features`` ``(64, h, w)`` at the sample's ``render_size``.

    Needs a dataset with ``load_truth=True`` whose info file names class maps (MiniTown).

    Raises:
        InputError: no class map, or one that holds something else.
    """

    def __init__(self) -> None:
        self._codes = code_book()

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Fill ``features`` of every view."""
        for view in results['views'].values():
            path = view.get('paths', {}).get('true_classes')
            if path is None:
                raise InputError(
                    f'{view["img_path"]}: no class map is known for this image; CodeBookFeatures needs MiniTown and '
                    'load_truth=True in the dataset config'
                )
            view['features'] = code_features(
                _read_classes(path), self._codes, results['image_size'], results['render_size']
            )
        return results


def code_features(
    classes: np.ndarray, codes: np.ndarray, image_size: tuple[int, int], render_size: tuple[int, int]
) -> np.ndarray:
    """Return the codes ``(C, rows, columns)`` of what a class map shows, at the pixels that are rendered.

    Rendered pixels span the image corner to corner; each takes the class that its middle shows.

    Args:
        classes: ``(H, W)`` class numbers, of any size.
        codes: ``(K, C)`` of the classes.
        image_size: (height, width) of the images that the network sees.
        render_size: (rows, columns) at which it renders.
    """
    (height, width), (rows, columns) = image_size, render_size
    v = (np.linspace(0, height - 1, rows) + 0.5) * classes.shape[0] / height
    u = (np.linspace(0, width - 1, columns) + 0.5) * classes.shape[1] / width
    seen = classes[v.astype(np.int64)[:, None], u.astype(np.int64)]
    return np.ascontiguousarray(codes[seen].transpose(2, 0, 1))


@TRANSFORMS.register_module()
class LidarCodeBookFeatures(BaseTransform):
    """Turn the ``lidar_classes`` of every view into ``features`` ``(64, h, w)``; NaN where no class is known.

    After ``LoadLidarDepth(with_classes=True)``. Where no point has a class, the sky of ``SkyFromLidar`` counts.

    Raises:
        InputError: no classes were loaded.
    """

    def __init__(self) -> None:
        unknown = np.full((UNKNOWN_CLASS + 1 - len(CLASSES), CHANNELS), np.nan, np.float32)
        self._codes = np.concatenate([code_book(), unknown])

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Fill ``features`` of every view."""
        for view in results['views'].values():
            if 'lidar_classes' not in view:
                raise InputError(
                    f'{view["img_path"]}: no classes of LiDAR points were loaded; put '
                    'LoadLidarDepth(with_classes=True) before LidarCodeBookFeatures and leave load_lidar=True'
                )
            classes = view['lidar_classes']
            if 'sky_mask' in view:
                classes = np.where((classes == UNKNOWN_CLASS) & (view['sky_mask'] > 0), SKY, classes)
            view['features'] = np.ascontiguousarray(self._codes[classes].transpose(2, 0, 1))
        return results


def _read_classes(path: str) -> np.ndarray:
    """Read a class map ``(H, W)``: uint8 ids of :data:`..semantics.classes.CLASSES`."""
    try:
        with Image.open(require_file(path, MAP_HINTS['truth'])) as image:
            classes = np.array(image)
    except OSError as error:
        raise InputError(f'{path}: not a readable image ({error}); {MAP_HINTS["truth"]}') from error
    if classes.ndim != 2 or classes.dtype != np.uint8 or classes.max() >= len(CLASSES):
        raise InputError(f'{path}: holds no ids of {len(CLASSES)} classes; {MAP_HINTS["truth"]}')
    return classes
