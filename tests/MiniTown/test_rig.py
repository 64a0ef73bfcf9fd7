"""Sensors of the ego car by hand."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest

from projects.DistillNeRF.semantics.classes import CLASS_ID, CLASSES, OCC3D_CLASSES, OCC3D_ID, SKY
from projects.MiniTown.rig import CAMERAS, Camera, Lidar, box2world, moved, quaternion, rigid, transform

HALF = math.sqrt(0.5)


def camera(yaw: float = 0.0, pitch: float = 0.0, roll: float = 0.0) -> Camera:
    return Camera('A', 0, (1.0, 2.0, 3.0), yaw, pitch, roll, 1000.0, (800.0, 450.0))


@pytest.mark.parametrize(
    ('turned', 'forward', 'down'),
    [
        ({}, (1, 0, 0), (0, 0, -1)),
        # To the left; down by 90 degrees; clockwise about the line of sight.
        ({'yaw': 90.0}, (0, 1, 0), (0, 0, -1)),
        ({'pitch': 90.0}, (0, 0, -1), (-1, 0, 0)),
        ({'roll': 90.0}, (1, 0, 0), (0, 1, 0)),
        ({'yaw': 90.0, 'pitch': 45.0}, (0, HALF, -HALF), (0, -HALF, -HALF)),
    ],
)
def test_cameras_are_turned_about_the_axes_of_the_car(turned, forward, down):
    pose = camera(**turned).cam2ego
    np.testing.assert_allclose(pose[:3, 2], forward, atol=1e-12)
    np.testing.assert_allclose(pose[:3, 1], down, atol=1e-12)
    assert pose[:3, 3].tolist() == [1, 2, 3] and np.linalg.det(pose) == pytest.approx(1)


def test_intrinsics_are_scaled_from_images_of_1600_x_900():
    expected = [[500, 0, 400], [0, 500, 300], [0, 0, 1]]
    np.testing.assert_allclose(camera().intrinsics(600, 800), expected)
    np.testing.assert_allclose(camera().intrinsics(900, 1600), [[1000, 0, 800], [0, 1000, 450], [0, 0, 1]])


def test_the_six_cameras_look_around():
    yaws = {camera.name: camera.yaw for camera in CAMERAS}
    assert yaws['CAM_FRONT_LEFT'] > 50 and yaws['CAM_FRONT_RIGHT'] < -50 and abs(yaws['CAM_FRONT']) < 1
    assert len(CAMERAS) == 6


def test_the_lidar_looks_forward_with_its_y_axis():
    pose = Lidar(yaw=0.0, pitch=0.0, roll=0.0).lidar2ego
    np.testing.assert_allclose(pose[:3, :3], [[0, 1, 0], [-1, 0, 0], [0, 0, 1]], atol=1e-12)
    down = Lidar(yaw=0.0, pitch=90.0, roll=0.0).lidar2ego
    np.testing.assert_allclose(down[:3, 1], [0, 0, -1], atol=1e-12)
    left = Lidar(yaw=90.0, pitch=0.0, roll=0.0).lidar2ego
    np.testing.assert_allclose(left[:3, 1], [0, 1, 0], atol=1e-12)
    assert pose[:3, 3].tolist() == [0.94, 0, 1.84]


def test_poses_boxes_and_quaternions_agree_with_a_turn_by_hand():
    turn = rigid(np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]), (1, 2, 3))
    np.testing.assert_allclose(transform(turn, np.array([[1.0, 0, 0], [0, 0, 5]])), [[1, 3, 3], [1, 2, 8]])
    np.testing.assert_allclose(moved(turn, (1, 0, 0))[:3, 3], [1, 3, 3])
    assert quaternion(turn[:3, :3]) == pytest.approx([HALF, 0, 0, HALF])
    box = SimpleNamespace(yaw=math.pi / 2, center=(5.0, 6.0, 7.0))
    np.testing.assert_allclose(transform(box2world(box), np.array([2.0, 1, 0])), [4, 8, 7], atol=1e-12)


def test_classes_have_the_ids_of_the_benchmark():
    names = {'sky': 'free', 'road': 'driveable_surface', 'pavement': 'sidewalk', 'building': 'manmade', 'car': 'car'}
    for ours, theirs in names.items():
        assert OCC3D_CLASSES[OCC3D_ID[CLASS_ID[ours]]] == theirs
    assert SKY == CLASS_ID['sky'] == 0 and len(CLASSES) == 15 and len(OCC3D_CLASSES) == 18
