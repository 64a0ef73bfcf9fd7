"""Bounding boxes of objects, which the detection head alone uses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..utils.errors import InputError
from .poses import first_true

# The detection classes of nuScenes, in the order of mmdet3d's labels.
DETECTION_CLASSES = (
    'car',
    'truck',
    'trailer',
    'bus',
    'construction_vehicle',
    'bicycle',
    'motorcycle',
    'pedestrian',
    'traffic_cone',
    'barrier',
)

# Meters; what is longer, shorter or farther is not in meters, or not in the LiDAR frame.
SMALLEST_BOX = 0.02
LARGEST_BOX = 100.0
FARTHEST_BOX = 300.0
# Radians; a larger yaw is in degrees.
LARGEST_YAW = 4 * np.pi


def check_boxes(boxes: np.ndarray, labels: Sequence[str], hint: str) -> None:
    """Check boxes ``(n, 7)``: x, y, z, length, width, height, yaw in the LiDAR frame, in meters and radians.

    Raises:
        InputError: names the label of the first box that cannot be one, and the hint.
    """
    sizes = boxes[:, 3:6]
    bad = (
        ~np.isfinite(boxes).all(1) | ~(sizes > 0).all(1) | (sizes > LARGEST_BOX).any(1) | (sizes.max(1) < SMALLEST_BOX)
    )
    bad |= (np.abs(boxes[:, 6]) > LARGEST_YAW) | (np.linalg.norm(boxes[:, :3], axis=1) > FARTHEST_BOX)
    if (number := first_true(bad)) is not None:
        raise InputError(
            f'{labels[number]}: bbox_3d {boxes[number].tolist()} is no box near the LiDAR; give x, y, z, length, '
            f'width, height in meters and yaw in radians, in its frame; {hint}'
        )


def read_boxes(info: Mapping[str, Any], categories: Mapping[str, int], file: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Read the boxes of a record that have a known category.

    Args:
        info: record of an info file.
        categories: ``categories`` of the metainfo of that file: name -> label.
        file: name of that file, for messages.

    Returns:
        ``(N, 9)`` float32: center x, y, z, length, width, height (meters), yaw (radians, from x to y), velocity along
        x and y (m/s, 0 where unknown), in the LiDAR frame; and the names of the N categories.

    Raises:
        InputError: the record has no boxes, or boxes without labels.
    """
    names = {label: name for name, label in categories.items()}
    if 'instances' not in info or any('bbox_label' not in box for box in info['instances']):
        raise InputError(
            f'{file}: sample {info["token"]} has no boxes with labels, which model.det_head_3d is trained on; '
            'leave it out, or convert data that have them (nuScenes, MiniTown)'
        )
    known = [box for box in info['instances'] if box['bbox_label'] in names]
    rows = [[*box['bbox_3d'], *np.nan_to_num(box.get('velocity', (0.0, 0.0)))] for box in known]
    return np.asarray(rows, np.float32).reshape(-1, 9), tuple(names[box['bbox_label']] for box in known)


def mirror_boxes(boxes: Tensor) -> Tensor:
    """Mirror boxes ``(N, 9)`` at the plane x = 0; a box is symmetric, so it stays a box."""
    x, middle, yaw, vx, vy = boxes.split((1, 5, 1, 1, 1), dim=1)
    return torch.cat([-x, middle, torch.pi - yaw, -vx, vy], dim=1)
