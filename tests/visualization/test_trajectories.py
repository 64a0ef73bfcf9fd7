"""Trajectories against the published ones, and what moving cameras does to them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from projects.DistillNeRF.errors import InputError
from projects.DistillNeRF.modules.cameras import Cameras
from projects.DistillNeRF.visualization.trajectories import (
    circle,
    left_right,
    move_cameras,
    three_from,
    trajectory,
    translation,
)


@pytest.fixture(scope='module')
def vectors(shared_dir) -> dict[str, torch.Tensor]:
    with np.load(shared_dir / 'parity/public/unit.npz') as archive:
        return {key: torch.from_numpy(archive[key]) for key in archive if key.startswith(('novel/', 'scene/'))}


@pytest.mark.parametrize('axis', ['x', 'y', 'z'])
def test_translation_is_the_published_one(vectors, axis):
    torch.testing.assert_close(translation(axis, start=2), vectors[f'novel/translation_{axis}'])


def test_paths_are_the_published_ones(vectors):
    torch.testing.assert_close(circle(), vectors['novel/circle_all'])
    torch.testing.assert_close(left_right(), vectors['novel/left_right_all'])


def test_three_views_from_an_index(vectors):
    starts = torch.tensor([[0, 47, 48, 49, 50], [0, 49, 50, 51, 52]])
    for path, row, lengths in zip(
        (circle(), left_right()), starts, vectors['novel/lengths_index0_and_last'], strict=True
    ):
        assert [len(three_from(path, index)) for index in row] == lengths.tolist()


def two_cameras() -> Cameras:
    cam2world = torch.eye(4).repeat(2, 1, 1)
    cam2world[0, :3, 3] = torch.tensor([0.0, 1.0, 0.5])
    cam2world[1, :3, 3] = torch.tensor([1.0, 0.0, 0.5])
    intrinsics = torch.tensor([[10.0, 0, 5], [0, 10, 4], [0, 0, 1]]).repeat(2, 1, 1)
    intrinsics[1, 0, 0] = 20
    return Cameras(intrinsics, cam2world, 8, 10)


def test_cameras_move_motion_by_motion_like_the_published_ones(vectors):
    rotations, positions = vectors['scene/out_rots'][0], vectors['scene/out_trans'][0]
    cam2world = torch.eye(4).repeat(2, 1, 1)
    cam2world[:, :3, :3], cam2world[:, :3, 3] = rotations, positions
    cameras = Cameras(vectors['scene/out_intrins'][0], cam2world, 900, 1600)
    moved = move_cameras(cameras, vectors['scene/novel_traj'], published_rotation=True)
    torch.testing.assert_close(moved.cam2world[:, :3, :3], vectors['scene/novel_out_target_rots'][0])
    torch.testing.assert_close(moved.cam2world[:, :3, 3], vectors['scene/novel_out_target_trans'][0])
    torch.testing.assert_close(moved.intrinsics, vectors['scene/novel_out_target_intrins'][0])


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
