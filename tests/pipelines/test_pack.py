"""Views of a sample, stacked, by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from projects.DistillNeRF.pipelines.pack import PackViews, stack_views

MATRIX = np.array([[80.0, 0, 50], [0, 90, 30], [0, 0, 1]])


def view(number: float, size: tuple[int, int] = (60, 100), **maps: np.ndarray | None) -> dict:
    pose = np.eye(4)
    pose[0, 3] = number
    image = np.full((3, 6, 10), number, np.float32)
    record = {'image': image, 'name': f'C{number:g}', 'frame': int(number) - 1, 'intrinsics': MATRIX, 'cam2world': pose}
    return {**record, 'height': size[0], 'width': size[1], **maps}


RESULTS = {
    'token': 't',
    'scene': 's',
    'frame': 4,
    'timestamp': 1.5,
    'sample_idx': 7,
    'notes': ['n'],
    'views': {'a': view(1), 'b': view(2), 'c': view(0)},
    'input_keys': ['b', 'a'],
    'target_keys': ['c', 'a', 'b'],
}


def test_inputs_and_targets_come_in_the_order_of_their_keys():
    packed = PackViews().transform(RESULTS)
    inputs, targets = packed['inputs']['input_views'], packed['inputs']['target_views']
    assert inputs.names == ('C2', 'C1') and targets.names == ('C0', 'C1', 'C2')
    assert inputs.frames == (1, 0) and targets.frames == (-1, 0, 1)
    assert inputs.images[:, 0, 0, 0].tolist() == [2, 1]
    assert targets.cameras.cam2world[:, 0, 3].tolist() == [0, 1, 2]
    assert inputs.lidar_depth is None and inputs.features is None
    meta = packed['data_samples'].metainfo
    assert meta == {'token': 't', 'scene': 's', 'frame': 4, 'timestamp': 1.5, 'sample_idx': 7, 'notes': ['n']}


def test_boxes_go_with_the_sample():
    boxes = np.arange(18, dtype=np.float32).reshape(2, 9)
    sample = PackViews().transform({**RESULTS, 'boxes': (boxes, ('car', 'bus'))})['data_samples']
    assert torch.equal(sample.boxes, torch.from_numpy(boxes)) and sample.box_names == ('car', 'bus')


def test_cameras_are_resized_with_their_own_images():
    """From 60 x 100 and from 30 x 40 to 6 x 10."""
    small = np.array([[80.0, 0, 30], [0, 90, 20], [0, 0, 1]])
    cameras = stack_views([view(0), {**view(1, size=(30, 40)), 'intrinsics': small}]).cameras
    assert (cameras.height, cameras.width) == (6, 10)
    assert cameras.intrinsics.dtype == cameras.cam2world.dtype == torch.float32
    torch.testing.assert_close(cameras.intrinsics[0], torch.tensor([[8.0, 0, 5], [0, 9, 3], [0, 0, 1]]))
    torch.testing.assert_close(cameras.intrinsics[1], torch.tensor([[20.0, 0, 7.5], [0, 18, 4], [0, 0, 1]]))


def test_maps_that_are_missing_are_unknown():
    ones, twos = np.ones((2, 3), np.float32), np.full((2, 3), 2, np.float32)
    views = stack_views([view(0, lidar_depth=None, sky_mask=ones), view(1, lidar_depth=twos, sky_mask=twos)])
    assert views.lidar_depth.shape == (2, 2, 3) and views.lidar_depth[0].isnan().all()
    assert (views.lidar_depth[1] == 2).all() and (views.sky_mask[0] == 1).all()
    assert views.teacher_depth is None


@pytest.mark.parametrize(('name', 'shape'), [('true_depth', (2, 1, 1)), ('features', (2, 1, 1, 1))])
def test_maps_that_no_view_has_are_one_unknown_pixel(name, shape):
    stacked = getattr(stack_views([view(0, **{name: None}), view(1, **{name: None})]), name)
    assert tuple(stacked.shape) == shape and stacked.isnan().all()


def test_every_kind_of_map_is_packed_under_its_own_name():
    names = ('lidar_depth', 'teacher_depth', 'sky_mask', 'true_depth')
    maps = {name: np.full((2, 3), number, np.float32) for number, name in enumerate(names)}
    views = stack_views([view(0, **maps, features=np.full((5, 2, 3), 9, np.float32))])
    assert [getattr(views, name)[0, 0, 0].item() for name in names] == [0, 1, 2, 3]
    assert views.features.shape == (1, 5, 2, 3)
