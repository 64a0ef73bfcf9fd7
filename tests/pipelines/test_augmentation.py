"""Augmentation of packed samples: mirrored, and zoomed into."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from mmengine.structures import BaseDataElement

from projects.DistillNeRF.geometry.cameras import Cameras
from projects.DistillNeRF.geometry.views import Views, enlarge_views
from projects.DistillNeRF.pipelines.augmentation import DropPast, FlipViews, ZoomViews
from projects.DistillNeRF.utils.errors import InputError
from tests.helpers.cameras import pinhole
from tests.helpers.views import make_views
from verification.reference.kernels import bilinear


def sample(boxes: bool = True) -> dict:
    cameras = Cameras(pinhole(2.0, (0.5, 1)), torch.eye(4)[None].clone(), 2, 3)
    cameras.cam2world[0, 0, 3] = 7
    lidar_depth = torch.tensor([[[1.0, 2]]])
    views = make_views(cameras, torch.arange(18.0).view(1, 3, 2, 3) / 20, ('A',), lidar_depth=lidar_depth)
    element = BaseDataElement()
    if boxes:
        element.boxes = torch.tensor([[1.0, 2, 3, 4, 5, 6, 0, 8, 9]])
    return {'inputs': {'input_views': views, 'target_views': views}, 'data_samples': element}


def test_everything_is_mirrored_or_nothing():
    plain, flipped = FlipViews(0.0).transform(sample()), FlipViews(1.0).transform(sample())
    assert torch.equal(plain['inputs']['input_views'].images, sample()['inputs']['input_views'].images)
    assert plain['data_samples'].boxes[0, 0] == 1
    for views in flipped['inputs'].values():
        assert (views.images[0, 0] * 20).round().tolist() == [[2, 1, 0], [5, 4, 3]] and views.lidar_depth.tolist() == [
            [[2, 1]]
        ]
        assert views.cameras.cam2world[0, 0, 3] == -7 and views.cameras.intrinsics[0, 0, 2] == 1.5
    assert flipped['data_samples'].boxes[0, 0] == -1
    assert 'boxes' not in FlipViews(1.0).transform(sample(boxes=False))['data_samples']


def test_samples_are_mirrored_as_often_as_asked_for():
    random.seed(0)
    half = [FlipViews().transform(sample(False))['inputs']['input_views'].images[0, 0, 0, 0] > 0.05 for _ in range(200)]
    few = [
        FlipViews(0.1).transform(sample(False))['inputs']['input_views'].images[0, 0, 0, 0] > 0.05 for _ in range(200)
    ]
    # Four standard deviations of 200 throws.
    assert 72 < sum(half) < 128 and 3 < sum(few) < 37


def test_the_past_is_dropped_as_often_as_asked_for_and_nothing_else_changes():
    def with_past() -> dict:
        results = sample()
        views = results['inputs']['input_views']
        return {**results, 'inputs': {**results['inputs'], 'input_views': replace(views, past=views)}}

    kept, dropped = (DropPast(probability).transform(with_past()) for probability in (0.0, 1.0))
    assert kept['inputs']['input_views'].past is not None and dropped['inputs']['input_views'].past is None
    for name, views in dropped['inputs'].items():
        assert torch.equal(views.images, sample()['inputs'][name].images) and views.lidar_depth is not None
    assert DropPast(1.0).transform(sample())['inputs']['input_views'].past is None  # a first keyframe
    random.seed(0)
    without = [DropPast(0.25).transform(with_past())['inputs']['input_views'].past is None for _ in range(200)]
    # Four standard deviations of 200 throws.
    assert 26 < sum(without) < 74


def slowly_enlarged(views: Views, zoom: list[float], corner: list[list[float]]) -> tuple[np.ndarray, np.ndarray]:
    """Return images and teacher depth, pixel by pixel."""
    images, depth = views.images.numpy(), views.teacher_depth.numpy()
    (height, width), (rows, columns) = images.shape[2:], depth.shape[1:]
    found, maps = np.zeros_like(images), np.zeros_like(depth)
    for i in range(len(images)):
        for y in range(height):
            for x in range(width):
                found[i, :, y, x] = bilinear(images[i], corner[i][0] + x / zoom[i], corner[i][1] + y / zoom[i])
        for y in range(rows):
            for x in range(columns):
                row = round(corner[i][1] * rows / height + y / zoom[i])
                column = round(corner[i][0] * columns / width + x / zoom[i])
                maps[i, y, x] = depth[i, min(max(row, 0), rows - 1), min(max(column, 0), columns - 1)]
    return found, maps


@pytest.mark.parametrize('size, maps', [((5, 7), (10, 14)), ((5, 7), (2, 3)), ((1, 4), (1, 4)), ((6, 1), (3, 1))])
def test_a_part_is_read_as_pixel_by_pixel(size, maps):
    views = random_views(3, size, maps)
    zoom, corner = [1.0, 1.3, 1.9], [[0.0, 0.0], [0.41 * (size[1] > 1), 0.23 * (size[0] > 1)], [0.0, 0.0]]
    found = enlarge_views(views, torch.tensor(zoom), torch.tensor(corner))
    images, depth = slowly_enlarged(views, zoom, corner)
    # float32 positions and weights of at most 14 pixels.
    np.testing.assert_allclose(found.images.numpy(), images, atol=1e-5)
    assert np.array_equal(found.teacher_depth.numpy(), depth, equal_nan=True)
    assert found.sky_mask is None and found.names == views.names


def test_no_views_stay_none():
    views = random_views(2, (4, 6), (4, 6))[[]]
    assert len(enlarge_views(views, torch.ones(0), torch.zeros(0, 2))) == 0


def test_points_are_where_the_enlarged_image_shows_them():
    """A point that falls on pixel (u, v) of the whole falls on zoom * ((u, v) - corner) of the part."""
    views = random_views(2, (40, 60), (20, 30))
    points = torch.tensor([[0.3, -0.2, 5.0], [-1.0, 0.5, 9.0], [0.0, 0.0, 3.0]])
    zoom, corner = torch.tensor([1.5, 1.2]), torch.tensor([[7.0, 3.0], [0.0, 6.5]])
    part = enlarge_views(views, zoom, corner).cameras
    (before, depth), (after, same) = views.cameras.project(points), part.project(points)
    expected = zoom[:, None, None] * (before - corner[:, None])
    torch.testing.assert_close(after, expected, rtol=0, atol=1e-4)
    torch.testing.assert_close(same, depth)
    torch.testing.assert_close(part.focal_lengths(), zoom * views.cameras.focal_lengths())


def random_views(count: int, size: tuple[int, int], maps: tuple[int, int]) -> Views:
    """Make views of random images, and teacher depth with unknown pixels."""
    draw = torch.Generator().manual_seed(0)
    cameras = Cameras(
        torch.tensor([[30.0, 0, size[1] / 2], [0, 33, size[0] / 2], [0, 0, 1]]).repeat(count, 1, 1),
        torch.eye(4).repeat(count, 1, 1),
        *size,
    )
    depth = torch.rand(count, *maps, generator=draw)
    depth[depth < 0.2] = torch.nan
    names = tuple('ABC'[:count])
    images = torch.rand(count, 3, *size, generator=draw)
    return make_views(cameras, images, names, teacher_depth=depth)


def zoomed(names: tuple[str, ...], **options: float) -> dict[str, Views]:
    """Zoom into a sample whose inputs are the cameras A and B, and whose targets have these names."""
    inputs = random_views(2, (12, 20), (12, 20))
    targets = inputs[[0] * len(names)]
    sample = {'input_views': inputs, 'target_views': replace(targets, names=names)}
    return ZoomViews(**options).transform({'inputs': sample, 'data_samples': BaseDataElement()})['inputs']


def test_all_views_of_a_camera_show_the_same_part():
    random.seed(3)
    inputs, targets = zoomed(('A', 'B', 'A 1_0_0', 'AB', 'C'), largest=1.8).values()
    first, second = inputs.cameras.intrinsics
    for intrinsics, expected in zip(targets.cameras.intrinsics, (first, second, first), strict=False):
        assert torch.equal(intrinsics, expected)
    plain = random_views(2, (12, 20), (12, 20))[[0]]
    for index in (3, 4):
        assert torch.equal(targets.cameras.intrinsics[index], plain.cameras.intrinsics[0])
        torch.testing.assert_close(targets.images[index], plain.images[0])
    zooms = inputs.cameras.focal_lengths() / plain.cameras.focal_lengths()
    assert zooms[0] != zooms[1] and (zooms > 1).all() and (zooms < 1.8).all()
    assert torch.equal(inputs.images[0], targets.images[0]) and not torch.equal(inputs.images[0], plain.images[0])
    part = inputs.cameras.intrinsics[:, :2, 2]
    assert (part > 0).all() and (part < torch.tensor([20.0, 12.0])).all()


def test_past_and_frozen_features_of_a_zoomed_sample():
    views = random_views(2, (12, 20), (12, 20))
    views = replace(views, depth_features=torch.ones(2, 1, 3, 5), past=random_views(2, (12, 20), (12, 20))[[1]])
    found = ZoomViews().transform({'inputs': {'input_views': views}})['inputs']['input_views']
    assert found.depth_features is None
    assert torch.equal(found.past.cameras.intrinsics[0], found.cameras.intrinsics[1])


def test_views_are_zoomed_as_often_as_asked_for():
    random.seed(0)
    plain = random_views(2, (12, 20), (12, 20)).cameras.intrinsics
    drawn = [zoomed(('A',), probability=0.3)['input_views'].cameras.intrinsics for _ in range(150)]
    changed = sum(int((one != plain).flatten(1).any(1).sum()) for one in drawn)
    # Four standard deviations of 300 throws of .3.
    assert 58 < changed < 122
    assert all(torch.equal(one, plain) for one in (zoomed(('A',), probability=0.0)['input_views'].cameras.intrinsics,))


@pytest.mark.parametrize('largest', [1.0, 2.0, 0.5, float('nan')])
def test_zooms_that_leave_the_image_are_refused(largest):
    with pytest.raises(InputError, match='more than 1 and less than 2'):
        ZoomViews(largest)
