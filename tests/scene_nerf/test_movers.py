"""What moves, told without labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from projects.DistillNeRF.scene_nerf.beams import Beams, collect_beams
from projects.DistillNeRF.scene_nerf.evidence import gather_evidence
from projects.DistillNeRF.scene_nerf.movers import find_moving
from tests.helpers.lidar_world import GROUND, HOUSE, PARKED, STEP, Street, drive_through, moving_car

SWEEPS = 12


def _moving(street: Street, folder: Path, sweeps: int = SWEEPS) -> tuple[Beams, np.ndarray]:
    beams = collect_beams(drive_through(street, folder, sweeps))
    return beams, find_moving(beams, gather_evidence(beams))


def _inside(beams: Beams, box_at) -> np.ndarray:
    """Tell which ends ``(n,)`` lie in a box that depends on the time."""
    boxes = np.array([box_at(time) for time in beams.times])[beams.sweeps]
    return ((beams.ends >= boxes[:, 0] - 0.01) & (beams.ends <= boxes[:, 1] + 0.01)).all(1)


def test_a_moving_car_is_found(tmp_path: Path):
    beams, moving = _moving(Street(lambda time: (HOUSE, PARKED, moving_car(time))), tmp_path)
    car = _inside(beams, moving_car)
    above = car & (beams.ends[:, 2] > GROUND + 0.3)
    assert above.sum() > 1000
    # Nothing went through where it is at first.
    assert moving[above].mean() > 0.85 and moving[above & (beams.sweeps > 2)].mean() > 0.95
    assert car[moving].mean() > 0.98
    # It passes by at .3 m.
    assert moving[_inside(beams, lambda _: PARKED)].mean() < 0.01


def test_a_car_that_waits_and_drives_off_moves(tmp_path: Path):
    def waiting(time: float):
        return moving_car(max(1.0, time) + 0.5)

    beams, moving = _moving(Street(lambda time: (HOUSE, waiting(time))), tmp_path, 22)
    car = _inside(beams, waiting) & (beams.ends[:, 2] > GROUND + 0.3)
    early = car & (beams.sweeps < 5)
    assert early.sum() > 500 and moving[early].mean() > 0.8
    assert car[moving].mean() > 0.95


def test_nothing_moves_on_a_street_where_all_stand(tmp_path: Path):
    pole = ((-6.0, 15.0, GROUND), (-5.9, 15.1, 3.0))
    _, moving = _moving(Street(lambda _: (HOUSE, PARKED, pole)), tmp_path)
    assert not moving.any()


@pytest.mark.parametrize('sweeps', [1, 2])
def test_too_few_sweeps_tell_nothing(tmp_path: Path, sweeps: int):
    _, moving = _moving(Street(lambda time: (HOUSE, moving_car(20 * time))), tmp_path, sweeps)
    assert len(moving) > 1000 and not moving.any()


def test_errors_of_poses_move_nothing(tmp_path: Path):
    beams = collect_beams(drive_through(Street(lambda _: (HOUSE, PARKED)), tmp_path, SWEEPS))
    rng = np.random.default_rng(0)
    shifts = rng.normal(0, 0.03, (SWEEPS, 3)).astype(np.float32)[beams.sweeps]
    shaken = Beams(beams.origins + shifts, beams.ends + shifts, beams.sweeps, beams.times)
    assert find_moving(shaken, gather_evidence(shaken)).mean() < 1e-3
    assert len(beams.times) * STEP > 1
