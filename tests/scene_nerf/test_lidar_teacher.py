"""The LiDAR teacher on a street with exact answers."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from projects.DistillNeRF.geometry.cameras import Cameras
from projects.DistillNeRF.scene_nerf import lidar_teacher
from projects.DistillNeRF.scene_nerf.beams import Beams
from projects.DistillNeRF.scene_nerf.drive import Drive
from projects.DistillNeRF.scene_nerf.lidar_teacher import LidarTeacher
from projects.DistillNeRF.utils.errors import InputError
from tests.helpers.lidar_world import HOUSE, PARKED, STEP, Street, drive_through, moving_car, true_depth

SWEEPS, FRAME = 12, 6
STREET = Street(lambda time: (HOUSE, PARKED, moving_car(time)))
CAR = 3


@pytest.fixture(scope='module')
def drive(tmp_path_factory: pytest.TempPathFactory) -> Drive:
    return drive_through(STREET, tmp_path_factory.mktemp('street'), SWEEPS)


@pytest.fixture(scope='module')
def teacher(drive: Drive) -> LidarTeacher:
    return LidarTeacher.from_drive(drive)


def _camera(drive: Drive, frame: int = FRAME) -> Cameras:
    image = drive.images[frame]
    return image.camera_at(image.height, image.width)


def test_depth_of_what_stands_and_of_what_moves(drive: Drive, teacher: LidarTeacher):
    image = drive.images[FRAME]
    rendering = teacher.render(_camera(drive), image.timestamp)
    depth, moving = rendering.depth[0].numpy(), rendering.moving[0].numpy()
    truth, what = true_depth(STREET, image)
    near = truth < 40
    known = near & np.isfinite(depth)
    error = np.abs(depth - truth)[known] / truth[known]
    assert known.sum() > 0.85 * near.sum() and np.median(error) < 0.002 and error.mean() < 0.02
    car = known & (what == CAR)
    assert car.sum() > 40 and car.sum() > 0.9 * (what == CAR).sum()
    assert np.median(np.abs(depth - truth)[car] / truth[car]) < 0.02
    assert ((moving == 1) & (what == CAR)).sum() > 0.6 * ((moving == 1) | (what == CAR)).sum()
    np.testing.assert_array_equal(np.isnan(moving), np.isnan(depth))


def test_what_moved_is_gone_at_other_times(drive: Drive, teacher: LidarTeacher):
    image = dataclasses.replace(drive.images[0], timestamp=(SWEEPS - 1) * STEP)
    depth = teacher.render(_camera(drive, 0), image.timestamp).depth[0].numpy()
    truth, _ = true_depth(STREET, image)
    _, before = true_depth(STREET, drive.images[0])
    there = (before == CAR) & np.isfinite(depth) & (truth < 40)
    assert there.sum() > 10 and (np.abs(depth - truth)[there] / truth[there] < 0.05).mean() > 0.8


def test_what_moves_is_drawn_at_the_time_of_its_points(drive: Drive, teacher: LidarTeacher, tmp_path: Path):
    """The same beams with time stamps half a step late, as PandaSet's, and points that know better."""
    late, sweeps = STEP / 2, []
    for sweep in drive.sweeps:
        points = np.fromfile(sweep.path, np.float32).reshape(-1, 3)
        path = tmp_path / Path(sweep.path).name
        np.column_stack([points, np.full(len(points), -late, np.float32)]).tofile(path)
        changes = {'path': str(path), 'columns': 4, 'time_column': 3, 'timestamp': sweep.timestamp + late}
        sweeps.append(dataclasses.replace(sweep, **changes))
    timed = LidarTeacher.from_drive(dataclasses.replace(drive, sweeps=tuple(sweeps)))
    np.testing.assert_allclose(timed.times, teacher.times, atol=1e-6)
    for time in (FRAME * STEP, FRAME * STEP + 0.4 * STEP):
        expected = teacher.render(_camera(drive), time)
        rendering = timed.render(_camera(drive), time)
        assert (expected.moving == 1).any()
        torch.testing.assert_close(rendering.depth, expected.depth, equal_nan=True)
        torch.testing.assert_close(rendering.moving, expected.moving, equal_nan=True)


def test_the_time_of_a_sweep_is_that_of_what_moves_in_view(drive: Drive, teacher: LidarTeacher):
    """Of two things ahead and one behind, which the LiDAR saw half a turn apart."""
    ahead, behind = np.float32([0, 20, -1]), np.float32([0, -20, -1])
    ends = np.stack([behind, behind, behind, ahead, ahead, behind])
    movers = Beams(
        np.zeros_like(ends),
        ends,
        np.int32([0, 0, 0, 0, 2, 2]),
        np.array([0.0, 0.2, 0.4]),
        np.float32([-0.1, -0.1, -0.1, -0.05, -0.05, -0.1]),
    )
    teacher = dataclasses.replace(teacher, movers=movers, times=np.array([-0.07, 0.13, 0.33]))
    forward = _camera(drive, 0)[0]
    turn = torch.diag(forward.cam2world.new_tensor([-1, -1, 1, 1]))
    backward = dataclasses.replace(forward, cam2world=turn @ forward.cam2world)
    # Times of sweeps ahead: -0.05, 0.13, 0.35; behind: -0.1, 0.13, 0.3.
    for time, seen_ahead, seen_behind in ((-0.1, [0], [0]), (0.0, [0], [0, 1]), (0.25, [1, 2], [2]), (0.4, [2], [2])):
        for camera, expected in ((forward, seen_ahead), (backward, seen_behind)):
            assert teacher._sweeps_at(camera, time).tolist() == expected


def test_sky(drive: Drive, teacher: LidarTeacher):
    image = drive.images[FRAME]
    rendering = teacher.render(_camera(drive), image.timestamp)
    sky, depth = rendering.sky[0].numpy(), rendering.depth[0].numpy()
    _, what = true_depth(STREET, image)
    assert (what[sky == 1] == -1).mean() > 0.97
    assert (sky == 1).sum() > 0.3 * (what == -1).sum()
    np.testing.assert_array_equal(sky == 0, np.isfinite(depth))
    assert np.isnan(sky).any()


def test_between_sweeps_a_thing_goes_along_its_track(drive: Drive):
    some = LidarTeacher.from_drive(drive, exclude_frames=(FRAME - 1, FRAME, FRAME + 1))
    assert some.things
    rendering = some.render(_camera(drive), drive.images[FRAME].timestamp)
    depth, (truth, what) = rendering.depth[0].numpy(), true_depth(STREET, drive.images[FRAME])
    car = (what == CAR) & np.isfinite(depth)
    error = np.abs(depth - truth)[car] / truth[car]
    assert car.sum() > 0.9 * (what == CAR).sum() and np.median(error) < 0.01
    assert ((rendering.moving[0].numpy() == 1) & (what == CAR)).sum() > 0.6 * (what == CAR).sum()


def test_without_tracks_excluded_sweeps_leave_doubt_where_cars_may_be(drive: Drive, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(lidar_teacher, 'track_things', lambda beams, moving: [])
    some = LidarTeacher.from_drive(drive, exclude_frames=(FRAME - 1, FRAME, FRAME + 1))
    image = drive.images[FRAME]
    rendering = some.render(_camera(drive), image.timestamp)
    depth, (truth, what) = rendering.depth[0].numpy(), true_depth(STREET, image)
    known = np.isfinite(depth) & (truth < 40)
    error = np.abs(depth - truth)[known] / truth[known]
    assert np.isnan(depth[what == CAR]).mean() > 0.7 and error.mean() < 0.03
    assert not (rendering.moving == 1).any()
    # Nothing is sky because a car may hide it.
    assert (what[rendering.sky[0].numpy() == 1] == -1).mean() > 0.97


def test_views_are_rendered_one_by_one_in_the_dtype_of_the_cameras(drive: Drive, teacher: LidarTeacher):
    one, other = _camera(drive), _camera(drive, 2)
    both = Cameras(
        torch.cat([one.intrinsics, other.intrinsics]),
        torch.cat([one.cam2world, other.cam2world]),
        one.height,
        one.width,
    )
    time = FRAME * STEP
    rendering = teacher.render(both, time)
    assert rendering.depth.shape == rendering.sky.shape == (2, one.height, one.width)
    assert rendering.image is None and rendering.depth.dtype == both.cam2world.dtype
    for view, camera in enumerate((one, other)):
        torch.testing.assert_close(rendering.depth[view], teacher.render(camera, time).depth[0], equal_nan=True)
    single = dataclasses.replace(one, intrinsics=one.intrinsics.float(), cam2world=one.cam2world.float())
    assert teacher.render(single, time).depth.dtype == torch.float32


def test_one_sweep(tmp_path: Path):
    drive = drive_through(STREET, tmp_path, 1)
    rendering = LidarTeacher.from_drive(drive).render(_camera(drive, 0), 0.0)
    assert np.isfinite(rendering.depth.numpy()).mean() > 0.3
    assert not (rendering.moving == 1).any()


def test_no_lidar(drive: Drive):
    with pytest.raises(InputError, match='scene street: has no LiDAR'):
        LidarTeacher.from_drive(dataclasses.replace(drive, sweeps=()))
