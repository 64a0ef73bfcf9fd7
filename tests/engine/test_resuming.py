"""From where a training goes on: iterations decide, folders are understood, and what cannot go on says so."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch

from projects.DistillNeRF.engine.resuming import is_finished, newest_checkpoint, require_resumable
from projects.DistillNeRF.models.checkpoint import read_checkpoint
from projects.DistillNeRF.utils.errors import InputError
from tests.helpers.commands import Result, run
from tests.helpers.refusals import assert_refused

QUICK = ('train_cfg.val_interval=99', 'custom_hooks=[]', 'default_hooks.checkpoint.max_keep_ckpts=9')


@pytest.fixture
def work(trained, tmp_path) -> Path:
    """A copy of the folder of a run that is finished after three iterations; iter_2.pth was touched last."""
    folder = shutil.copytree(trained, tmp_path / 'work')
    (folder / 'last_checkpoint').write_text(str(folder / 'iter_3.pth'))
    os.utime(folder / 'iter_2.pth')
    os.utime(folder / 'iter_3.pth', (9, 9))
    return folder


def resume(project, work_dir: Path, *resume: object, iterations: int = 4) -> Result:
    options = (f'train_cfg.max_iters={iterations}', *QUICK)
    return run('train', project.config, '--work-dir', work_dir, '--resume', *resume, '--cfg-options', *options)


def test_the_iteration_decides_and_not_the_time_of_the_file(project, work):
    result = resume(project, work)
    assert result.code == 0, result.err
    assert 'resumed epoch: 0, iter: 3' in result.out
    assert len([line for line in result.out.splitlines() if 'Iter(train)' in line]) == 1


def test_a_pointer_to_another_checkpoint_is_a_warning(work, capsys):
    (work / 'last_checkpoint').write_text(str(work / 'iter_2.pth'))
    assert newest_checkpoint(work) == str(work / 'iter_3.pth')
    assert 'iter_2.pth was written last, but iter_3.pth was trained longer' in capsys.readouterr().err


def test_a_folder_means_its_longest_trained_checkpoint(project, work, tmp_path):
    other = tmp_path / 'other'
    result = resume(project, other, work)
    assert result.code == 0, result.err
    assert 'resumed epoch: 0, iter: 3' in result.out
    assert read_checkpoint(other / 'iter_4.pth')['meta']['iter'] == 4


def test_a_folder_without_a_usable_checkpoint_is_refused(project, work, tmp_path):
    empty = tmp_path / 'empty'
    empty.mkdir()
    assert_refused(resume(project, tmp_path / 'out', empty), empty, 'holds no checkpoint', 'leave --resume away')
    assert_refused(resume(project, tmp_path / 'out', tmp_path / 'gone'), tmp_path / 'gone', 'no such file')
    assert_refused(
        resume(project, tmp_path / 'out', work / 'last_checkpoint'), 'only names a checkpoint', work / 'iter_3.pth'
    )


def test_a_finished_run_says_so_and_its_hint_works(project, work):
    before = {path: path.read_bytes() for path in work.glob('*.pth')}
    result = resume(project, work, iterations=3)
    assert result.code == 0, result.err
    (line,) = (line for line in result.err.splitlines() if 'finished' in line)
    assert line.startswith(f'warning: {work / "iter_3.pth"}: the run is finished, at iteration 3 of 3')
    hint = line.partition('train_cfg.max_iters=')[2].split()[0]
    assert {path: path.read_bytes() for path in work.glob('*.pth')} == before
    assert resume(project, work, iterations=int(hint)).code == 0
    assert read_checkpoint(work / f'iter_{hint}.pth')['meta']['iter'] == int(hint)


@pytest.mark.parametrize('wrapper', ['module.', '_orig_mod.'])
def test_training_goes_on_from_wrapped_names(project, work, tmp_path, wrapper):
    """The same step as from the names as they are."""
    plain = resume(project, tmp_path / 'plain', work)
    state = read_checkpoint(work / 'iter_3.pth')
    state['state_dict'] = {wrapper + name: value for name, value in state['state_dict'].items()}
    torch.save(state, tmp_path / 'wrapped.pth')
    wrapped = resume(project, tmp_path / 'wrapped', tmp_path / 'wrapped.pth')
    assert (plain.code, wrapped.code) == (0, 0), wrapped.err
    assert 'weights of the model are taken' not in wrapped.err
    expected, found = (read_checkpoint(tmp_path / name / 'iter_4.pth') for name in ('plain', 'wrapped'))
    assert all(torch.equal(value, found['state_dict'][name]) for name, value in expected['state_dict'].items())


def test_another_number_of_processes_is_refused_by_epochs_and_a_warning_by_iterations(work, monkeypatch, capsys):
    state = read_checkpoint(work / 'iter_3.pth')
    assert state['meta']['world_size'] == 1
    require_resumable(Settings(max_iters=9), state, 'a.pth')
    assert not capsys.readouterr().err
    monkeypatch.setattr('projects.DistillNeRF.engine.resuming.get_world_size', lambda: 2)
    require_resumable(Settings(max_iters=9), state, 'a.pth')
    assert 'a.pth: was trained by 1 processes, this training has 2' in capsys.readouterr().err
    with pytest.raises(InputError, match=r'epochs have another number.*start 1 processes'):
        require_resumable(Settings(max_epochs=9), state, 'a.pth')


class Settings:
    """What is asked of a config."""

    def __init__(self, **train_cfg: int) -> None:
        self.train_cfg = train_cfg


def test_epochs_are_finished_by_epochs(capsys):
    state = {'meta': {'iter': 100, 'epoch': 2}}
    assert not is_finished(Settings(max_epochs=3), state, 'a.pth')
    assert is_finished(Settings(max_epochs=2), state, 'a.pth')
    assert 'at epoch 2 of 2' in capsys.readouterr().err


def test_beginning_anew_beside_an_earlier_run_is_a_warning(project, work):
    options = ('train_cfg.max_iters=1', *QUICK)
    result = run('train', project.config, '--work-dir', work, '--cfg-options', *options)
    assert result.code == 0
    assert f'warning: {work}: holds checkpoints of an earlier run, up to iter_3.pth' in result.err


def test_fine_tuning_says_in_one_line_what_does_not_fit(project, trained, tmp_path):
    def tuned(state: dict, *options: str) -> Result:
        torch.save(state, tmp_path / 'from.pth')
        options = ('train_cfg.max_iters=1', *QUICK, f'load_from={tmp_path / "from.pth"}', *options)
        return run('train', project.config, '--work-dir', tmp_path / 'work', '--cfg-options', *options)

    weights = read_checkpoint(trained / 'iter_3.pth')['state_dict']
    plain = {name.removeprefix('network.'): value for name, value in weights.items()}
    result = tuned(plain)
    assert (result.code, 'weights of the model are taken' in result.err) == (0, False), result.err
    result = tuned({'state_dict': weights}, 'model.network.voxel.width=8')
    assert result.code == 0
    (line,) = (line for line in result.err.splitlines() if 'weights of the model are taken' in line)
    assert 'more of another shape' in line and len(line) < 800
    strangers = {'state_dict': {f'layer{i}.weight': torch.zeros(1) for i in range(1000)}}
    result = tuned(strangers)
    assert_refused(result, tmp_path / 'from.pth', 'none of its 1000 weights fit')
    assert len(result.err.splitlines()[-1]) < 800
