"""The beams of a drive."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from projects.DistillNeRF.scene_nerf.beams import Beams, collect_beams
from projects.DistillNeRF.scene_nerf.drive import Drive
from projects.DistillNeRF.utils.errors import InputError
from tests.helpers.lidar_world import HOUSE, SPEED, STEP, Street, drive_through


@pytest.fixture
def drive(tmp_path: Path) -> Drive:
    """Return a drive of three sweeps along a house."""
    return drive_through(Street(lambda _: (HOUSE,)), tmp_path, 3)


def test_all_beams_in_order(drive: Drive):
    beams = collect_beams(drive)
    files = [np.fromfile(sweep.path, np.float32).reshape(-1, 3) for sweep in drive.sweeps]
    assert len(beams) == sum(map(len, files))
    np.testing.assert_allclose(beams.times, [0, STEP, 2 * STEP])
    np.testing.assert_array_equal(np.bincount(beams.sweeps), [len(points) for points in files])
    second = beams[beams.sweeps == 1]
    np.testing.assert_allclose(second.ends, files[1] + [0, SPEED * STEP, 0], atol=1e-5)
    np.testing.assert_allclose(second.origins, np.broadcast_to([0, SPEED * STEP, 0], second.ends.shape), atol=1e-6)
    np.testing.assert_allclose(second.lengths, np.linalg.norm(files[1], axis=1), rtol=1e-5)
    np.testing.assert_array_equal(second.times, beams.times)


def test_every_beam_has_its_time(drive: Drive):
    """Seconds relative to its sweep; zeros where the data has none."""
    first, second = (np.fromfile(sweep.path, np.float32).reshape(-1, 3) for sweep in drive.sweeps[:2])
    assert not collect_beams(drive).delays.any()
    delays = np.linspace(-0.1, 0.03, len(second), dtype=np.float32)
    np.column_stack([second, delays]).tofile(drive.sweeps[1].path)
    timed = dataclasses.replace(drive.sweeps[1], columns=4, time_column=3)
    beams = collect_beams(dataclasses.replace(drive, sweeps=(drive.sweeps[0], timed, drive.sweeps[2])))
    assert beams.delays.dtype == np.float32 and beams.delays.shape == (len(beams),)
    assert not beams[beams.sweeps != 1].delays.any()
    chosen = beams[beams.sweeps == 1][5:50:3]
    np.testing.assert_array_equal(chosen.delays, delays[5:50:3])
    np.testing.assert_allclose(chosen.point_times, STEP + delays[5:50:3], atol=1e-7)
    assert (beams[: len(first)].point_times == 0).all()
    np.testing.assert_array_equal(Beams(beams.origins, beams.ends, beams.sweeps, beams.times).delays, 0 * beams.delays)


def test_excluded_frames_and_short_beams(drive: Drive):
    some = collect_beams(drive, exclude_frames=(0, 2))
    np.testing.assert_allclose(some.times, [STEP])
    assert set(some.sweeps) == {0}
    far = collect_beams(drive, shortest=10.0)
    assert 0 < len(far) < len(collect_beams(drive)) and far.lengths.min() > 10


def test_points_that_are_none(drive: Drive):
    path = Path(drive.sweeps[0].path)
    points = np.fromfile(path, np.float32).reshape(-1, 3)
    points[:7, 1] = np.nan
    points.tofile(path)
    beams = collect_beams(drive)
    assert np.bincount(beams.sweeps)[0] == len(points) - 7 and np.isfinite(beams.ends).all()


def test_nothing_to_collect(drive: Drive):
    with pytest.raises(InputError, match='scene street: has no LiDAR; give info files with LiDAR'):
        collect_beams(dataclasses.replace(drive, sweeps=()))
    with pytest.raises(InputError, match='scene street: all its LiDAR sweeps are excluded; exclude fewer'):
        collect_beams(drive, exclude_frames=(0, 1, 2))
    for sweep in drive.sweeps:
        np.full((4, 3), np.nan, np.float32).tofile(sweep.path)
    with pytest.raises(InputError, match=r'scene street: no point .* than 0 m, as in .*0\.bin; restore'):
        collect_beams(drive)
