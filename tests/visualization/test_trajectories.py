"""Trajectories against the published ones, and what moving cameras does to them."""

from __future__ import annotations

import pytest
import torch

from projects.DistillNeRF.errors import InputError
from projects.DistillNeRF.modules.cameras import Cameras
from projects.DistillNeRF.visualization.trajectories import (
    move_cameras,
    trajectory,
    translation,
)


def two_cameras() -> Cameras:
    cam2world = torch.eye(4).repeat(2, 1, 1)
    cam2world[0, :3, 3] = torch.tensor([0.0, 1.0, 0.5])
    cam2world[1, :3, 3] = torch.tensor([1.0, 0.0, 0.5])
    intrinsics = torch.tensor([[10.0, 0, 5], [0, 10, 4], [0, 0, 1]]).repeat(2, 1, 1)
    intrinsics[1, 0, 0] = 20
    return Cameras(intrinsics, cam2world, 8, 10)


def test_a_turned_rig_keeps_its_shape():
    quarter = torch.eye(4)[None].clone()
    quarter[0, :2, :2] = torch.tensor([[0.0, -1], [1, 0]])
    moved = move_cameras(two_cameras(), quarter)
    torch.testing.assert_close(moved.cam2world[:, :3, 3], torch.tensor([[-1.0, 0, 0.5], [0, 1, 0.5]]))


def test_motions_are_in_the_world():
    moved = move_cameras(two_cameras(), translation('z', start=1, count=2))
    assert len(moved) == 4
    assert moved.cam2world[:, 2, 3].tolist() == [1.5, 1.5, 2.5, 2.5]
    assert moved.intrinsics[:, 0, 0].tolist() == [10, 20, 10, 20]


def test_unknown_names_are_named():
    with pytest.raises(InputError, match=r'spiral.*left_right'):
        trajectory('spiral')
    with pytest.raises(InputError, match='axis'):
        translation('w')
