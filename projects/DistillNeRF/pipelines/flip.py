"""Horizontal flips of whole samples."""

from __future__ import annotations

import random
from typing import Any

from mmcv.transforms import BaseTransform
from mmdet3d.registry import TRANSFORMS

from ..geometry.boxes import mirror_boxes
from ..geometry.views import mirror_views


@TRANSFORMS.register_module()
class FlipViews(BaseTransform):
    """With some probability show the mirrored world: images, cameras, maps and boxes together.

    Comes after ``PackViews``.

    Args:
        probability: of mirroring a sample.
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
