"""Trajectories against the published ones, and what moving cameras does to them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from projects.DistillNeRF.geometry.cameras import Cameras
from projects.DistillNeRF.geometry.trajectories import (
    circle,
    distinct,
    left_right,
    move_cameras,
    shifts,
    three_from,
    trajectory,
    translation,
)
from projects.DistillNeRF.utils.errors import InputError


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


def test_poses_of_a_file_are_meters_and_degrees_to_the_left(tmp_path, device, dtype):
    matrix = [[0, 1, 0, 1], [-1, 0, 0, 2], [0, 0, 1, 3], [0, 0, 0, 1]]
    content = [{'x': 0.5, 'y': -2}, {'z': 1.5, 'yaw': 90}, matrix]
    motions = trajectory(write(tmp_path / 'a.json', content)).to(device)
    assert motions.shape == (3, 4, 4)
    torch.testing.assert_close(motions[0, :3, 3], torch.tensor([0.5, -2, 0], dtype=dtype))
    # Forward (y) turns to the left (-x).
    forward = motions[1, :3, :3] @ torch.tensor([0.0, 1, 0], dtype=dtype)
    torch.testing.assert_close(forward, torch.tensor([-1.0, 0, 0], dtype=dtype))
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
def test_files_that_are_no_trajectory_are_refused(tmp_path, content, message):
    with pytest.raises(InputError, match=rf'a\.json: .*{message}'):
        trajectory(write(tmp_path / 'a.json', content))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match='no such file; give a JSON list'):
        trajectory(str(tmp_path / 'a.json'))


def test_repeated_poses_are_left_out():
    path = distinct(trajectory('left_right'))
    assert path[:, 0, 3].tolist() == pytest.approx([step / 10 for step in range(-12, 13)])
    turned = translation('x', start=1, count=1).clone()
    turned[0, :2, :2] = torch.tensor([[0.0, -1], [1, 0]])
    assert len(distinct(torch.cat([turned, translation('x', start=1, count=1), turned]))) == 2


def positions(motions: torch.Tensor) -> list[list[float]]:
    """Shifts (x, y, z), rounded to the millimeter; nothing may be turned."""
    assert torch.equal(motions[:, :3, :3], torch.eye(3, dtype=motions.dtype).expand(len(motions), 3, 3))
    return [[round(value, 3) + 0.0 for value in motion[:3, 3].tolist()] for motion in motions]


def test_left_right_goes_to_the_right_first():
    """From the middle 1.2 m to the right and back, then to the left and back; turning points and middle come twice."""
    out = [round(0.1 * step, 1) for step in range(13)]
    x = [*out, *out[::-1], *(-value for value in out), *(-value for value in out[::-1])]
    assert positions(trajectory('left_right')) == [[value + 0.0, 0, 0] for value in x]
    assert positions(left_right(steps=1, step=2.0)) == [[x, 0, 0] for x in (0, 2, 2, 0, 0, -2, -2, 0)]


def test_the_circle_goes_out_to_the_right_and_over_the_top():
    found = positions(circle(radius=1.0, step=0.5, arc_steps=4))
    half = 0.707
    arc = [[1, 0, 0], [half, 0, half], [0, 0, 1], [-half, 0, half], [-1, 0, 0]]
    assert found == [[0, 0, 0], [0.5, 0, 0], *arc, [-0.5, 0, 0]]
    usual = positions(trajectory('circle'))
    assert len(usual) == 50 and usual[9] == [0.9, 0, 0] and usual[10] == [1, 0, 0]
    assert usual[25] == [0, 0, 1] and usual[41] == [-0.9, 0, 0] and usual[49] == [-0.1, 0, 0]


def test_a_translation_is_three_steps_of_a_meter_to_the_right():
    assert positions(trajectory('translation')) == [[0, 0, 0], [1, 0, 0], [2, 0, 0]]
    assert positions(translation('y', start=-1, step=0.5, count=2)) == [[0, -1, 0], [0, -0.5, 0]]
    assert positions(translation('z', count=1, start=4)) == [[0, 0, 4]]


def test_three_poses_from_one_on_end_with_the_trajectory():
    motions = translation('x', count=5)
    assert [len(three_from(motions, index)) for index in (0, 2, 3, 4)] == [3, 3, 2, 1]
    assert positions(three_from(motions, 1)) == [[1, 0, 0], [2, 0, 0], [3, 0, 0]]


def test_distinct_poses_come_in_the_order_of_x_then_y_then_z():
    motions = shifts(torch.tensor([[1.0, 0, 0], [0, 2, 1], [0, 2, 0], [1, 0, 1e-8], [0, -1, 5]]))
    assert positions(distinct(motions)) == [[0, -1, 5], [0, 2, 0], [0, 2, 1], [1, 0, 0]]


def test_published_rotations_leave_cameras_at_their_place():
    quarter = torch.eye(4)[None].clone()
    quarter[0, :2, :2] = torch.tensor([[0.0, -1], [1, 0]])
    quarter[0, :3, 3] = torch.tensor([5.0, 0, 0])
    moved = move_cameras(two_cameras(), quarter, published_rotation=True)
    torch.testing.assert_close(moved.cam2world[:, :3, 3], torch.tensor([[5.0, 1, 0.5], [6, 0, 0.5]]))
    torch.testing.assert_close(moved.cam2world[0, :3, :3], quarter[0, :3, :3])
    rigid = move_cameras(two_cameras(), quarter)
    torch.testing.assert_close(rigid.cam2world[:, :3, 3], torch.tensor([[4.0, 0, 0.5], [5, 1, 0.5]]))
    torch.testing.assert_close(rigid.cam2world[0, :3, :3], quarter[0, :3, :3])
