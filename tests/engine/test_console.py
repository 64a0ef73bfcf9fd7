"""The console of a run is short: what matters is its last line, and the rest is in the log file."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from projects.DistillNeRF.engine.console import shorten
from tests.helpers.commands import ROOT, Project, run, write_config, write_data

LISTINGS = ('System environment', 'Config:', 'Hooks will be executed', 'after_train_iter:', 'vis_backends')


@pytest.fixture(scope='module')
def broken(tmp_path_factory) -> Project:
    """A project that misses an image, which shows when the datasets are built."""
    folder = tmp_path_factory.mktemp('broken')
    project = write_config(folder / 'tiny.py', write_data(folder / 'data'))
    (project.root / 'samples/FRONT/frame0.png').unlink()
    return project


def in_a_shell(tool: str, *arguments: object) -> tuple[int, list[str]]:
    """Exit code and lines of a command, both streams as they come."""
    line = [sys.executable, str(ROOT / 'tools' / f'{tool}.py'), *map(str, arguments)]
    ended = subprocess.run(line, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300)
    return ended.returncode, ended.stdout.splitlines()


@pytest.mark.parametrize('tool', ['train', 'test', 'visualization', 'novel_view_synthesis'])
def test_an_error_is_the_last_line_of_a_few(broken, tmp_path, tool):
    pictures = ('--cfg-options', 'model.visualize_imgs=True', f'model.vis_save_directory={tmp_path}')
    arguments = {
        'train': (broken.config, '--work-dir', tmp_path),
        'test': (broken.config, 'None', '--work-dir', tmp_path),
        'visualization': (broken.config, 'None', *pictures),
        'novel_view_synthesis': (broken.config, 'None'),
    }[tool]
    code, lines = in_a_shell(tool, *arguments)
    assert code == 2
    assert lines[-1].startswith('error: ') and 'frame0.png' in lines[-1]
    assert sum(line.startswith('error: ') for line in lines) == 1
    assert len(lines) < 8, lines


def test_the_log_has_what_the_console_has_not(trained, project, tmp_path):
    result = run('train', project.config, '--work-dir', tmp_path, '--cfg-options', 'train_cfg.max_iters=1')
    assert result.code == 0
    (said,) = (line for line in result.out.splitlines() if 'log, with the configuration: ' in line)
    log = Path(said.rpartition(': ')[2])
    assert log.parent.parent == tmp_path
    text = log.read_text()
    for listing in LISTINGS:
        assert listing in text
        assert listing not in result.out + result.err
    assert 'Iter(train) [1/1]' in text and 'Iter(train) [1/1]' in result.out
    assert 'Iter(val) [3/3]' in result.out
    assert len(result.out.splitlines()) < 15


def test_log_lines_fit_a_terminal_and_the_files_have_everything(project, tmp_path):
    result = run('train', project.config, '--work-dir', tmp_path, '--cfg-options', 'train_cfg.max_iters=2')
    assert result.code == 0
    lines = [line for line in result.out.splitlines() if 'Iter(' in line]
    assert all(len(line) <= 100 for line in lines)
    number = r'[0-9.e+-]+'
    figures = rf'psnr: {number}  depth error: {number}'
    for step, line in zip((1, 2), lines[:2], strict=True):
        expected = rf'\d\d:\d\d:\d\d Iter\(train\) \[{step}/2\]  eta: 0:00:\d\d  {figures}  loss: {number}'
        assert re.fullmatch(expected, line)
    assert re.fullmatch(rf'\d\d:\d\d:\d\d Iter\(val\) \[3/3\]  {figures}', lines[-1])

    (scalars,) = tmp_path.glob('*/vis_data/scalars.json')
    first, _, validation = (json.loads(line) for line in scalars.read_text().splitlines())
    (log,) = tmp_path.glob('*/*.log')
    text = log.read_text()
    for entry, key in ((first, 'loss'), (validation, 'psnr')):
        assert {'time', 'data_time'} < set(entry)
        line = next(line for line in text.splitlines() if f' {key}: {entry[key]:.4f}' in line)
        for name in set(entry) - {'iter', 'step', 'lr', 'memory'}:
            assert f' {name}: {entry[name]:.4f}' in line
    assert {'lr', 'grad_norm', 'loss_rgb', 'loss_lidar_depth', 'lidar/abs_rel', 'psnr'} < set(first)
    assert {'ssim', 'abs_rel', 'rmse', 'next/psnr', 'coarse/lidar/a1'} < set(validation)


@pytest.mark.parametrize(
    ('message', 'console'),
    [
        (
            'Epoch(train) [80][28130/28130]  lr: 2.0e-04 eta: 12 days, 10:22:11  time: 0.5  data_time: 0.1  memory: 9  '
            'loss: 12.3456  loss_rgb: 9.0  psnr: 20.7123  teacher/abs_rel: 0.2134  loss_opacity: 1.0',
            'Epoch(train) [80][28130/28130]  eta: 12d 10:22  psnr: 20.7  depth error: 0.213  loss: 12.3',
        ),
        (
            'Iter(train) [  50/1500]  base_lr: 1e-3 lr: 2e-3  eta: 0:09:10  loss: nan',
            'Iter(train) [  50/1500]  eta: 0:09:10  loss: nan',
        ),
        ('Iter(val) [8/8]    lidar/abs_rel: 0.3  next/psnr: 9  abs_rel: 0.2  ', 'Iter(val) [8/8]  depth error: 0.2'),
        ('Iter(val) [8/8]    mine/iou: 0.5  time: 0.1', 'Iter(val) [8/8]    mine/iou: 0.5  time: 0.1'),
        ('Saving checkpoint at 2 iterations; loss: 3', 'Saving checkpoint at 2 iterations; loss: 3'),
    ],
)
def test_a_log_line_is_shortened_to_iteration_time_left_psnr_depth_error_and_loss(message, console):
    assert shorten(message) == console
    assert len(f'12:34:56 {console}') <= 100


def test_a_warning_of_a_run_is_in_its_log_file(project, tmp_path):
    options = ('model.losses.line_of_sight.type=LineOfSightLoss', 'train_cfg.max_iters=1', 'custom_hooks=[]')
    result = run('train', project.config, '--work-dir', tmp_path, '--cfg-options', *options)
    assert result.code == 0
    warning = (
        'model.losses.line_of_sight counts from iteration 14000 on, but the training ends after 1: it does nothing'
    )
    assert warning in result.err
    (log,) = tmp_path.glob('*/*.log')
    assert warning in log.read_text()
    # The next run has a log of its own.
    assert run('train', project.config, '--work-dir', tmp_path / 'next', '--cfg-options', *options).code == 0
    assert log.read_text().count(warning) == 1


@pytest.mark.parametrize('before', ['', 'bar = tqdm(total=3, desc="frames"); bar.update(); '])
def test_an_error_comes_after_a_progress_bar_and_what_was_printed(tmp_path, before):
    script = tmp_path / 'script.py'
    script.write_text(
        f'import sys\nsys.path.insert(0, {str(ROOT)!r})\n'
        'from tqdm import tqdm\nfrom projects.DistillNeRF.utils.errors import InputError, command\n'
        '@command\ndef main():\n    print("wrote a.png")\n'
        f'    {before}raise InputError("b.png: gone; restore it")\nmain()\n'
    )
    buffered = {name: value for name, value in os.environ.items() if name != 'PYTHONUNBUFFERED'}
    command = [sys.executable, str(script)]
    ended = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, env=buffered
    )
    assert ended.returncode == 2
    assert ended.stdout.endswith('\nerror: b.png: gone; restore it\n')
    assert 'wrote a.png' in ended.stdout
