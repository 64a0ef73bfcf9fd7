"""Rotations, inverses and the limits of calibrations, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from projects.DistillNeRF.geometry.poses import (
    check_intrinsics,
    check_poses,
    inverse_pose,
    pose_matrix,
    quaternion_matrix,
)
from projects.DistillNeRF.utils.errors import InputError

HALF = math.sqrt(0.5)


@pytest.mark.parametrize(
    ('quaternion', 'expected'),
    [
        ((1, 0, 0, 0), np.eye(3)),
        # A quarter turn about x takes y to z, about y takes z to x, about z takes x to y.
        ((HALF, HALF, 0, 0), [[1, 0, 0], [0, 0, -1], [0, 1, 0]]),
        ((HALF, 0, HALF, 0), [[0, 0, 1], [0, 1, 0], [-1, 0, 0]]),
        ((HALF, 0, 0, HALF), [[0, -1, 0], [1, 0, 0], [0, 0, 1]]),
        # A third of a turn about the diagonal takes x to y, y to z, z to x.
        ((0.5, 0.5, 0.5, 0.5), [[0, 0, 1], [1, 0, 0], [0, 1, 0]]),
        ((0.6, 0, 0, 0.8), [[-0.28, -0.96, 0], [0.96, -0.28, 0], [0, 0, 1]]),
    ],
)
def test_quaternions_begin_with_w(quaternion, expected):
    np.testing.assert_allclose(quaternion_matrix(quaternion, 'here'), expected, atol=1e-12)


def test_a_quaternion_of_nearly_length_one_is_made_exact():
    matrix = quaternion_matrix((1.0009 * HALF, 0, 0, 1.0009 * HALF), 'here')
    np.testing.assert_allclose(matrix, [[0, -1, 0], [1, 0, 0], [0, 0, 1]], atol=1e-12)
    for wrong in ((1.002, 0, 0, 0), (0.998, 0, 0, 0), (1, 0, 0), (0, 0, 0, 0), (math.nan, 0, 0, 1)):
        with pytest.raises(InputError, match=r'here: .* is no unit quaternion'):
            quaternion_matrix(wrong, 'here')


def test_a_pose_has_its_rotation_and_its_translation():
    pose = pose_matrix((HALF, 0, 0, HALF), (1, 2, 3), 'here')
    np.testing.assert_allclose(pose, [[0, -1, 0, 1], [1, 0, 0, 2], [0, 0, 1, 3], [0, 0, 0, 1]], atol=1e-12)
    with pytest.raises(InputError, match=r'here: the position .* holds NaN'):
        pose_matrix((1, 0, 0, 0), (0, math.inf, 0), 'here')


def test_an_inverse_undoes_its_pose():
    pose = pose_matrix((HALF, 0, 0, HALF), (1, 2, 3), 'here')
    expected = [[0, 1, 0, -2], [-1, 0, 0, 1], [0, 0, 1, -3], [0, 0, 0, 1]]
    np.testing.assert_allclose(inverse_pose(pose), expected, atol=1e-12)
    both = np.stack([pose, np.eye(4)])
    np.testing.assert_allclose(inverse_pose(both)[0], expected, atol=1e-12)
    np.testing.assert_allclose(inverse_pose(both)[1], np.eye(4))


def changed(base: np.ndarray, row: int, column: int, value: float) -> np.ndarray:
    matrix = base.copy()
    matrix[row, column] = value
    return matrix


@pytest.mark.parametrize(
    ('bad', 'word'),
    [
        (changed(np.eye(4), 0, 3, math.nan), 'holds NaN or infinity'),
        (changed(np.eye(4), 3, 0, 0.002), 'last row other than 0 0 0 1'),
        (changed(np.eye(4), 3, 3, 1.002), 'last row other than 0 0 0 1'),
        (changed(np.eye(4), 0, 0, 1.001), 'rotation that is not orthonormal'),
        (changed(np.eye(4), 0, 1, 0.0011), 'rotation that is not orthonormal'),
        (np.diag([1.0, -1, 1, 1]), r'rotation that mirrors \(determinant -1\)'),
    ],
)
def test_wrong_poses_are_refused(bad, word):
    good = pose_matrix((0.6, 0, 0, 0.8), (5e5, -2, 3), 'here')
    with pytest.raises(InputError, match=rf'second (has a )?{word}; the hint'):
        check_poses(np.stack([good, bad, bad]), ['first', 'second', 'third'], 'the hint')


def test_poses_that_are_rounded_are_taken():
    check_poses(np.stack([changed(np.eye(4), 0, 1, 0.0009), changed(np.eye(4), 3, 3, 1.0009)]), ['a', 'b'])


def camera(fx: float = 100, fy: float = 100, cx: float = 50, cy: float = 30) -> np.ndarray:
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]])


SIZE = (60.0, 100.0)


@pytest.mark.parametrize(
    ('bad', 'word'),
    [
        (camera(fx=math.nan), 'holds NaN or infinity'),
        (changed(camera(), 2, 0, 1e-5), 'no upper triangular pinhole matrix'),
        (changed(camera(), 2, 2, 2.0), 'no upper triangular pinhole matrix'),
        (changed(camera(), 1, 0, 1e-5), 'no upper triangular pinhole matrix'),
        # Focal lengths of 0.1 to 12 times the longer side, and at most twice each other.
        (camera(9.9, 9.9), 'implausible focal length'),
        (camera(1201, 1201), 'implausible focal length'),
        (camera(100, 201), 'implausible focal length'),
        (camera(100, 49), 'implausible focal length'),
        (camera(-100, -100), 'implausible focal length'),
        # Principal points up to a whole image from the middle.
        (camera(cx=151), 'principal point far outside'),
        (camera(cx=-51), 'principal point far outside'),
        (camera(cy=91), 'principal point far outside'),
        (camera(cy=-31), 'principal point far outside'),
    ],
)
def test_wrong_intrinsics_are_refused(bad, word):
    with pytest.raises(InputError, match=f'second .*{word}.*; the hint'):
        check_intrinsics(np.stack([camera(), bad]), np.array([SIZE, SIZE]), ['first', 'second'], 'the hint')


def test_intrinsics_at_the_limits_are_taken():
    edge = [camera(10.1, 10.1), camera(1199, 1199), camera(100, 199), camera(100, 51), camera(cx=149), camera(cy=-29)]
    skewed = changed(camera(), 0, 1, 3.0)
    check_intrinsics(np.stack([*edge, skewed]), np.array([SIZE] * 7), list('abcdefg'))


@pytest.mark.parametrize('size', [(0.0, 100.0), (60.0, 0.0), (-60.0, 100.0)])
def test_images_without_a_size_are_refused(size):
    with pytest.raises(InputError, match='belongs to an image without a size'):
        check_intrinsics(camera()[None], np.array([size]), ['a'])
