"""What the depth nets are told of the cameras follows the cameras."""

from __future__ import annotations

from dataclasses import replace

import torch

from projects.DistillNeRF.geometry.cameras import Cameras
from projects.DistillNeRF.geometry.views import mirror_cameras
from projects.DistillNeRF.modules.ray_inputs import RAY_CHANNELS, USUAL_FOCAL_LENGTH, ray_inputs
from tests.helpers.cameras import level_cameras, pinhole, random_cameras

ACROSS, DOWN, ELEVATION, HEIGHT, FOCAL = range(RAY_CHANNELS)


def cameras() -> Cameras:
    return random_cameras(3, 8, 12, torch.Generator().manual_seed(0))


def test_values_by_hand():
    """A level camera 1.5 m high: the pixel one focal length right of and below the center looks 35 degrees down."""
    pose = level_cameras((0.0,), 9, 9).cam2world.clone()
    pose[:, 2, 3] = 1.5
    rays = ray_inputs(Cameras(pinhole(4.0, (4, 4)), pose, 9, 9))
    assert rays.shape == (1, RAY_CHANNELS, 9, 9) and not rays.requires_grad
    torch.testing.assert_close(
        rays[0, :, 8, 8],
        torch.tensor([1, 1, -(3**-0.5), 1.5, 0])
        + torch.tensor([0, 0, 0, 0, 4 / USUAL_FOCAL_LENGTH]).log().nan_to_num(neginf=0.0),
    )
    torch.testing.assert_close(rays[0, :3, 4, 4], torch.zeros(3))


def test_rays_agree_with_those_of_the_cameras():
    views = cameras()
    rays = ray_inputs(views)
    origins, directions = views.rays(8, 12)
    torch.testing.assert_close(rays[:, ELEVATION], directions[..., 2])
    in_camera = torch.stack([rays[:, ACROSS], rays[:, DOWN], torch.ones_like(rays[:, 0])], -1)
    turned = (views.cam2world[:, None, None, :3, :3] @ in_camera[..., None])[..., 0]
    torch.testing.assert_close(turned / turned.norm(dim=-1, keepdim=True), directions)
    assert (rays[:, HEIGHT] == origins[:, None, None, 2]).all()


def test_a_longer_focal_length_changes_directions_and_its_own_channel():
    views = cameras()
    matrices = views.intrinsics.clone()
    matrices[:, :2, :2] *= 2
    rays, longer = ray_inputs(views), ray_inputs(replace(views, intrinsics=matrices))
    torch.testing.assert_close(longer[:, [ACROSS, DOWN]], rays[:, [ACROSS, DOWN]] / 2)
    torch.testing.assert_close(longer[:, FOCAL] - rays[:, FOCAL], torch.full_like(rays[:, 0], 2).log())
    assert torch.equal(longer[:, HEIGHT], rays[:, HEIGHT])


def test_a_camera_moved_on_the_ground_is_told_the_same_and_a_raised_one_its_height():
    views = cameras()
    pose = views.cam2world.clone()
    pose[:, :2, 3] += 3.0
    assert torch.equal(ray_inputs(replace(views, cam2world=pose)), ray_inputs(views))
    pose[:, 2, 3] += 1.0
    raised = ray_inputs(replace(views, cam2world=pose)) - ray_inputs(views)
    torch.testing.assert_close(raised[:, HEIGHT], torch.ones_like(raised[:, HEIGHT]))
    assert not raised[:, [ACROSS, DOWN, ELEVATION, FOCAL]].any()


def test_mirrored_cameras_are_told_the_mirrored_rays():
    views = cameras()
    expected = ray_inputs(views).flip(-1)
    expected[:, ACROSS] *= -1
    torch.testing.assert_close(ray_inputs(mirror_cameras(views)), expected)
