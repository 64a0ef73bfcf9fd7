"""The mirrored world seen by mirrored cameras is the mirrored picture."""

from __future__ import annotations

from dataclasses import replace

import torch

from projects.DistillNeRF.modules.cameras import Cameras
from projects.DistillNeRF.modules.mirror import mirror_cameras, mirror_views
from projects.DistillNeRF.modules.voxels import VoxelGrid, point_codes
from tests.models.test_network import random_views, small_network

MIRROR = torch.tensor([-1.0, 1, 1], dtype=torch.float64)


def skewed(cameras: Cameras) -> Cameras:
    """Cameras whose principal point is off the centre, with a skew."""
    intrinsics = cameras.intrinsics.clone()
    intrinsics[:, 0, 1], intrinsics[:, 0, 2] = 0.7, intrinsics[:, 0, 2] + 3
    return replace(cameras, intrinsics=intrinsics)


def test_rays_of_mirrored_cameras_are_the_mirrored_rays():
    cameras = skewed(random_views(3, 0).cameras)
    origins, directions = cameras.rays(8, 12)
    mirrored_origins, mirrored_directions = mirror_cameras(cameras).rays(8, 12)
    torch.testing.assert_close(mirrored_origins, origins * MIRROR)
    torch.testing.assert_close(mirrored_directions, directions.flip(2) * MIRROR)
    determinants = torch.linalg.det(mirror_cameras(cameras).cam2world[:, :3, :3])
    torch.testing.assert_close(determinants, torch.ones(3, dtype=torch.float64))


def test_a_mirrored_scene_renders_the_mirrored_depth_and_composite():
    """Before the head: the decoder's convolutions are not symmetric."""
    network = small_network()
    views = random_views(2, 0)
    scene, cameras = network(views), skewed(random_views(2, 1).cameras)
    rays = scene.render_composite(cameras)

    level = network.fine_level
    cells = scene.grid.centers(level).double() * MIRROR
    codes = point_codes(cells, level)
    grid, index = VoxelGrid.build(codes, network.coarse_level, level)
    fine = torch.empty_like(scene.fine)
    fine[index.long()] = scene.fine
    coarse = torch.empty_like(scene.coarse)
    coarse[grid.parents[index.long()].long()] = scene.coarse[scene.grid.parents.long()]
    mirrored = replace(scene, grid=grid, coarse=coarse, fine=fine).render_composite(mirror_cameras(cameras))
    assert rays.opacity.max() > 0.5
    torch.testing.assert_close(mirrored.depth, rays.depth.flip(-1))
    torch.testing.assert_close(mirrored.composite, rays.composite.flip(-1))


def test_mirroring_twice_changes_nothing():
    views = random_views(2, 0)
    views = replace(views, lidar_depth=torch.rand(2, 4, 6), features=torch.rand(2, 3, 2, 5))
    twice = mirror_views(mirror_views(views))
    torch.testing.assert_close(twice.images, views.images)
    torch.testing.assert_close(twice.lidar_depth, views.lidar_depth)
    torch.testing.assert_close(twice.cameras.intrinsics, views.cameras.intrinsics)
    torch.testing.assert_close(twice.cameras.cam2world, views.cameras.cam2world)
    assert torch.equal(mirror_views(views).features, views.features.flip(-1))
