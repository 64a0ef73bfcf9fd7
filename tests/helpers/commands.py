"""A tiny project on disk (data and config), and the commands run in this process as the shell would run them."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from unittest import mock

from mmengine.logging import MessageHub
from mmengine.registry import DefaultScope
from mmengine.visualization import Visualizer

from tests.helpers.boxworld import BoxWorld
from tests.helpers.data import ROOT

ENTRY = ROOT / 'projects/DistillNeRF/configs/model_wrapper/model_wrapper_minitown.py'
CAMERAS = ('LEFT', 'FRONT')
IMAGE_SIZE = (16, 32)

# A tiny network on datasets of the settings ``_sizes``.
TINY = """train_dataloader = dict(num_workers=0, persistent_workers=False, dataset=_sizes)
val_dataloader = dict(num_workers=0, persistent_workers=False, dataset=_sizes)
test_dataloader = dict(num_workers=0, persistent_workers=False, dataset=_sizes)
model = dict(
    network=dict(
        space=dict(_delete_=True, inner_range=15, inner_range_z=4, step=2.0, far=60),
        levels=(3, 5),
        channels=4,
        coarse=dict(width=4, channels=8),
        fine=dict(width=4, hidden=4, num_candidates=3),
        voxel=dict(width=4),
        sampling=dict(fine_samples=4),
        head=dict({head}),
    ),
)
"""
CONFIG = """_base_ = [{entry!r}]

_sizes = dict(
    ann_file='infos.pkl',
    data_root={root!r},
    data_prefix=dict(_delete_=True),
    image_size={size},
    render_size={render_size},
    cameras={cameras},
)
"""
CONFIG += TINY
CONFIG += """train_cfg = dict(max_iters=3, val_interval=3)
param_scheduler = []
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=2))
custom_hooks = [dict(type='ExactResumeHook'), dict(type='ProgressHook'), dict(type='PanelHook', interval=2)]
"""
TOWN_CONFIG = """_base_ = [{entry!r}]
_sizes = dict(
    data_root={root!r},
    data_prefix=dict(teacher='../town_emernerf'),
    image_size=(28, 50),
    render_size=(14, 25),
    cameras=('CAM_FRONT_LEFT', 'CAM_FRONT'),
)
"""
TOWN_CONFIG += TINY


@dataclass(frozen=True)
class Project:
    """A data set and a config that fit each other.

    Attributes:
        root: folder of the info file and all data.
        config: the config file.
    """

    root: Path
    config: Path


def write_data(root: Path) -> Path:
    """Three frames of the box world in small images."""
    BoxWorld(size=(32, 64)).write(root)
    return root


def write_config(path: Path, root: Path) -> Project:
    """The MiniTown config with a tiny network, on the data in ``root``."""
    render_size = tuple(side // 2 for side in IMAGE_SIZE)
    sizes = {'size': IMAGE_SIZE, 'render_size': render_size, 'cameras': CAMERAS}
    text = CONFIG.format(entry=str(ENTRY), root=str(root), head='width=32', **sizes)
    path.write_text(text)
    return Project(root, path)


def write_town_config(
    path: Path, town: Path, entry: str = ENTRY.name, head: str = '', steps: int | None = None
) -> Path:
    """A config with a tiny network for two cameras of a town.

    Args:
        path: the new file.
        town: root of the town, which has a teacher.
        entry: the config of the same folder that it builds on.
        head: settings of the network's head, as text.
        steps: of a training; None: those of the entry.
    """
    text = TOWN_CONFIG.format(entry=str(ENTRY.with_name(entry)), root=str(town), head=head)
    if steps is not None:
        text += f'train_cfg = dict(max_iters={steps}, val_interval={steps})\nparam_scheduler = []\n'
    path.write_text(text)
    return path


@dataclass(frozen=True)
class Result:
    """How a command ended."""

    code: int
    out: str
    err: str


def load_tool(name: str) -> ModuleType:
    """``tools/NAME.py`` as a module of its own."""
    spec = importlib.util.spec_from_file_location(f'tool_{name}', ROOT / 'tools' / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def mmengine_state() -> Iterator[None]:
    """Inside, mmengine's global state is that of a new process: runs that begin in the same second would share it."""
    with (
        mock.patch.dict(DefaultScope._instance_dict, clear=True),
        mock.patch.dict(MessageHub._instance_dict, clear=True),
        mock.patch.dict(Visualizer._instance_dict, clear=True),
    ):
        yield


def run(tool: str, *arguments: object) -> Result:
    """``python tools/TOOL.py ARGUMENTS`` in this process; exceptions other than exits are bugs and come through."""
    out, err = io.StringIO(), io.StringIO()
    command_line = [f'tools/{tool}.py', *map(str, arguments)]
    with (
        mock.patch.object(sys, 'argv', command_line),
        mmengine_state(),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            load_tool(tool).main()
            code = 0
        except SystemExit as stop:
            code = stop.code
    return Result(code, out.getvalue(), err.getvalue())
