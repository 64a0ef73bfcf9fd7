"""Waymo's configs on records that were made from MiniTown: converted, taught by LiDAR, trained, and evaluated."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest

from tests.helpers.commands import run
from tests.helpers.waymo_surroundings import TownDrive
from tests.helpers.waymo_world import WaymoWorld
from tests.tools.test_entry_points import FOLDER
from tests.tools.test_waymo import NARROW
from verification.reference.waymo_records import file_name, write_segment

NAMES = ('1000_0_000_20_000', '2000_0_000_20_000')
# A window of two seconds of ten frames, and the one that ends it.
FRAMES = 21


@pytest.fixture(scope='module')
def root(tmp_path_factory) -> Path:
    """The folder above ``data/waymo``: the same two seconds as a segment to train on and one to test on."""
    root = tmp_path_factory.mktemp('records')
    world = WaymoWorld(rows=24, columns=24, height=96, width=144, surroundings=TownDrive())
    frames = [world.frame(number) for number in range(FRAMES)]
    for name in NAMES:
        named = [dataclasses.replace(frame, segment=name) for frame in frames]
        write_segment(root / 'data/waymo/waymo_format' / file_name(name), named)
    return root


def succeed(*arguments: object) -> str:
    result = run(*arguments)
    assert result.code == 0, result.err
    return result.out


@pytest.mark.slow
def test_from_records_to_figures(root, tmp_path, monkeypatch):
    monkeypatch.chdir(root)
    places = ('--root-path', 'data/waymo/waymo_format', '--out-dir', 'data/waymo')
    succeed('create_data', 'waymo', *places, '--cameras', '3')
    teacher = ('--method', 'lidar', '--out', 'data/waymo', '--work-dir', tmp_path / 'teacher')
    succeed('train_teachers', FOLDER / 'scene_nerf_waymo.py', *teacher, '--size', 36, 54, '--views', '0_0_0')
    for name in ('model_wrapper_waymo', 'model_wrapper_linearspace_waymo'):
        config, work_dir = FOLDER / f'{name}.py', tmp_path / name
        succeed('train', config, '--work-dir', work_dir, '--cfg-options', *NARROW)
        logs = [path.read_text() for path in work_dir.rglob('scalars.json')]
        assert any('loss_teacher_depth' in log and 'loss_lidar_depth' in log for log in logs)
        for protocol in ('distillnerf', 'storm'):
            out = tmp_path / f'{name}_{protocol}.json'
            options = ('--work-dir', tmp_path / 'test', '--out', out, '--recolor', '--protocol', protocol)
            succeed('test', config, work_dir / 'iter_2.pth', *options, '--cfg-options', *NARROW)
            found = json.loads(out.read_text())
            prefix = 'novel/' if protocol == 'storm' else ''
            assert found['model'][f'{prefix}psnr_recolored'] > found['model'][f'{prefix}psnr']
            assert found['protocol']['samples'] > 0
            assert all(math.isfinite(value) for value in found['model'].values())
