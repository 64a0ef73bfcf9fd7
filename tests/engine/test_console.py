"""The console of a run is short: what matters is its last line, and the rest is in the log file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tools.commands import ROOT, Project, run, write_config, write_data

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
