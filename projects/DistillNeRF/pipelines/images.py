"""Read the images of a sample and resize them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmdet3d.registry import TRANSFORMS

from ..datasets.cache import VERSION, Cached, Origin, read_cached, update_cached
from ..datasets.image_files import RESTORE, channels_first, read_image, resize, to_unit
from ..utils.errors import InputError


def all_views(results: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    """Return the views of a sample and those of its past, of which targets are the same records, each once."""
    return {**results.get('past_views', {}), **results['views']}.values()


@TRANSFORMS.register_module()
class LoadViews(BaseTransform):
    """Read every view's image, resize it to the sample's ``image_size``, make it RGB in [0, 1].

    As published: OpenCV bilinear on the full image, then color order, then division by 255. Adds ``image``
    ``(3, H, W)`` float32 to each view. The camera keeps its native intrinsics; :class:`PackViews` resizes them.

    Views of a teacher (``resizable``) may have any size of the camera's shape; their intrinsics follow.

    In a dataset with a ``cache``, the resized pixels come from there (:mod:`..datasets.cache`); they are 8 bits per
    channel before the division, so nothing is lost.

    Raises:
        InputError: a missing or damaged image, or one whose size is not the recorded one; a missing or stale cache.
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Fill ``image`` of every view."""
        for view in all_views(results):
            path = self.cache_file(view, results)
            cached = _resized(view, results) if path is None else read_cached(path, _origin(view, results))
            height, width = cached.facts['size']
            if view.get('resizable'):
                _take_size(view, height, width)
            if (height, width) != (view['height'], view['width']):
                raise InputError(
                    f'{view["img_path"]}: the image is {width}x{height}, its record says '
                    f'{view["width"]}x{view["height"]}; {RESTORE} or convert the data again with tools/create_data.py'
                )
            view['image'] = to_unit(cached.arrays['pixels'])
        return results

    def cache_file(self, view: Mapping[str, Any], results: Mapping[str, Any]) -> Path | None:
        """Return the file of the resized pixels of a view; None in a dataset without a cache."""
        if results.get('cache') is None:
            return None
        height, width = results['image_size']
        return Path(results['cache']) / f'images_{height}x{width}' / view['cache_name']

    def write_cache(self, results: dict[str, Any]) -> int:
        """Write the files of the views that are missing or stale; return how many."""
        written = 0
        for view in results['views'].values():
            path = self.cache_file(view, results)
            assert path is not None
            written += update_cached(path, _origin(view, results), lambda view=view: _resized(view, results))
        return written


def _resized(view: Mapping[str, Any], results: Mapping[str, Any]) -> Cached:
    """Read an image; return its resized ``pixels`` ``(3, H, W)`` uint8 and, as a fact, its own ``size``."""
    image = read_image(view['img_path'])
    pixels = channels_first(resize(image, *results['image_size']))
    return Cached({'pixels': pixels}, {'size': list(image.shape[:2])})


def _origin(view: Mapping[str, Any], results: Mapping[str, Any]) -> Origin:
    settings = {'version': VERSION, 'OpenCV': cv2.__version__, 'image_size': list(results['image_size'])}
    return Origin([view['img_path']], settings)


def _take_size(view: dict[str, Any], height: int, width: int) -> None:
    """Make the image's size that of the view.

    Raises:
        InputError: another shape than that of the camera's images.
    """
    scale_x, scale_y = width / view['width'], height / view['height']
    # Sizes are whole pixels: a small rendering may be half a pixel off.
    if abs(scale_x * view['height'] - height) > 1:
        raise InputError(
            f"{view['img_path']}: the image is {width}x{height}, which has not the shape of the camera's "
            f'{view["width"]}x{view["height"]}; render it again, or say where the right ones are with the dataset '
            'option data_prefix.teacher'
        )
    view['intrinsics'] = np.diag([scale_x, scale_y, 1.0]) @ view['intrinsics']
    view['height'], view['width'] = height, width
