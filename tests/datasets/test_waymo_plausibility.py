"""Points that contradict Waymo's own projections, or times that contradict the speed of the vehicle, are told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from projects.DistillNeRF.datasets.converters.waymo import convert as waymo
from projects.DistillNeRF.datasets.converters.waymo.frames import Frame
from projects.DistillNeRF.datasets.converters.waymo.plausibility import (
    check_lasers,
    laser_and_vehicle_velocity,
    projection_offset,
)
from projects.DistillNeRF.geometry.poses import inverse_pose
from tests.helpers.waymo_surroundings import SPEED
from tests.helpers.waymo_world import WaymoWorld
from verification.reference.waymo_records import file_name, write_segment

WORLD = WaymoWorld()


@pytest.fixture(scope='module')
def frame() -> Frame:
    """A frame with the projections of the top laser into the front camera, each pixel on its own."""
    made = WORLD.frame(1)
    top, image, camera = made.returns['TOP'], made.images['FRONT'], made.cameras['FRONT']
    projections = np.zeros((WORLD.rows, WORLD.columns, 6), np.int32)
    laser = made.lasers['TOP']
    turned = np.arctan2(laser.laser2vehicle[1, 0], laser.laser2vehicle[0, 0])
    for column in range(WORLD.columns):
        share = (column + 0.5) / WORLD.columns
        around = np.pi - 2 * np.pi * share - turned
        pose = WORLD.vehicle2global(0.1 + 0.1 * share) @ laser.laser2vehicle
        for row, up in enumerate(laser.inclinations[::-1]):
            distance = top.range_images[0][row, column, 0]
            beam = np.array([np.cos(up) * np.cos(around), np.cos(up) * np.sin(around), np.sin(up)])
            point = inverse_pose(image.vehicle2global @ camera.camera2vehicle) @ pose @ [*(beam * distance), 1]
            if distance > 0 and point[0] > 1 and abs(point[1]) < 0.4 * point[0]:
                turn = np.array([[-point[1], -point[2], point[0]]])
                still = np.zeros(3)
                pixel = cv2.projectPoints(turn, still, still, camera.intrinsics, camera.distortion)[0].ravel()
                projections[row, column, :3] = 1, *pixel.round()
    assert (projections[..., 0] == 1).sum() > 200
    return replace(made, returns={**made.returns, 'TOP': replace(top, camera_projections=projections)})


def moved(frame: Frame, columns: int) -> Frame:
    top = frame.returns['TOP']
    return replace(
        frame, returns={'TOP': replace(top, camera_projections=np.roll(top.camera_projections, columns, axis=1))}
    )


def test_true_projections_agree(frame: Frame, capsys) -> None:
    assert projection_offset(frame, 'here') < 0.8  # rounded to whole pixels
    check_lasers(frame, 'here')
    assert capsys.readouterr().err == ''


def test_false_projections_are_told(frame: Frame, capsys) -> None:
    check_lasers(moved(frame, 4), 'here')
    assert 'here: half of the LiDAR points are' in capsys.readouterr().err


def test_the_laser_moves_as_the_vehicle_does(frame: Frame) -> None:
    laser, vehicle = laser_and_vehicle_velocity(frame, 'here')
    assert np.linalg.norm(vehicle) == pytest.approx(SPEED, rel=1e-3)
    assert np.linalg.norm(laser - vehicle) < 1


def test_columns_in_another_order_of_time_are_told(frame: Frame, tmp_path: Path, capsys) -> None:
    top = frame.returns['TOP']
    backwards = replace(top, pixel_poses=np.ascontiguousarray(top.pixel_poses[:, ::-1]))
    back = replace(frame, returns={**frame.returns, 'TOP': backwards})
    write_segment(tmp_path / file_name(WORLD.name), [back])
    waymo.convert(tmp_path, tmp_path / 'out')
    assert 'record 0: by its poses the top laser moves with' in capsys.readouterr().err


def test_what_is_not_there_is_not_checked(frame: Frame, capsys) -> None:
    for less in (replace(frame, returns={}), replace(frame, images={}), WORLD.frame(1)):
        check_lasers(less, 'here')
    assert projection_offset(WORLD.frame(1), 'here') is None
    assert laser_and_vehicle_velocity(replace(frame, images={}), 'here') is None
    assert capsys.readouterr().err == ''
