"""Views check their sizes and are sliced as one."""

from __future__ import annotations

import dataclasses
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from projects.DistillNeRF.geometry.cameras import Cameras
from projects.DistillNeRF.geometry.views import Views, mirror_cameras, mirror_views
from projects.DistillNeRF.modules.voxels import VoxelGrid, point_codes
from tests.helpers.cameras import unit_cameras
from tests.helpers.networks import small_network
from tests.helpers.views import random_views


def views(count: int = 4) -> Views:
    cameras = unit_cameras(count, 2, 3)
    cameras.cam2world[:, 0, 3] = torch.arange(count)
    return Views(
        images=torch.arange(count)[:, None, None, None].expand(-1, 3, 2, 3).float(),
        cameras=cameras,
        names=tuple(f'CAM_{i}' for i in range(count)),
        frames=tuple(range(count)),
        lidar_depth=torch.arange(count)[:, None, None].expand(-1, 1, 2).float(),
    )


@pytest.mark.parametrize(
    ('index', 'expected'), [([2, 0], [2, 0]), (slice(1, 3), [1, 2]), (slice(-1, None), [3]), ([], [])]
)
def test_slicing_takes_every_field_in_the_same_order(index, expected):
    chosen = views()[index]
    assert len(chosen) == len(expected)
    assert chosen.images[:, 0, 0, 0].tolist() == expected
    assert chosen.cameras.cam2world[:, 0, 3].tolist() == expected
    assert chosen.lidar_depth[:, 0, 0].tolist() == expected
    assert chosen.names == tuple(f'CAM_{i}' for i in expected)
    assert chosen.frames == tuple(expected)
    assert chosen.teacher_depth is None


def test_a_slice_copies_nothing_and_a_list_does():
    whole = views()
    assert whole[1:].lidar_depth.data_ptr() == whole.lidar_depth[1:].data_ptr()
    assert whole[[1, 2]].lidar_depth.data_ptr() != whole.lidar_depth[1:].data_ptr()


def test_to_reaches_the_cameras():
    cast = views().to(torch.float64)
    assert cast.images.dtype == cast.cameras.intrinsics.dtype == cast.lidar_depth.dtype == torch.float64
    assert cast.sky_mask is None


@pytest.mark.parametrize(
    'change',
    [
        {'names': ('CAM_0',)},
        {'frames': (0, 0, 0)},
        {'images': torch.zeros(3, 3, 2, 3)},
        {'images': torch.zeros(4, 3, 2, 4)},
    ],
)
def test_contradicting_sizes_are_refused(change):
    with pytest.raises(ValueError, match='images'):
        dataclasses.replace(views(), **change)


def small(intrinsics: Tensor, images: Tensor) -> Views:
    """Two views of 64 x 112."""
    cameras = Cameras(intrinsics.repeat(2, 1, 1), torch.eye(4).repeat(2, 1, 1), 64, 112)
    return Views(images, cameras, ('A', 'B'), (0, 0))


FULL = torch.tensor([[1266.4, 0, 816.3], [0, 1266.4, 491.5], [0, 0, 1]])
FITTING = Cameras(FULL, torch.eye(4), 900, 1600).resized(64, 112).intrinsics


@pytest.fixture
def checked(device) -> None:
    """Values of other devices are not fetched to be checked: it would have to be waited for."""
    if device.type != 'cpu':
        pytest.skip('values are checked on CPUs alone')


@pytest.mark.usefixtures('checked')
def test_intrinsics_of_larger_images_are_noticed():
    images = torch.rand(2, 3, 64, 112)
    with pytest.raises(ValueError, match=r'\(816.3, 491.5\) outside of images of 112x64.*\.resized\(64, 112\)'):
        small(FULL, images)
    # Half as large is enough to be noticed.
    with pytest.raises(ValueError, match='those of larger images'):
        small(Cameras(FULL, torch.eye(4), 900, 1600).resized(128, 224).intrinsics, images)
    assert len(small(FITTING, images)) == 2


@pytest.mark.usefixtures('checked')
@pytest.mark.parametrize(
    ('change', 'hint'),
    [
        (lambda images: images * 255, 'images / 255'),
        (lambda images: (images * 255).byte(), r'images\.float\(\) / 255'),
        (lambda images: images.movedim(1, -1), r'images\.movedim\(-1, 1\)'),
    ],
)
def test_images_of_another_form_are_noticed(change, hint):
    with pytest.raises(ValueError, match=hint):
        small(FITTING, change(torch.rand(2, 3, 64, 112, generator=torch.Generator().manual_seed(0))))


def test_crops_may_lose_their_principal_point():
    """To one side; and images without a view are views."""
    cameras = Cameras(torch.tensor([[[50.0, 0, -9], [0, 50, 70], [0, 0, 1]]]), torch.eye(4)[None], 64, 112)
    assert len(Views(torch.rand(1, 3, 64, 112), cameras, ('A',), (0,))[[]]) == 0


MIRROR = torch.tensor([-1.0, 1, 1], dtype=torch.float64)


def skewed(cameras: Cameras) -> Cameras:
    """Cameras whose principal point is off the center, with a skew."""
    intrinsics = cameras.intrinsics.clone()
    intrinsics[:, 0, 1], intrinsics[:, 0, 2] = 0.7, intrinsics[:, 0, 2] + 3
    return replace(cameras, intrinsics=intrinsics)


def test_rays_of_mirrored_cameras_are_the_mirrored_rays(dtype):
    cameras = skewed(random_views(3, 0).cameras)
    origins, directions = cameras.rays(8, 12)
    mirrored_origins, mirrored_directions = mirror_cameras(cameras).rays(8, 12)
    torch.testing.assert_close(mirrored_origins, origins * MIRROR)
    torch.testing.assert_close(mirrored_directions, directions.flip(2) * MIRROR)
    determinants = torch.linalg.det(mirror_cameras(cameras).cam2world[:, :3, :3])
    torch.testing.assert_close(determinants, torch.ones(3, dtype=dtype))


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
