"""Known geometry: what the dataset says about cameras, frames and points must agree with what is in the pictures."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.helpers.boxworld import CAMERAS, COLORS, SKY, BoxWorld
from tests.helpers.dataset import ALL_MAPS, build_dataset


@pytest.fixture(scope='module')
def sample(box_root):
    """Frame 1 with the next frame among the targets."""
    return build_dataset(box_root, test_mode=True, add_next_frame_for_eval=True, **ALL_MAPS)[1]


def world_points(box_root, world: BoxWorld, frame: int, at_frame: int) -> tuple[np.ndarray, np.ndarray]:
    """LiDAR points of ``frame`` in the LiDAR frame of ``at_frame``, and the box each lies on."""
    points = np.fromfile(box_root / f'lidar/{frame}.bin', np.float32).reshape(-1, 5)
    poses = [world.ego2global(f) @ world.lidar2ego for f in (frame, at_frame)]
    transform = np.linalg.inv(poses[1]) @ poses[0]
    return points[:, :3] @ transform[:3, :3].T + transform[:3, 3], points[:, 3].astype(int)


@pytest.mark.parametrize('view', range(12))
def test_lidar_points_on_boxes_land_on_their_pixels(sample, box_root, view):
    views = sample['inputs']['target_views']
    points, box = world_points(box_root, BoxWorld(), 1 + views.frames[view], at_frame=1)
    points, box = points[box >= 0], box[box >= 0]
    pixels, z = views.cameras[view].project(torch.tensor(points, dtype=torch.float32))
    u, v = pixels.round().long().unbind(-1)
    inside = (z > 1) & (u >= 0) & (u < 100) & (v >= 0) & (v < 60)
    assert inside.sum() > 50
    colors = views.images[view][:, v[inside], u[inside]].T * 255
    expected = torch.tensor(COLORS)[box][inside]
    # Not all: the camera stands elsewhere than the LiDAR, so boxes hide parts of others and of themselves.
    assert ((colors - expected).abs().amax(dim=1) < 1).float().mean() > 0.9


def test_every_view_of_the_current_frame_shows_its_own_box(sample):
    views = sample['inputs']['input_views']
    assert views.names == CAMERAS
    for image, color in zip(views.images, COLORS, strict=True):
        assert ((image - torch.tensor(color)[:, None, None] / 255).abs().amax(dim=0) < 0.01).sum() > 100


def test_colors_are_rgb_and_axes_right_forward_up(sample):
    views = sample['inputs']['input_views']
    front = CAMERAS.index('FRONT')
    # The box before the car is red: channel 0.
    assert torch.equal(views.images[front][:, 28, 52] * 255, torch.tensor([255.0, 0.0, 0.0]))
    # The sky is up in every picture, and up is +z; forward is +y; the left camera looks to -x.
    for index in range(len(views)):
        assert torch.allclose(views.images[index][:, 0, 0] * 255, torch.tensor(SKY).float())
        _, directions = views.cameras[index].rays(60, 100)
        assert (directions[0, :, 2] > 0.2).all() and (directions[-1, :, 2] < 0).all()
    rotations = views.cameras.cam2world[:, :3, :3]
    assert rotations[front, 1, 2] > 0.99
    assert rotations[CAMERAS.index('LEFT'), 0, 2] < -0.7
    assert rotations[CAMERAS.index('RIGHT'), 0, 2] > 0.7


@pytest.mark.parametrize('block', [0, 6])
def test_lidar_depth_agrees_with_the_true_depth(sample, block):
    views = sample['inputs']['target_views']
    lidar, truth = views.lidar_depth[block : block + 6], views.true_depth[block : block + 6]
    known = torch.isfinite(lidar)
    assert known.float().mean() > 0.1
    # A cell of the LiDAR image covers 2 x 2 pixels; it holds the nearest of its points.
    blocks = truth.nan_to_num(nan=1e3).unfold(1, 2, 2).unfold(2, 2, 2).flatten(3)
    low, high = blocks.amin(-1), blocks.amax(-1)
    fits = (lidar > 0.93 * low) & (lidar < 1.07 * high)
    assert fits[known].float().mean() > 0.9


def test_depth_moves_pixels_between_frames(sample):
    """Every pixel of the current view, lifted by its true depth, has that depth's color in the next frame."""
    views = sample['inputs']['target_views']
    front = CAMERAS.index('FRONT')
    now, then = 6 + front, front
    assert views.frames[now] == 0 and views.frames[then] == 1
    origin, directions = views.cameras[now].rays(60, 100)
    distance = views.true_depth[now] * views.cameras[now].ray_lengths(60, 100)
    known = torch.isfinite(distance)
    points = (origin + directions * distance[..., None])[known]
    pixels, z = views.cameras[then].project(points)
    u, v = pixels.round().long().unbind(-1)
    inside = (z > 1) & (u >= 0) & (u < 100) & (v >= 0) & (v < 60)
    same = (views.images[now][:, known][:, inside] - views.images[then][:, v[inside], u[inside]]).abs().amax(dim=0)
    assert inside.float().mean() > 0.4
    assert (same < 0.01).float().mean() > 0.93


def test_a_camera_moved_one_meter_sees_the_right_parallax(tmp_path):
    """A meter to the left moves a surface at depth z by f / z pixels to the right."""
    world = BoxWorld(frames=2, step=(0.0, 1.0), turn=0.0, lags=(0.0,) * 6)
    world.write(tmp_path)
    options = {'test_mode': True, 'add_next_frame_for_eval': True, 'load_truth': True, 'cameras': ['FRONT']}
    views = build_dataset(tmp_path, **options)[0]['inputs']['target_views']
    assert views.frames == (1, 0)
    offset = views.cameras.cam2world[0, :3, 3] - views.cameras.cam2world[1, :3, 3]
    assert torch.allclose(offset, torch.tensor([-1.0, 0.0, 0.0]), atol=1e-4)
    row = 20
    red = (views.images[:, 0, row] > 0.9) & (views.images[:, 1, row] < 0.1)
    edges = red.float().argmax(dim=1)
    depth = views.true_depth[1, row, edges[1]]
    parallax = views.cameras.intrinsics[0, 0, 0] / depth
    assert abs((edges[0] - edges[1]) - parallax) < 1.1
    assert parallax > 8


def test_resize_scales_image_and_intrinsics(box_root):
    small = build_dataset(box_root, image_size=(30, 50), render_size=(15, 25), test_mode=True)[0]['inputs'][
        'input_views'
    ]
    world = BoxWorld()
    assert small.images.shape == (6, 3, 30, 50) and small.lidar_depth.shape == (6, 15, 25)
    scale = np.diag([0.5, 0.5, 1])
    assert np.allclose(small.cameras.intrinsics[0], scale @ world.intrinsics, atol=1e-5)
    assert small.images.dtype == torch.float32 and small.images.min() >= 0 and small.images.max() <= 1


def test_lidar_points_lie_on_the_boxes_that_they_hit(box_root):
    """In the LiDAR frame, with their yaw."""
    sample = build_dataset(box_root, load_boxes=True)[2]['data_samples']
    points, hit = world_points(box_root, BoxWorld(), 2, at_frame=2)
    assert sample.box_names == ('car',) * len(CAMERAS)
    for index, box in enumerate(sample.boxes.double().numpy()):
        offset = points[hit == index] - box[:3]
        cos, sin = np.cos(box[6]), np.sin(box[6])
        along, across = offset[:, 0] * cos + offset[:, 1] * sin, offset[:, 1] * cos - offset[:, 0] * sin
        reach = np.abs(np.stack([along, across, offset[:, 2]], axis=1)) / (box[3:6] / 2)
        assert len(reach) > 20
        np.testing.assert_allclose(reach.max(axis=1), 1, atol=1e-4)
