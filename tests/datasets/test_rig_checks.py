"""What the cameras of a rig must fulfill, at its limits."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from projects.DistillNeRF.datasets.rig_checks import check_distinct, check_rig, lonely_cameras, overlaps
from projects.DistillNeRF.geometry.cameras import Cameras
from projects.DistillNeRF.utils.errors import InputError

# Columns: x right, y down, z forward of a camera that looks along +y of the world, z up.
AHEAD = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
K = np.array([[50.0, 0, 50], [0, 50, 30], [0, 0, 1]])


def rotation(axis: int, degrees: float) -> np.ndarray:
    """About an axis of the camera: 0 pitches it up, 1 turns it to the right, 2 rolls it clockwise."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    a, b = [i for i in range(3) if i != axis]
    matrix = np.eye(3)
    matrix[a, a] = matrix[b, b] = c
    matrix[a, b], matrix[b, a] = (-s, s) if axis != 1 else (s, -s)
    return matrix


def pose(position=(0.0, 0.0, 0.0), axis: int = 0, degrees: float = 0.0) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = AHEAD @ rotation(axis, degrees)
    matrix[:3, 3] = position
    return matrix


def check(*poses: np.ndarray, matrix: np.ndarray = K, height: float = 1.84) -> None:
    count = len(poses)
    names = 'abcd'[:count]
    labels = [f'f: camera {name}' for name in names]
    sizes = np.array([(60, 100)] * count)
    check_rig(np.stack([matrix] * count), np.stack(poses), sizes, height, labels, 'the hint')
    check_distinct(np.stack(poses)[None], [labels], names, 'the hint')


@pytest.mark.parametrize('degrees', [49.5, -49.5])
def test_cameras_may_look_steeply_and_be_turned(degrees):
    check(pose(axis=0, degrees=degrees))
    check(pose(axis=2, degrees=degrees * 0.9))


@pytest.mark.parametrize(
    ('axis', 'degrees', 'word'),
    [
        (0, 50.6, 'looks up, 51 degrees'),
        (0, -50.6, 'looks down, 51 degrees'),
        (0, 89.0, 'looks up, 89 degrees'),
        (2, 45.5, 'turned by 46 degrees'),
        (2, -45.6, 'turned by 46 degrees'),
        (2, 180.0, 'turned by 180 degrees'),
    ],
)
def test_a_camera_that_looks_too_steeply_or_is_turned_is_refused(axis, degrees, word):
    with pytest.raises(InputError, match=rf'camera b: (is )?{word}'):
        check(pose((1, 0, 0)), pose(axis=axis, degrees=degrees))


def test_a_camera_may_look_to_any_side():
    for degrees in (90, 180, -120):
        check(pose(axis=1, degrees=degrees))


@pytest.mark.parametrize(
    ('position', 'word'),
    [((12.1, 16.0, 0), r'20\.0\d* m from the origin'), ((0, 0, -1.85), r'0\.01 m below the road')],
)
def test_a_camera_too_far_away_or_below_the_road_is_refused(position, word):
    with pytest.raises(InputError, match=f'camera a: is {word}'):
        check(pose(position))


def test_positions_at_the_limits_are_taken():
    check(pose((11.9, 16.0, 0)))
    check(pose((0, 0, -1.83)))
    check(pose((0, 0, -2.9)), height=3.0)


@pytest.mark.parametrize(
    ('cx', 'cy', 'good'), [(0, 0, True), (99, 59, True), (100, 30, False), (50, 60, False), (-1, 5, False)]
)
def test_the_principal_point_lies_in_the_image(cx, cy, good):
    matrix = np.array([[50.0, 0, cx], [0, 50, cy], [0, 0, 1]])
    if good:
        check(pose(), matrix=matrix)
    else:
        with pytest.raises(InputError, match=rf'principal point \({cx}, {cy}\) lies outside the image of 100x60'):
            check(pose(), matrix=matrix)


def test_two_cameras_of_one_pose_are_refused():
    with pytest.raises(InputError, match='camera c: cam2vehicle is the same as that of camera a'):
        check(pose(), pose((1, 0, 0)), pose((0.0009, 0, 0)))
    check(pose(), pose((0.0011, 0, 0)))


def ring(*degrees: float) -> Cameras:
    """Cameras of 90 degrees that look so far to the right."""
    poses = np.stack([pose(axis=1, degrees=d) for d in degrees])
    intrinsics = torch.tensor(K).repeat(len(degrees), 1, 1)
    return Cameras(intrinsics, torch.tensor(poses), 60, 100)


def test_cameras_overlap_where_their_views_do():
    assert overlaps(ring(0, 80, 180)).tolist() == [[False, True, False], [True, False, False], [False, False, False]]
    assert lonely_cameras(ring(0, 80, 180)) == [2]
    assert lonely_cameras(ring(0, 80, 170)) == [2] and lonely_cameras(ring(0, 80, 165)) == []
    assert lonely_cameras(ring(0)) == []


def test_it_is_enough_that_one_sees_what_is_before_the_other():
    """A narrow camera beside a wide one sees only what the wide one sees, too."""
    cameras = ring(0, 30)
    cameras.intrinsics[1, 0, 0] = cameras.intrinsics[1, 1, 1] = 500
    assert lonely_cameras(cameras) == []
