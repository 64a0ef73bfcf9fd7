"""Trajectories against the published ones, and what moving cameras does to them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from projects.DistillNeRF.errors import InputError
from projects.DistillNeRF.modules.cameras import Cameras
from projects.DistillNeRF.visualization.trajectories import (
    distinct,
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


def write(path: Path, content: object) -> str:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


def test_poses_of_a_file_are_metres_and_degrees_to_the_left(tmp_path):
    matrix = [[0, 1, 0, 1], [-1, 0, 0, 2], [0, 0, 1, 3], [0, 0, 0, 1]]
    motions = trajectory(write(tmp_path / 'a.json', [{'x': 0.5, 'y': -2}, {'z': 1.5, 'yaw': 90}, matrix]))
    assert motions.shape == (3, 4, 4)
    torch.testing.assert_close(motions[0, :3, 3], torch.tensor([0.5, -2, 0], dtype=torch.float64))
    # Forward (y) turns to the left (-x).
    forward = motions[1, :3, :3] @ torch.tensor([0.0, 1, 0], dtype=torch.float64)
    torch.testing.assert_close(forward, torch.tensor([-1.0, 0, 0], dtype=torch.float64))
    assert motions[1, 2, 3] == 1.5
    assert motions[2].tolist() == matrix


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('[{"x": 1}', 'not readable as JSON'),
        ([], 'holds no list of poses'),
        ({'x': 1}, 'holds no list of poses'),
        ([{'x': 1}, {'x': 1, 'pitch': 3}], 'pose 1 has pitch; give'),
        ([{'x': '1'}], 'pose 0 holds something else than numbers'),
        ([[1, 2, 3]], 'pose 0 is no finite 4 x 4 matrix'),
        ([[[1, 'a']]], 'pose 0 is no pose'),
        ('[{"x": NaN}]', 'pose 0 is no finite'),
        ([[[2, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]], 'pose 0 is not rigid'),
        ([[[-1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]], 'pose 0 is not rigid'),
        ([[[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 1]]], 'pose 0 is not rigid'),
    ],
)
def test_files_that_are_no_trajectory(tmp_path, content, message):
    with pytest.raises(InputError, match=rf'a\.json: .*{message}'):
        trajectory(write(tmp_path / 'a.json', content))


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match='no such file; give a JSON list'):
        trajectory(str(tmp_path / 'a.json'))


def test_repeated_poses_are_left_out():
    path = distinct(trajectory('left_right'))
    assert path[:, 0, 3].tolist() == pytest.approx([step / 10 for step in range(-12, 13)])
    turned = translation('x', start=1, count=1).clone()
    turned[0, :2, :2] = torch.tensor([[0.0, -1], [1, 0]])
    assert len(distinct(torch.cat([turned, translation('x', start=1, count=1), turned]))) == 2
