"""What is said where a measurement is not the published one."""

from __future__ import annotations

from pathlib import Path

import pytest

from projects.DistillNeRF.engine.protocols import about_protocol
from projects.DistillNeRF.evaluation.protocols import protocol_named
from tests.helpers.boxdrive import write_drive
from tests.helpers.boxworld import CAMERAS, BoxWorld
from tests.helpers.dataset import build_dataset


@pytest.fixture(scope='module')
def drive(tmp_path_factory) -> Path:
    """The root; tests must not change it."""
    root = tmp_path_factory.mktemp('drive')
    write_drive(root, BoxWorld(size=(12, 20), frames=5, lidar_frames=(0, 1, 2, 3, 4), turn=0.0))
    return root


def deviations(drive: Path, protocol: str, **options) -> list[str]:
    """What is said of the cameras."""
    size = {'image_size': (12, 20), 'render_size': (6, 10)}
    dataset = build_dataset(drive, test_mode=True, protocol=protocol, **size, **options)
    found = about_protocol(protocol_named(protocol), dataset)['deviations']
    return [text for text in found if text.startswith('cameras')]


def test_other_cameras_are_a_deviation_even_if_they_are_as_many(drive):
    assert deviations(drive, 'storm') == deviations(drive, 'distillnerf') == []
    assert deviations(drive, 'storm', cameras=['RIGHT', 'FRONT', 'LEFT']) == []
    assert deviations(drive, 'distillnerf', cameras=CAMERAS[::-1]) == []
    found = deviations(drive, 'storm', cameras=['BACK_LEFT', 'BACK', 'FRONT'])
    assert found == ['cameras: BACK_LEFT, BACK, FRONT, protocol: LEFT, FRONT, RIGHT']
    assert deviations(drive, 'storm', num_camera=2) == ['cameras: 2, protocol: 3']
    assert deviations(drive, 'distillnerf', cameras=['BACK', 'FRONT']) == ['cameras: 2, protocol: 6']
    # Of four named cameras the protocol takes the three that look most to the front.
    found = deviations(drive, 'storm', cameras=['BACK_RIGHT', 'BACK', 'FRONT', 'LEFT'])
    assert found == ['cameras: BACK_RIGHT, FRONT, LEFT, protocol: LEFT, FRONT, RIGHT']
