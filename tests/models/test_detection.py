"""The detection head sees the voxels where they are, and learns where boxes are."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from mmengine.structures import BaseDataElement

from projects.DistillNeRF.geometry.boxes import DETECTION_CLASSES, mirror_boxes, read_boxes
from projects.DistillNeRF.geometry.contraction import ParameterizedSpace
from projects.DistillNeRF.models.detection_wrapper import LAYERS, DetectionBranch
from projects.DistillNeRF.pipelines.augmentation import FlipViews
from projects.DistillNeRF.utils.errors import InputError
from tests.helpers.scenes import logit_cells

SPACE = ParameterizedSpace()
CAR = [20.3, -10.2, -0.9, 4.2, 1.8, 1.5, 0.3, 1.0, -2.0]


class Whole(torch.nn.Module):
    """In the place of the convolutions."""

    def forward(self, view: torch.Tensor) -> torch.Tensor:
        return view


def branch(level: int = 6, **options: object) -> DetectionBranch:
    torch.manual_seed(0)
    return DetectionBranch(SPACE, level, 5, **options)


def sample(*boxes: list[float], names: tuple[str, ...] = ('car',)) -> BaseDataElement:
    made = BaseDataElement(metainfo={'box_names': names})
    made.boxes = torch.tensor(boxes).view(-1, 9)
    return made


def test_the_view_is_the_linear_part_of_the_grid():
    made = branch()
    assert made.cell == pytest.approx(125 / 64)
    assert made.count == 50  # 0.8 of 64 cells, an even number
    assert made.extent == pytest.approx(50 * 125 / 128)
    assert made.extent <= SPACE.inner_range


def test_a_voxel_is_seen_at_its_place():
    """Rows along y, columns along x, one group of channels per meter of height."""
    made = branch()
    made.neck = Whole()
    points = torch.tensor([[20.3, -10.2, -0.9], [20.3, -10.2, 60.0], [90.0, 0.0, 0.0]])
    scene = logit_cells(points, torch.ones(3))
    scene.coarse[:] = torch.arange(1.0, 4)[:, None]
    view = made(scene)
    assert view.shape == (LAYERS * 5, 50, 50)
    ((channel, row, column),) = {tuple(place) for place in (view != 0).nonzero()[::5].tolist()}
    assert row == math.floor((-10.2 + made.extent) / made.cell)
    assert column == math.floor((20.3 + made.extent) / made.cell)
    assert channel // 5 == 4  # -1 to 0 m


def test_voxels_of_one_place_are_averaged_and_get_gradients():
    made = branch(level=7)  # cells of 0.98 m in x and y, of 0.125 m in z
    made.neck = Whole()
    points = torch.tensor([[10.2, 10.2, 0.1], [10.2, 10.2, 0.9]])
    scene = logit_cells(points, torch.ones(2), levels=(7, 8))
    scene.coarse.copy_(torch.tensor([[1.0], [4.0]]).expand(2, 5)).requires_grad_()
    view = made(scene)
    assert view[view != 0].tolist() == [2.5] * 5
    view.sum().backward()
    assert (scene.coarse.grad == 0.5).all()


def test_it_learns_where_a_car_is():
    """The heat map has its peak in the cell of the box; a box of no class of the head is left out."""
    points = torch.tensor([CAR[:3], [-20.0, 15.0, -0.5], [3.0, 30.0, 0.2]])
    scene = logit_cells(points, torch.ones(3))
    scene.coarse[:] = torch.randn(3, 5, generator=torch.Generator().manual_seed(1))
    made = branch(classes=('truck', 'car'))
    target = sample(CAR, [0.0] * 3 + [1.0] * 3 + [0.0] * 3, names=('car', 'pedestrian'))
    optimizer = torch.optim.Adam(made.parameters(), 3e-3)
    first = None
    for _ in range(40):
        losses = made.losses([scene], [target])
        total = sum(losses.values())
        first = first or float(total)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
    assert set(losses) == {'loss_detection_task0_heatmap', 'loss_detection_task0_bbox'}
    assert total < first / 4
    heat = made.head([made(scene)[None]])[0][0]['heatmap'][0]
    label, row, column = np.unravel_index(heat.argmax().item(), heat.shape)
    assert (label, row, column) == (1, int((-10.2 + made.extent) / made.cell), int((20.3 + made.extent) / made.cell))


def test_its_losses_train_the_voxels_and_have_their_coefficient():
    scene = logit_cells(torch.tensor([CAR[:3]]), torch.ones(1))
    scene.coarse.requires_grad_()
    one, three = branch(loss_weight=1.0), branch(loss_weight=3.0)
    losses = [part.losses([scene], [sample(CAR)]) for part in (one, three)]
    for name, value in losses[0].items():
        torch.testing.assert_close(3 * value, losses[1][name])
    sum(losses[0].values()).backward()
    assert scene.coarse.grad.any()


def test_a_sample_without_boxes():
    scene = logit_cells(torch.tensor([CAR[:3]]), torch.ones(1))
    losses = branch().losses([scene, scene], [sample(names=()), sample(CAR)])
    assert all(value.isfinite() for value in losses.values())


INFO = {
    'token': 'one',
    'instances': [
        {'bbox_3d': CAR[:7], 'bbox_label': 0, 'velocity': [1.0, float('nan')]},
        {'bbox_3d': CAR[:7], 'bbox_label': -1},
        {'bbox_3d': CAR[:7], 'bbox_label': 7},
    ],
}


def test_boxes_of_a_record():
    boxes, names = read_boxes(INFO, {name: i for i, name in enumerate(DETECTION_CLASSES)}, 'infos.pkl')
    assert names == ('car', 'pedestrian')
    np.testing.assert_allclose(boxes, [[*CAR[:7], 1, 0], [*CAR[:7], 0, 0]], rtol=1e-6)
    assert read_boxes({'token': 'one', 'instances': []}, {}, '')[0].shape == (0, 9)


@pytest.mark.parametrize('info', [{'token': 'one'}, {'token': 'one', 'instances': [{'bbox_3d': CAR[:7]}]}])
def test_records_without_labels(info):
    with pytest.raises(InputError, match=r'infos.pkl: sample one .* leave it out'):
        read_boxes(info, {}, 'infos.pkl')


def corners(box: torch.Tensor) -> set[tuple[float, float]]:
    """The four corners of a box from above."""
    x, y, length, width, yaw = box[[0, 1, 3, 4, 6]].tolist()
    signs = [(1, 1), (1, -1), (-1, -1), (-1, 1)]
    ends = [(a * length / 2, b * width / 2) for a, b in signs]
    cos, sin = math.cos(yaw), math.sin(yaw)
    return {(round(x + cos * a - sin * b, 3), round(y + sin * a + cos * b, 3)) for a, b in ends}


def test_mirrored_boxes_have_mirrored_corners_and_velocities():
    flipped = FlipViews(probability=1.0).transform({'inputs': {}, 'data_samples': sample(CAR)})['data_samples'].boxes
    assert corners(flipped[0]) == {(-x, y) for x, y in corners(torch.tensor(CAR))}
    assert flipped[0, 7:].tolist() == [-1.0, -2.0]
    # The front of the car is mirrored too, not only its corners.
    yaw, before = flipped[0, 6].item(), CAR[6]
    assert (math.cos(yaw), math.sin(yaw)) == pytest.approx((-math.cos(before), math.sin(before)), abs=1e-6)
    torch.testing.assert_close(mirror_boxes(flipped)[0, :6], torch.tensor(CAR[:6]))


def test_the_head_is_given_the_centers_of_boxes_not_their_bottoms():
    """mmdet3d's boxes stand on their bottom center; ours name the center. Labels are those of the head's classes."""
    made = branch(classes=('truck', 'car'))
    other = [5.0, 6.0, 0.5, 8.0, 2.5, 3.0, -1.0, 0.0, 0.0]
    instances = made._instances(sample(CAR, [0.0] * 9, other, names=('car', 'pedestrian', 'truck')))
    boxes = instances.bboxes_3d
    torch.testing.assert_close(boxes.gravity_center, torch.tensor([CAR[:3], other[:3]]))
    torch.testing.assert_close(boxes.bottom_center[:, 2], torch.tensor([-0.9 - 0.75, 0.5 - 1.5]))
    torch.testing.assert_close(boxes.dims, torch.tensor([CAR[3:6], other[3:6]]))
    torch.testing.assert_close(boxes.yaw, torch.tensor([0.3, -1.0]))
    torch.testing.assert_close(boxes.tensor[:, 7:], torch.tensor([[1.0, -2.0], [0.0, 0.0]]))
    assert instances.labels_3d.tolist() == [1, 0]


def test_the_head_has_the_range_and_the_cells_of_the_view():
    made = branch()
    head = made._center_head(16)
    edge, cell = made.extent, made.cell
    assert head['bbox_coder']['pc_range'] == [-edge, -edge] and head['bbox_coder']['voxel_size'] == [cell, cell]
    assert head['train_cfg']['point_cloud_range'] == [-edge, -edge, -5.0, edge, edge, 3.0]
    assert head['train_cfg']['grid_size'] == [50, 50, 1] and head['train_cfg']['voxel_size'] == [cell, cell, 8.0]
    assert head['in_channels'] == head['share_conv_channel'] == 16
    assert head['train_cfg']['code_weights'] == [1.0] * 8 + [0.2] * 2
    assert made.loss_weight == 0.1


@pytest.mark.parametrize('point', [(48.7, 0.0, 0.0), (-48.7, 0.0, 0.0), (0.0, 48.7, 2.9), (0.0, 0.0, -4.9)])
def test_voxels_up_to_the_edge_of_the_view_are_seen(point):
    """The view reaches 48.8 m to every side, from 5 m below to 3 m above the LiDAR."""
    made = branch(level=7)  # cells of 0.125 m in z
    made.neck = Whole()
    scene = logit_cells(torch.tensor([point]), torch.ones(1), levels=(7, 8))
    assert (made(scene) != 0).sum() == 5
    outside = logit_cells(torch.tensor([point]) * torch.tensor([1.1, 1.1, 1.2]), torch.ones(1), levels=(7, 8))
    assert not made(outside).any()
