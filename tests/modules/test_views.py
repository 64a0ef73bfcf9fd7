"""Views check their sizes and are sliced as one."""

from __future__ import annotations

import dataclasses

import pytest
import torch

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
