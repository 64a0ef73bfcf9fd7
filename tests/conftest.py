"""Fixtures that every test may use."""

from __future__ import annotations

import functools
import gc
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

import pytest
import torch

from projects.DistillNeRF.utils.precision import allow_tf32
from tests.helpers.data import ROOT
from tests.helpers.devices import KERNELS, OnDevice, known_device

if TYPE_CHECKING:
    from xdist.remote import Producer
    from xdist.scheduler import Scheduling

    from tests.helpers.commands import Project

# Processes that tests start import the code here, too, whatever the environment has installed.
os.environ['PYTHONPATH'] = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get('PYTHONPATH')])])


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the device of the kernels' tests, and which damaged inputs ``tests/fuzz`` tries."""
    parser.addoption('--device', default='cpu', help='where the tests of kernels run, such as cuda (default: cpu)')
    parser.addoption('--fuzz-seed', type=int, default=0, help='other damaged inputs for tests/fuzz')
    parser.addoption('--fuzz-count', type=int, default=100, help='how many of them')


def pytest_configure(config: pytest.Config) -> None:
    """Refuse a device that this machine has not; on a CPU, run Triton's kernels in its interpreter.

    On a GPU float32 is float32, in gradients, too.
    """
    if known_device(config.getoption('--device')).type == 'cpu':
        os.environ['TRITON_INTERPRET'] = '1'  # read when triton is imported
    allow_tf32(False)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduling | None:
    """Keep the tests of a file in one process if they share a fixture of it, so that it is made once."""
    from tests.helpers.scheduling import SharedFixtures

    return SharedFixtures(config, log) if config.getoption('dist') == 'load' else None


def on_device(node: pytest.Collector | pytest.Item) -> AbstractContextManager:
    """Return where the tensors of a test or of its file are made."""
    device = torch.device(node.config.getoption('--device'))
    if device.type == 'cpu' or not node.nodeid.startswith(KERNELS):
        return nullcontext()
    return OnDevice(device)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Iterator[None]:
    """Make constants of a file of tests on the device."""
    with on_device(collector):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Make tensors of a test and of its fixtures on the device."""
    with on_device(item):
        return (yield)


@pytest.fixture(scope='session', autouse=True)
def configs_are_laid_out_once() -> Iterator[None]:
    """Remember what yapf makes of a config: a run asks seven times, a fourth of the time of one on a tiny project."""
    from mmengine.config import config

    lay_out = config.FormatCode

    @functools.lru_cache(maxsize=8)
    def once(text: str, style: tuple) -> tuple[str, bool]:
        return lay_out(text, style_config=dict(style))

    with mock.patch.object(config, 'FormatCode', lambda text, style_config: once(text, tuple(style_config.items()))):
        yield


@pytest.fixture(scope='session')
def device(request) -> torch.device:
    """Return the device of the kernels' tests; tensors that these make lie on it without being told."""
    return torch.device(request.config.getoption('--device'))


@pytest.fixture(scope='session')
def dtype() -> torch.dtype:
    """Return the precision in which kernels are compared with plain versions and their gradients with differences."""
    return torch.float64


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
