"""Teachers of scenes: exported by one command, trained and exported for many scenes by another."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from projects.DistillNeRF.engine import teacher_jobs
from projects.DistillNeRF.engine.teacher_jobs import run_on_cluster
from projects.DistillNeRF.engine.teachers import training_curves
from projects.DistillNeRF.utils.errors import InputError
from tests.helpers.boxtown import SMALL
from tests.helpers.commands import Result, run
from tests.helpers.oracle import Oracle
from tests.helpers.refusals import assert_refused

PACKAGE = 'projects.DistillNeRF.scene_nerf'
SCENES = ('minitown-0001', 'minitown-0002')
IMAGES = 3 * 6
CONFIG = """scene_nerf = dict(
    ann_files=[{root!r} + '/minitown_infos_train.pkl', {root!r} + '/minitown_infos_val.pkl'],
    scene={scene!r},
    roots=dict(img={root!r}, lidar={root!r}, truth={root!r}),
    image_size={size},
    holdout_frames=[1],
    holdout_lidar_frames=[1],
)
"""


@pytest.fixture
def opened(monkeypatch) -> list[SimpleNamespace]:
    """Put oracles in place of both kinds of teachers; return what was asked for, in the order of opening."""
    asked = []

    def from_drive(drive, exclude_frames=()):
        asked.append(SimpleNamespace(method='lidar', scene=drive.scene, excluded=tuple(exclude_frames)))
        return Oracle(drive, color=False)

    def load_teacher(config, checkpoint):
        from projects.DistillNeRF.scene_nerf.settings import read_settings

        drive = read_settings(config, str(config.filename)).drive()
        asked.append(SimpleNamespace(method='scene_nerf', scene=drive.scene, checkpoint=checkpoint))
        return Oracle(drive)

    for name, content in {
        'lidar_teacher': {'LidarTeacher': SimpleNamespace(from_drive=from_drive)},
        'model': {'load_teacher': load_teacher},
    }.items():
        module = ModuleType(f'{PACKAGE}.{name}')
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return asked


@pytest.fixture
def config(town, tmp_path) -> Path:
    return write_config(tmp_path / 'config.py', town)


def write_config(path: Path, root: Path, scene: str | None = SCENES[0]) -> Path:
    path.write_text(CONFIG.format(root=str(root), scene=scene, size=(SMALL['height'], SMALL['width'])))
    return path


def npy_files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob('*.npy'))


# One scene.


def test_a_scene_is_exported_with_its_report(config, opened, tmp_path):
    out, checkpoint = tmp_path / 'out', tmp_path / 'iter_9.pth'
    checkpoint.write_bytes(b'weights')
    result = run('render_scene_nerf', config, checkpoint, '--out', out)
    assert result.code == 0, result.err
    assert len(npy_files(out)) == IMAGES * 4 * 2 and len(list(out.rglob('*.jpg'))) == IMAGES * 3
    assert f'scene {SCENES[0]}: {IMAGES * 11} files written' in result.out
    report = out / 'reports' / SCENES[0]
    figures = json.loads((report / 'report.json').read_text())
    assert figures['holdout_frames'] == [1] and figures['images']['psnr'] > 30
    assert {path.name for path in report.iterdir()} == {'report.json', 'report.html', 'flight.mp4'}
    again = run('render_scene_nerf', config, checkpoint, '--out', out)
    assert f'{IMAGES * 11} kept' in again.out and 'kept' in again.out.splitlines()[-1]
    assert [(one.method, one.checkpoint) for one in opened] == [('scene_nerf', str(checkpoint))]
    checkpoint.write_bytes(b'other weights')
    third = run('render_scene_nerf', config, checkpoint, '--out', out)
    assert f'({IMAGES * 11} replaced)' in third.out and 'wrote' in third.out.splitlines()[-1]


def test_some_views_in_another_size_by_lidar(config, opened, tmp_path):
    """A view may begin with a minus."""
    options = ('--method', 'lidar', '--views', '-1_0_0', '0_0_0', '--size', 28, 50, '--no-report')
    result = run('render_scene_nerf', config, 'None', '--out', tmp_path / 'out', *options)
    assert result.code == 0, result.err
    assert {path.name for path in (tmp_path / 'out').iterdir()} == {
        'made_from',
        'samples_-1_0_0_0_0_0',
        'samples_0_0_0_0_0_0',
    }
    assert {np.load(path).shape for path in (tmp_path / 'out').rglob('*.npy')} == {(28, 50)}
    assert 'shifted views have no RGB' in result.out
    assert [(one.method, one.excluded) for one in opened] == [('lidar', (1,))]


def test_several_processes_write_the_same_files(config, tmp_path):
    """The LiDAR teacher itself: what stands in for it here does not reach other processes."""
    options = ('--method', 'lidar', '--no-report')
    for workers in (1, 2):
        out = tmp_path / str(workers)
        result = run('render_scene_nerf', config, 'None', '--out', out, *options, '--workers', workers)
        assert result.code == 0, result.err
    names = npy_files(tmp_path / '1')
    assert names and npy_files(tmp_path / '2') == names
    assert all((tmp_path / '1' / name).read_bytes() == (tmp_path / '2' / name).read_bytes() for name in names)


def test_the_lidar_teacher_changes_with_the_lidar(town, opened, tmp_path):
    root = shutil.copytree(town, tmp_path / 'town')
    config = write_config(tmp_path / 'copy.py', root)
    options = ('--out', tmp_path / 'out', '--method', 'lidar', '--views', '0_0_0', '--no-report')
    assert '36 files written (0 replaced)' in run('render_scene_nerf', config, 'None', *options).out
    sweep = next((root / 'samples/LIDAR_TOP').iterdir())
    points = np.fromfile(sweep, np.float32)
    points[0] += 1
    points.tofile(sweep)
    assert '(36 replaced)' in run('render_scene_nerf', config, 'None', *options).out
    covered = (*options, '--cfg-options', 'scene_nerf.own_car.CAM_BACK=0.5')
    assert '(36 replaced)' in run('render_scene_nerf', config, 'None', *covered).out
    assert '36 kept' in run('render_scene_nerf', config, 'None', *covered).out


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        (('None',), ['the checkpoint is None', '--method lidar']),
        (('gone.pth',), ['gone.pth: no such file']),
        (('config.py', '--method', 'lidar'), ['give None for the checkpoint']),
        (('config.py', '--device', 'nowhere'), ["device 'nowhere': cannot be used"]),
        (('None', '--method', 'lidar', '--workers', '0'), ['--workers is 0']),
        (('None', '--method', 'lidar', '--device', 'cpu'), ['--device cpu', 'drawn by the processor']),
        (('None', '--method', 'lidar', '--cfg-options', 'scene_nerf.holdout_frames=[9]'), ['keyframe 9', '0 to 2']),
        (('None', '--method', 'lidar', '--cfg-options', 'scene_nerf.color=1'), ['nothing reads scene_nerf.color']),
        (('None', '--method', 'lidar', '--size', '0', '4'), ['--size is [0, 4]']),
        (('None', '--method', 'lidar', '--size', '10', '50'), ['another shape', '--size 28 50']),
        (('None', '--method', 'lidar', '--cfg-options', 'scene_nerf.scene=x'), ["scene_nerf.scene is 'x'", *SCENES]),
        (('None', '--method', 'lidar', '--cfg-options', 'scene_nerf.roots=3'), ['scene_nerf.roots is 3']),
        (('None', '--method', 'lidar', '--cfg-options', 'scene_nerf.own_car.A=2'), ['scene_nerf.own_car.A is 2']),
        (('None', '--method', 'lidar', '--cfg-options', 'scene_nerf.own_car.A=.5'), ["'A' is no camera", 'CAM_BACK']),
        (('None', '--method', 'lidar', '--cfg-options', 'scene_nerf.ann_files=3'), ['scene_nerf.ann_files is 3']),
        (('None', '--method', 'lidar', '--cfg-options', 'scene_nerf.image_size=3'), ['scene_nerf.image_size is 3']),
        (('None', '--method', 'lidar', '--cfg-options', 'scene_nerf.holdout_frames=a'), ["holdout_frames is 'a'"]),
    ],
)
def test_wrong_input_is_refused_before_anything_is_written(config, opened, monkeypatch, tmp_path, arguments, words):
    monkeypatch.chdir(tmp_path)
    result = run('render_scene_nerf', config, *arguments, '--out', tmp_path / 'out', '--no-report')
    assert_refused(result, *words)
    assert not (tmp_path / 'out').exists() and not opened


def test_a_config_without_the_section_is_refused(tmp_path):
    (tmp_path / 'empty.py').write_text("work_dir = 'x'\n")
    result = run('render_scene_nerf', tmp_path / 'empty.py', 'None', '--out', tmp_path / 'out')
    assert_refused(result, 'the config has no scene_nerf')


def test_a_word_that_is_no_view_is_refused(config, tmp_path):
    result = run('render_scene_nerf', config, 'None', '--out', tmp_path, '--views', '5_0_0')
    assert result.code == 2 and "'5_0_0' is no view; choose from 0_0_0 -1_0_0" in result.err


def test_a_scene_named_by_digits_may_be_a_number(monkeypatch):
    from projects.DistillNeRF.scene_nerf import settings

    monkeypatch.setattr(settings, 'scene_names', lambda files: ('001', '002', 'town'))
    section = {'ann_files': ['a.pkl'], 'roots': {'img': 'x'}, 'image_size': (4, 6), 'scene': 2}
    read = settings.read_settings({'scene_nerf': section}, 'config.py')
    assert read.scene == '002' and read.roots == {'img': 'x', 'lidar': 'x', 'truth': 'x'}


def test_curves_are_those_of_the_log(tmp_path):
    log = tmp_path / '20200101/vis_data/scalars.json'
    log.parent.mkdir(parents=True)
    log.write_text('{"loss": 2.0, "step": 2}\n{"loss": 3.0, "step": 1, "lr": 1}\n{"psnr": 20.5, "step": 2}\n{"loss": 1')
    assert training_curves(tmp_path) == {'loss': [(1, 3.0), (2, 2.0)], 'psnr': [(2, 20.5)]}
    assert training_curves(tmp_path / 'none') == {}


# Many scenes.


@pytest.fixture
def in_this_process(opened, monkeypatch) -> list[tuple[str, ...]]:
    """Run the commands of jobs here; a training writes a checkpoint. Return the commands."""
    commands = []

    def instead(command, stdout, **_):
        _, tool, *arguments = command
        commands.append((Path(tool).stem, *arguments))
        if Path(tool).stem == 'train':
            work_dir = Path(arguments[arguments.index('--work-dir') + 1])
            (work_dir / 'iter_1.pth').write_text(work_dir.name)
            result = Result(0, '', '')
        else:
            result = run(Path(tool).stem, *arguments)
        stdout.write(result.out + result.err)
        return SimpleNamespace(returncode=result.code)

    monkeypatch.setattr(subprocess, 'run', instead)
    monkeypatch.setattr(teacher_jobs, 'newest_checkpoint', lambda folder: str(folder / 'iter_1.pth'))
    return commands


def test_all_scenes_are_trained_and_exported(town, opened, in_this_process, tmp_path):
    config = write_config(tmp_path / 'teachers.py', town, None)
    work_dir = tmp_path / 'work'
    options = ('--work-dir', work_dir, '--views', '0_0_0', '-1_0_0', '--no-report')
    result = run('train_teachers', config, *options)
    assert result.code == 0, result.err
    assert [command[0] for command in in_this_process] == ['train', 'render_scene_nerf'] * 2
    assert all('--resume' in command for command in in_this_process[::2])
    assert [one.scene for one in opened] == list(SCENES)
    assert len(npy_files(work_dir / 'teacher')) == 2 * IMAGES * 2 * 2
    assert f'{work_dir / "teacher"}: 2 of 2 scenes are done' in result.out
    again = run('train_teachers', config, *options)
    assert again.code == 0 and len(opened) == 2
    log = (work_dir / 'scenes' / SCENES[1] / 'teacher.log').read_text()
    assert log.count(f'{IMAGES * 5} files written') == 1 and log.count(f'{IMAGES * 5} kept') == 1


def test_a_scene_that_fails_does_not_stop_the_others(town, opened, in_this_process, tmp_path):
    root = shutil.copytree(town, tmp_path / 'town')
    config = write_config(tmp_path / 'teachers.py', root, None)
    broken = next(root.glob(f'samples/LIDAR_TOP/{SCENES[0]}__*'))
    content = broken.read_bytes()
    broken.unlink()
    options = ('--work-dir', tmp_path / 'work', '--out', tmp_path / 'out', '--method', 'lidar', '--no-report')
    result = run('train_teachers', config, *options)
    assert result.code == 1
    last = result.err.splitlines()[-2:]
    assert last[0].startswith(f'failed: {SCENES[0]}: tools/render_scene_nerf.py ended with exit code 2: {broken}')
    assert str(tmp_path / 'work/scenes' / SCENES[0] / 'teacher.log') in last[0] and 'goes on' in last[1]
    assert '1 of 2 scenes are done' in result.out
    assert [one.scene for one in opened] == [SCENES[1]]
    broken.write_bytes(content)
    assert run('train_teachers', config, *options).code == 0
    assert [one.scene for one in opened] == [SCENES[1], SCENES[0]]


def test_chosen_scenes_alone(town, opened, in_this_process, tmp_path):
    config = write_config(tmp_path / 'teachers.py', town, None)
    options = ('--work-dir', tmp_path / 'work', '--method', 'lidar', '--no-report')
    assert run('train_teachers', config, *options, '--scenes', SCENES[1], SCENES[1]).code == 0
    assert [one.scene for one in opened] == [SCENES[1]]
    assert_refused(run('train_teachers', config, *options, '--scenes', 'town-9'), 'has no scene town-9', *SCENES)


def test_other_settings_than_before_are_told(town, opened, in_this_process, tmp_path):
    config = write_config(tmp_path / 'teachers.py', town, None)
    options = ('--work-dir', tmp_path / 'work', '--method', 'lidar', '--no-report', '--scenes', SCENES[0])
    assert 'other ones' not in run('train_teachers', config, *options).err
    assert 'other ones' not in run('train_teachers', config, *options).err
    changed = run('train_teachers', config, *options, '--cfg-options', 'scene_nerf.holdout_frames=[2]')
    assert changed.code == 0 and 'warning' in changed.err and 'to begin it anew' in changed.err


def test_scenes_run_in_processes_of_their_own(town, tmp_path):
    """A config without a model trains nothing: both fail, each with its own message."""
    config = write_config(tmp_path / 'teachers.py', town, None)
    result = run('train_teachers', config, '--work-dir', tmp_path / 'work', '--workers', 2)
    assert result.code == 1
    failed = [line for line in result.err.splitlines() if line.startswith('failed: ')]
    assert len(failed) == 2 and {line.split(': ')[1] for line in failed} == set(SCENES)
    assert all('tools/train.py ended with exit code 2' in line and 'has no model' in line for line in failed)


def test_a_process_that_is_killed_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(subprocess, 'run', lambda *_, **__: SimpleNamespace(returncode=-9))
    job = teacher_jobs.SceneJob('a', tmp_path / 'a.py', tmp_path, 'lidar', ())
    assert 'was ended by signal 9, maybe for lack of memory' in teacher_jobs.run_scene(job)


def test_a_damaged_checkpoint_fails_its_scene_alone(town, opened, in_this_process, monkeypatch, tmp_path):
    def newest(folder):
        if folder.name == SCENES[0]:
            raise InputError(f'{folder}/iter_1.pth: damaged')
        return str(folder / 'iter_1.pth')

    monkeypatch.setattr(teacher_jobs, 'newest_checkpoint', newest)
    config = write_config(tmp_path / 'teachers.py', town, None)
    result = run('train_teachers', config, '--work-dir', tmp_path / 'work', '--no-report')
    assert result.code == 1 and 'iter_1.pth: damaged' in result.err
    assert [one.scene for one in opened] == [SCENES[1]]


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        (('--workers', '0'), ['--workers is 0']),
        (('--slurm', 'timeout_min=9'), ['--slurm would do nothing without --launcher slurm']),
        (('--device', 'cuda'), ['--device cuda', 'drawn by the processor']),
    ],
)
def test_wrong_options_of_many_scenes_are_refused(config, tmp_path, options, words):
    assert_refused(
        run('train_teachers', config, '--work-dir', tmp_path / 'work', '--method', 'lidar', *options), *words
    )


# On a cluster.


class Executor:
    """What is used of submitit; it runs the jobs here, and the first runs out of time."""

    def __init__(self, folder, cluster):
        assert cluster == 'slurm'
        self.parameters = {}

    def update_parameters(self, **parameters):
        if 'colour' in parameters:
            raise NameError("Unknown argument 'colour'")
        self.parameters = parameters

    def map_array(self, function, jobs):
        assert self.parameters['slurm_array_parallelism'] == 3

        def late():
            raise TimeoutError('the job was cancelled\nby slurm')

        return [
            SimpleNamespace(result=late),
            *(SimpleNamespace(result=lambda job=job: function(job)) for job in jobs[1:]),
        ]


@pytest.fixture
def cluster(monkeypatch, tmp_path):
    submitit = ModuleType('submitit')
    submitit.AutoExecutor = Executor
    monkeypatch.setitem(sys.modules, 'submitit', submitit)
    (tmp_path / 'bin').mkdir()
    (tmp_path / 'bin/sbatch').write_text('#!/bin/sh\n')
    (tmp_path / 'bin/sbatch').chmod(0o755)
    monkeypatch.setenv('PATH', str(tmp_path / 'bin'))


def test_scenes_are_jobs_of_a_cluster(town, opened, in_this_process, cluster, tmp_path):
    config = write_config(tmp_path / 'teachers.py', town, None)
    options = ('--work-dir', tmp_path / 'work', '--method', 'lidar', '--no-report', '--workers', 3)
    slurm = ('--launcher', 'slurm', '--slurm', 'timeout_min=60', 'slurm_partition=gpu')
    result = run('train_teachers', config, *options, *slurm)
    assert result.code == 1
    assert f'failed: {SCENES[0]}: TimeoutError: the job was cancelled by slurm' in result.err
    assert f'[2/2] {SCENES[1]}: done' in result.out
    bad = run('train_teachers', config, *options, '--launcher', 'slurm', '--slurm', 'colour=red')
    assert_refused(bad, "submitit refuses these options (Unknown argument 'colour')")


def test_without_submitit_or_slurm_one_line_says_so(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, 'submitit', None)
    assert_refused(lambda: next(run_on_cluster([], tmp_path, 1, {})), '-m pip install submitit')
    monkeypatch.setitem(sys.modules, 'submitit', ModuleType('submitit'))
    monkeypatch.setenv('PATH', str(tmp_path))
    assert_refused(lambda: next(run_on_cluster([], tmp_path, 1, {})), 'there is no sbatch here')
