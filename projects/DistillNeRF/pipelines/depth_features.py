"""Read the frozen-depth features of the input views from files, instead of computing them in every step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmdet3d.registry import TRANSFORMS

from ..datasets.cache import Cached, Origin, read_cached, update_cached
from ..models.frozen_depth import weights_fingerprint

# Raise it when the frozen network gives other features of the same images and weights.
VERSION = 1
HINT = (
    'make it with: python tools/extract_features.py depth_anything CONFIG --cfg-options depth_cache=DIR, '
    'or leave depth_cache away'
)


class _NoneYet(Exception):
    """Tell that features are not there, or stale."""


@TRANSFORMS.register_module()
class LoadDepthFeatures(BaseTransform):
    """Read the frozen-depth features ``(C, H, W)`` of every input view, past ones too, from a folder, float32.

    The files are those of :mod:`..datasets.cache`. Each notes what it was made from: the image (size, times, digest),
    ``image_size``, the digest of the weights, and the versions of OpenCV and torch. All of it is compared at every
    load, so that features of another image, size or network are refused. Adds ``depth_features`` to the views.

    Args:
        folder: where the files are.
        weights: those of the network that will read the features (``model.network.depth_weights``).

    Raises:
        InputError: no such weights; a missing, damaged or stale file.
    """

    # Views of a dataset with this transform have the names of their files.
    always_cached = True

    def __init__(self, folder: str, weights: str) -> None:
        self.folder = Path(folder).expanduser()
        self.weights = weights
        self.fingerprint = weights_fingerprint(weights)

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Fill ``depth_features`` of the input views and of those of the past."""
        inputs = [results['views'][key] for key in results['input_keys']]
        for view in (*inputs, *results.get('past_views', {}).values()):
            view['depth_features'] = read_cached(*self._file(view, results), HINT).arrays['features']
        return results

    def is_current(self, view: Mapping[str, Any], results: Mapping[str, Any]) -> bool:
        """Return whether the file of a view can be read; where only the times of the image differ, note the new ones.

        Args:
            view: its record.
            results: of its sample.
        """

        def none() -> np.ndarray:
            raise _NoneYet

        try:
            self.update(view, results, none)
        except _NoneYet:
            return False
        return True

    def update(self, view: Mapping[str, Any], results: Mapping[str, Any], make: Callable[[], np.ndarray]) -> bool:
        """Make the file of a view unless it is current; return whether it was written.

        Args:
            view: its record.
            results: of its sample.
            make: computes the features ``(C, H, W)``.
        """
        return update_cached(*self._file(view, results), lambda: Cached({'features': make()}))

    def _file(self, view: Mapping[str, Any], results: Mapping[str, Any]) -> tuple[Path, Origin]:
        """Return the file of a view, and what it must be made from."""
        height, width = results['image_size']
        settings = {
            'version': VERSION,
            'OpenCV': cv2.__version__,
            'torch': torch.__version__,
            'weights': self.fingerprint,
            'image_size': [height, width],
        }
        path = self.folder / f'depth_features_{height}x{width}' / view['cache_name']
        return path, Origin([view['img_path']], settings)
