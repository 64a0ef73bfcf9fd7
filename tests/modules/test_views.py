"""Views check their sizes and are sliced as one."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from projects.DistillNeRF.modules.cameras import Cameras
from projects.DistillNeRF.modules.views import Views


def views(count: int = 4) -> Views:
    cameras = Cameras(torch.eye(3).repeat(count, 1, 1), torch.eye(4).repeat(count, 1, 1), height=2, width=3)
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


def test_intrinsics_of_larger_images_are_noticed():
    images = torch.rand(2, 3, 64, 112)
    with pytest.raises(ValueError, match=r'\(816.3, 491.5\) outside of images of 112x64.*\.resized\(64, 112\)'):
        small(FULL, images)
    # Half as large is enough to be noticed.
    with pytest.raises(ValueError, match='those of larger images'):
        small(Cameras(FULL, torch.eye(4), 900, 1600).resized(128, 224).intrinsics, images)
    assert len(small(FITTING, images)) == 2


@pytest.mark.parametrize(
    ('change', 'cure'),
    [
        (lambda images: images * 255, 'images / 255'),
        (lambda images: (images * 255).byte(), r'images\.float\(\) / 255'),
        (lambda images: images.movedim(1, -1), r'images\.movedim\(-1, 1\)'),
    ],
)
def test_images_of_another_form_are_noticed(change, cure):
    with pytest.raises(ValueError, match=cure):
        small(FITTING, change(torch.rand(2, 3, 64, 112, generator=torch.Generator().manual_seed(0))))


def test_crops_may_lose_their_principal_point():
    """To one side; and images without a view are views."""
    cameras = Cameras(torch.tensor([[[50.0, 0, -9], [0, 50, 70], [0, 0, 1]]]), torch.eye(4)[None], 64, 112)
    assert len(Views(torch.rand(1, 3, 64, 112), cameras, ('A',), (0,))[[]]) == 0
