"""Read the images of a sample and resize them."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from mmdet3d.registry import TRANSFORMS

from ..datasets.image_files import RESTORE, read_image, resize, to_rgb
from ..geometry.boxes import mirror_boxes
from ..geometry.views import mirror_views
from ..utils.errors import InputError


@TRANSFORMS.register_module()
class LoadViews(BaseTransform):
    """Read every view's image, resize it to the sample's ``image_size``, make it RGB in [0, 1].

    As published: OpenCV bilinear on the full image, then color order, then division by 255. Adds ``image``
    ``(3, H, W)`` float32 to each view. The camera keeps its native intrinsics; :class:`PackViews` resizes them.

    Views of a teacher (``resizable``) may have any size of the camera's shape; their intrinsics follow.

    Raises:
        InputError: a missing or damaged image, or one whose size is not the recorded one.
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Fill ``image`` of every view."""
        height, width = results['image_size']
        for view in results['views'].values():
            image = read_image(view['img_path'])
            if view.get('resizable'):
                _take_size(view, image)
            if image.shape[:2] != (view['height'], view['width']):
                raise InputError(
                    f'{view["img_path"]}: the image is {image.shape[1]}x{image.shape[0]}, its record says '
                    f'{view["width"]}x{view["height"]}; {RESTORE} or convert the data again with tools/create_data.py'
                )
            view['image'] = to_rgb(resize(image, height, width))
        return results


def _take_size(view: dict[str, Any], image: np.ndarray) -> None:
    """Make the image's size that of the view.

    Raises:
        InputError: another shape than that of the camera's images.
    """
    height, width = image.shape[:2]
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


@TRANSFORMS.register_module()
class FlipViews(BaseTransform):
    """Mirror the world with some probability: images, cameras, maps and boxes together.

    Comes after ``PackViews``.

    Args:
        probability: how often a sample is mirrored, 0 to 1.
    """

    def __init__(self, probability: float = 0.5) -> None:
        self.probability = probability

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Mirror all views of the sample, or none."""
        if random.random() < self.probability:
            results['inputs'] = {name: mirror_views(views) for name, views in results['inputs'].items()}
            if 'boxes' in results['data_samples']:
                results['data_samples'].boxes = mirror_boxes(results['data_samples'].boxes)
        return results
