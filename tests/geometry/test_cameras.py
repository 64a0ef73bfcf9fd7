"""Camera geometry with numbers that can be checked by hand."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from projects.DistillNeRF.geometry.cameras import Cameras
from tests.helpers.cameras import facing, pinhole


def rig(count: int = 1) -> Cameras:
    """Cameras of 5 x 9 pixels with focal length 4 and the principal point in the middle, at (0, 0, i)."""
    intrinsics = pinhole(4.0, (4, 2), count)
    cam2world = torch.eye(4).repeat(count, 1, 1)
    cam2world[:, 2, 3] = torch.arange(count)
    return Cameras(intrinsics, cam2world, height=5, width=9)


def test_indexing_keeps_the_size_and_moves_both_matrices():
    cameras = rig(3)
    assert len(cameras) == 3
    chosen = cameras[[2, 0]]
    assert chosen.cam2world[:, 2, 3].tolist() == [2, 0]
    assert chosen.intrinsics.shape == (2, 3, 3)
    assert (chosen.height, chosen.width) == (5, 9)
    assert cameras[1].shape == ()


def test_to_casts_every_tensor():
    cameras = rig().to(torch.float64)
    assert cameras.intrinsics.dtype == cameras.cam2world.dtype == torch.float64
    assert cameras.height == 5


def test_resizing_scales_pixels():
    cameras = rig()
    halved = cameras.resized(10, 3)
    expected = torch.tensor([[4 / 3, 0, 4 / 3], [0, 8, 4], [0, 0, 1]])
    torch.testing.assert_close(halved.intrinsics[0], expected)
    assert (halved.height, halved.width) == (10, 3)
    point = torch.tensor([[0.3, -0.2, 2.0]])
    old, new = cameras.project(point)[0], halved.project(point)[0]
    torch.testing.assert_close(new, old * torch.tensor([3 / 9, 10 / 5]))


def test_pixel_grid_spans_corner_to_corner():
    grid = rig().pixel_grid(3, 5)
    assert grid[0, 0].tolist() == [0, 0]
    assert grid[-1, -1].tolist() == [8, 4]
    assert grid[1, 1].tolist() == [2, 2]
    assert rig().pixel_grid(1, 1).tolist() == [[[0, 0]]]


def test_directions_and_ray_lengths():
    cameras = rig()
    directions = cameras.pixel_directions(5, 9)
    torch.testing.assert_close(directions[0, 2, 4], torch.tensor([0.0, 0, 1]))
    torch.testing.assert_close(directions[0, 0, 0], torch.tensor([-1.0, -0.5, 1]))
    lengths = cameras.ray_lengths(5, 9)
    torch.testing.assert_close(lengths[0, 2, 4], torch.tensor(1.0))
    torch.testing.assert_close(lengths[0, 2, 8], torch.tensor(math.sqrt(2)))


def test_rays_are_unit_vectors_in_the_world():
    cameras = rig()
    cameras.cam2world[0, :3, :3] = facing()
    cameras.cam2world[0, :3, 3] = torch.tensor([1.0, 2, 3])
    origins, directions = cameras.rays(5, 9)
    torch.testing.assert_close(origins, torch.tensor([[1.0, 2, 3]]))
    torch.testing.assert_close(directions[0, 2, 4], torch.tensor([0.0, 1, 0]))
    # Right in the image is world +x, down in the image is world -z.
    torch.testing.assert_close(directions[0, 2, 8], torch.tensor([1.0, 1, 0]) / math.sqrt(2))
    torch.testing.assert_close(directions[0, 4, 4], torch.tensor([0.0, 1, -0.5]) / math.sqrt(1.25))
    torch.testing.assert_close(directions.norm(dim=-1), torch.ones(1, 5, 9))


def test_projection_returns_what_rays_hit(dtype):
    generator = torch.Generator().manual_seed(0)
    cameras = rig(2).to(torch.float64)
    cameras.cam2world[1, :3, :3] = facing()
    origins, directions = cameras.rays(5, 9)
    distance = 1 + torch.rand(2, 5, 9, dtype=dtype, generator=generator)
    points = origins[:, None, None] + distance[..., None] * directions
    for i in range(2):
        pixels, z = cameras[i].project(points[i].reshape(-1, 3))
        torch.testing.assert_close(pixels, cameras.pixel_grid(5, 9).reshape(-1, 2))
        torch.testing.assert_close(z * cameras.ray_lengths(5, 9)[i].reshape(-1), distance[i].reshape(-1))


def test_points_behind_the_camera_have_negative_z():
    _, z = rig(2).project(torch.tensor([[0.0, 0, 0.5]]))
    assert z.tolist() == [[0.5], [-0.5]]


def test_autocast_does_not_reach_the_geometry(device):
    cameras, points = rig(2), torch.tensor([[0.3, -0.2, 20.123]])
    expected = (*cameras.rays(5, 9), cameras.ray_lengths(5, 9), *cameras.project(points))
    with torch.autocast(device.type, dtype=torch.bfloat16):
        ours = (*cameras.rays(5, 9), cameras.ray_lengths(5, 9), *cameras.project(points))
    torch.testing.assert_close(ours, expected, rtol=0, atol=0)


def test_points_in_the_plane_of_the_camera_have_finite_pixels():
    pixels, z = rig().project(torch.tensor([[0.3, 0.1, 0.0], [0.3, 0.1, -2.0]]))
    assert pixels.isfinite().all() and z.tolist() == [[0.0, -2.0]]


def test_a_point_by_hand():
    """Skewed pixels of a camera that stands at (1, 2, 3), looks along world +y and is 5 rows high, 9 columns wide."""
    cameras = rig()
    cameras.cam2world[0, :3, :3] = facing()
    cameras.cam2world[0, :3, 3] = torch.tensor([1.0, 2, 3])
    cameras.intrinsics[0] = torch.tensor([[4.0, 0.5, 4], [0, 6, 2], [0, 0, 1]])
    # 1 m to the right, 2 m down, 4 m ahead.
    pixels, z = cameras.project(torch.tensor([[2.0, 6.0, 1.0]]))
    assert z.item() == 4
    torch.testing.assert_close(pixels, torch.tensor([[[4 * 0.25 + 0.5 * 0.5 + 4, 6 * 0.5 + 2]]]))
    torch.testing.assert_close(cameras.pixel_directions(5, 9)[0, 0, 0], torch.tensor([-(4 - 0.5 / 3) / 4, -1 / 3, 1]))


def test_intrinsics_without_an_inverse_are_refused():
    cameras = rig(2)
    intrinsics = cameras.intrinsics.cpu().clone()
    intrinsics[1] = 0
    with pytest.raises(ValueError, match=r'no inverse; give pinhole matrices'):
        dataclasses.replace(cameras, intrinsics=intrinsics)
