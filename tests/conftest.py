"""Fixtures that every test may use."""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.helpers.data import ROOT

if TYPE_CHECKING:
    from tests.helpers.commands import Project

# Processes that tests start import the code here, too, whatever the environment has installed.
os.environ['PYTHONPATH'] = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get('PYTHONPATH')])])


def pytest_addoption(parser: pytest.Parser) -> None:
    """Which damaged inputs ``tests/fuzz`` tries."""
    parser.addoption('--fuzz-seed', type=int, default=0, help='other damaged inputs for tests/fuzz')
    parser.addoption('--fuzz-count', type=int, default=100, help='how many of them')


@pytest.fixture(scope='session')
def repo_root() -> Path:
    """The root of the repository."""
    return ROOT


@pytest.fixture(scope='session')
def shared_dir() -> Path:
    """The folder of more data beside the repository: tests on frames that may not be shipped skip without it."""
    shared = ROOT.parent / 'shared'
    if not shared.is_dir():
        pytest.skip(f'{shared} is absent: nuScenes may not be shipped with the repository')
    return shared


@pytest.fixture(scope='session')
def project(tmp_path_factory) -> Project:
    """A tiny data set with a config for it; tests must not change it."""
    from tests.helpers.commands import write_config, write_data

    folder = tmp_path_factory.mktemp('project')
    made = write_config(folder / 'tiny.py', write_data(folder / 'data'))
    # Every dataset collects garbage once; what is imported by now need not be searched each time.
    gc.freeze()
    return made


@pytest.fixture(scope='session')
def trained(project, tmp_path_factory) -> Path:
    """The work directory of a training of three steps by ``tools/train.py``; tests must not change it."""
    from tests.helpers.commands import run

    work_dir = tmp_path_factory.mktemp('work')
    assert run('train', project.config, '--work-dir', work_dir).code == 0
    return work_dir


@pytest.fixture(scope='session')
def town(tmp_path_factory) -> Path:
    """The root of a converted town of boxes, two scenes of three keyframes; tests must not change it."""
    from projects.DistillNeRF.engine import create_minitown as converter
    from projects.MiniTown import scene
    from tests.helpers.boxtown import SMALL, BoxTown

    root = tmp_path_factory.mktemp('minitown') / 'town'
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scene, 'Town', BoxTown)
        converter.convert(root, root, **SMALL)
    return root


@pytest.fixture(scope='session')
def box_root(tmp_path_factory) -> Path:
    """Three frames of the driving and turning box world; tests must not change it."""
    from tests.helpers.boxworld import BoxWorld

    root = tmp_path_factory.mktemp('boxes')
    BoxWorld().write(root)
    return root
