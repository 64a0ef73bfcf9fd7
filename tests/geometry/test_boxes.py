"""Boxes of a record and of the mirrored world, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from projects.DistillNeRF.geometry.boxes import DETECTION_CLASSES, mirror_boxes, read_boxes
from projects.DistillNeRF.utils.errors import InputError


def test_boxes_of_known_classes_are_read_with_their_velocity():
    info = {
        'token': 'a',
        'instances': [
            {'bbox_3d': [1, 2, 3, 4, 5, 6, 0.7], 'bbox_label': 8, 'velocity': [8, 9]},
            {'bbox_3d': [9] * 7, 'bbox_label': -1, 'velocity': [8, 9]},
            {'bbox_3d': [2, 2, 2, 2, 2, 2, 2], 'bbox_label': 0, 'velocity': [math.nan, 3]},
            {'bbox_3d': [3, 3, 3, 3, 3, 3, 3], 'bbox_label': 9},
        ],
    }
    boxes, names = read_boxes(info, {name: label for label, name in enumerate(DETECTION_CLASSES)}, 'x.pkl')
    assert names == ('traffic_cone', 'car', 'barrier') and boxes.dtype == np.float32
    expected = [[1, 2, 3, 4, 5, 6, 0.7, 8, 9], [2, 2, 2, 2, 2, 2, 2, 0, 3], [3, 3, 3, 3, 3, 3, 3, 0, 0]]
    np.testing.assert_allclose(boxes, expected, rtol=1e-6)
    assert read_boxes({'token': 'a', 'instances': []}, {'car': 0}, 'x.pkl')[0].shape == (0, 9)
    with pytest.raises(InputError, match=r'x\.pkl: sample a has no boxes with labels'):
        read_boxes({'token': 'a', 'instances': [{'bbox_3d': [0] * 7}]}, {'car': 0}, 'x.pkl')


def test_classes_are_those_of_nuscenes_in_the_order_of_mmdet3d():
    assert DETECTION_CLASSES[:5] == ('car', 'truck', 'trailer', 'bus', 'construction_vehicle')
    assert DETECTION_CLASSES[5:] == ('bicycle', 'motorcycle', 'pedestrian', 'traffic_cone', 'barrier')


def test_mirroring_changes_the_signs_of_x_and_of_its_velocity():
    """At x = 0: x and its velocity change sign, a heading of 0 becomes one of half a turn."""
    boxes = torch.tensor([[1.0, 2, 3, 4, 5, 6, 0.0, 8, 9], [-1.0, 2, 3, 4, 5, 6, math.pi / 2, -8, 9]])
    half = math.pi / 2
    expected = torch.tensor([[-1.0, 2, 3, 4, 5, 6, math.pi, -8, 9], [1.0, 2, 3, 4, 5, 6, half, 8, 9]])
    torch.testing.assert_close(mirror_boxes(boxes), expected)
