"""Teacher features without a foundation model: the code vector of the class of every pixel, true or of LiDAR points."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
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

    Adds ``true_classes`` as well (:func:`seen_classes`). Needs a dataset with ``load_truth=True`` whose info file names
    class maps (MiniTown).

    Args:
        patch: 1: the code of each rendered pixel's class, exactly. More: features as a foundation model makes them, one
            per so many pixels of the image along each axis (:func:`patch_features`).
        blur: with ``patch``, standard deviation of a Gaussian over the patches, in patches.
        noise: with ``patch``, standard deviation of the noise in each number, as a share of the size of the numbers of
            a code. It depends on the name of the image alone, so that it is the same in every epoch and process.

    Raises:
        InputError: no class map, or one that holds something else.
        ValueError: impossible settings.
    """

    def __init__(self, patch: int = 1, blur: float = 0.0, noise: float = 0.0) -> None:
        if patch < 1 or blur < 0 or noise < 0:
            raise ValueError(f'patch={patch}, blur={blur}, noise={noise}: give patch 1 or more, the others 0 or more')
        if patch == 1 and (blur or noise):
            raise ValueError('blur and noise are of patches; give patch=8 or so, too')
        self._codes = code_book()
        self._patch, self._blur, self._noise = patch, blur, noise

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Fill ``features`` and ``true_classes`` of every view."""
        sizes = results['image_size'], results['render_size']
        for view in results['views'].values():
            classes = read_true_classes(view, 'CodeBookFeatures')
            view['true_classes'] = seen_classes(classes, *sizes).astype(np.float32)
            if self._patch == 1:
                view['features'] = code_features(classes, self._codes, *sizes)
                continue
            grid = tuple(-(-side // self._patch) for side in results['image_size'])
            features = patch_features(classes, self._codes, grid, self._blur)
            # By a digest, which is the same everywhere, of a name that is the same wherever the data lie.
            seed = int.from_bytes(hashlib.sha256(Path(view['img_path']).name.encode()).digest()[:8], 'big')
            drawn = np.random.default_rng(seed).standard_normal(features.shape, np.float32)
            view['features'] = features + drawn * np.float32(self._noise / np.sqrt(CHANNELS))
        return results


def read_true_classes(view: Mapping[str, Any], reader: str) -> np.ndarray:
    """Read the true class map ``(H, W)`` uint8 of a view.

    Args:
        view: with its paths.
        reader: the transform that needs it, for messages.

    Raises:
        InputError: there is none, or it holds something else.
    """
    path = view.get('paths', {}).get('true_classes')
    if path is None:
        raise InputError(
            f'{view["img_path"]}: no class map is known for this image; {reader} needs MiniTown and '
            'load_truth=True in the dataset config'
        )
    return _read_classes(path)


def seen_classes(classes: np.ndarray, image_size: tuple[int, int], render_size: tuple[int, int]) -> np.ndarray:
    """Return what a class map ``(H, W)`` shows at the pixels that are rendered, ``(rows, columns)``.

    Rendered pixels span the image corner to corner; each takes the class that its middle shows.

    Args:
        classes: class numbers, of any size.
        image_size: (height, width) of the images that the network sees.
        render_size: (rows, columns) at which it renders.
    """
    (height, width), (rows, columns) = image_size, render_size
    v = (np.linspace(0, height - 1, rows) + 0.5) * classes.shape[0] / height
    u = (np.linspace(0, width - 1, columns) + 0.5) * classes.shape[1] / width
    return classes[v.astype(np.int64)[:, None], u.astype(np.int64)]


def code_features(
    classes: np.ndarray, codes: np.ndarray, image_size: tuple[int, int], render_size: tuple[int, int]
) -> np.ndarray:
    """Return the codes ``(C, rows, columns)`` of :func:`seen_classes`, from ``codes`` ``(K, C)`` of all classes."""
    return np.ascontiguousarray(codes[seen_classes(classes, image_size, render_size)].transpose(2, 0, 1))


def patch_features(classes: np.ndarray, codes: np.ndarray, grid: tuple[int, int], blur: float) -> np.ndarray:
    """Return the mean code ``(C, rows, columns)`` of what a class map shows in each patch, blurred.

    Args:
        classes: ``(H, W)`` class numbers.
        codes: ``(K, C)`` of the classes.
        grid: (rows, columns) of patches; they divide the map evenly.
        blur: standard deviation of a Gaussian over the patches; beyond the border they are mirrored.
    """
    shares = [
        cv2.resize((classes == number).astype(np.float32), grid[::-1], interpolation=cv2.INTER_AREA)
        for number in range(len(codes))
    ]
    if blur:
        shares = [cv2.GaussianBlur(part, (0, 0), blur, borderType=cv2.BORDER_REFLECT) for part in shares]
    return np.einsum('khw,kc->chw', np.stack(shares), codes).astype(np.float32)


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
