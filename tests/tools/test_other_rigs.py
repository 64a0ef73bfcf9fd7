"""Info files of one camera, and of three with names of their own, through every command that reads them."""

from __future__ import annotations

import json
import math
import pickle
from pathlib import Path

import pytest

from tests.helpers.commands import CAMERAS, run, write_config, write_data
from tests.helpers.files import picture, written

RIGS = {'one camera': {'FRONT': 'main'}, 'three cameras': {'RIGHT': 'r', 'BACK_RIGHT': 'br', 'BACK': 'rear'}}


@pytest.fixture(params=RIGS)
def rig(request, tmp_path) -> tuple[Path, list[str]]:
    """A config without names of cameras, on data of a rig; and the names."""
    names = RIGS[request.param]
    root = write_data(tmp_path / 'data')
    path = root / 'infos.pkl'
    content = pickle.loads(path.read_bytes())
    content['metainfo']['cameras'] = list(names.values())
    for info in content['data_list']:
        info['images'] = {new: info['images'][old] for old, new in names.items()}
    path.write_bytes(pickle.dumps(content))
    config = write_config(tmp_path / 'config.py', root).config
    config.write_text(config.read_text().replace(f'cameras={CAMERAS}', 'cameras=None'))
    return config, list(names.values())


def test_every_command_takes_the_cameras_that_are_there(rig, tmp_path):
    config, names = rig
    work_dir = tmp_path / 'work'
    options = ('train_cfg.max_iters=2', 'train_cfg.val_interval=2', 'default_hooks.checkpoint.interval=2')
    result = run('train', config, '--work-dir', work_dir, '--cfg-options', *options)
    assert result.code == 0, result.err
    checkpoint = work_dir / 'iter_2.pth'
    assert (work_dir / 'panels' / 'train_0000002.png').is_file()

    figures = tmp_path / 'figures.json'
    result = run('test', config, checkpoint, '--work-dir', tmp_path / 'test', '--out', figures)
    assert result.code == 0, result.err
    assert all(math.isfinite(value) for value in json.loads(figures.read_text())['model'].values())

    shown = ('model.visualize_imgs=True', 'model.visualize_voxels=True', f'model.vis_save_directory={tmp_path}')
    result = run('visualization', config, checkpoint, '--samples', 1, '--cfg-options', *shown)
    assert result.code == 0, result.err
    assert len(list((tmp_path / 'images_000').glob('*input*'))) >= len(names)
    picture(tmp_path / 'panel_000.png')

    result = run('novel_view_synthesis', config, checkpoint, 0, '--out-dir', tmp_path)
    assert result.code == 0, result.err
    strip = picture(written(result.out)[0])
    assert strip.shape[1] == len(names) * 34 - 2, 'a column of 32 pixels and a gap for each camera'
