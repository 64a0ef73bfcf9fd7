"""Whatever is wrong with what a command is given: exit code 2, one line that names it and the hint, nothing written."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from projects.DistillNeRF.models.checkpoint import read_checkpoint
from tests.helpers.commands import Project, Result, run, write_config
from tests.helpers.files import truncate
from tests.helpers.refusals import assert_refused

ALL = ('train', 'test', 'visualization', 'novel_view_synthesis')
CHECKPOINT_READERS = ALL[1:]
IMAGE = 'samples/FRONT/frame0.png'
LIDAR = 'lidar/0.bin'
TEACHER = 'samples_0_0_0_0_0_0/depths/FRONT/frame0.npy'


@pytest.fixture
def damaged(project, tmp_path) -> Project:
    """A copy of the project that a test may damage."""
    return write_config(tmp_path / 'tiny.py', shutil.copytree(project.root, tmp_path / 'data'))


@pytest.fixture
def start(tmp_path) -> Callable[..., Result]:
    """Start a command whose results go to ``tmp_path/out``, where a result of last time lies."""
    out = tmp_path / 'out'
    out.mkdir()
    (out / 'results.json').write_text('last time')

    def start(tool: str, config: object, *arguments: object, checkpoint: object = 'None') -> Result:
        given = {
            'train': (config, '--work-dir', out),
            'test': (config, checkpoint, '--work-dir', out, '--out', out / 'results.json'),
            'visualization': (config, checkpoint),
            'novel_view_synthesis': (config, checkpoint, '--out-dir', out),
        }[tool]
        options = (f'model.vis_save_directory={out}', 'model.visualize_imgs=True') if tool == 'visualization' else ()
        cfg_options = ('--cfg-options', *options, *arguments) if options or arguments else ()
        result = run(tool, *given, *cfg_options)
        assert (out / 'results.json').read_text() == 'last time'
        results = [p for p in out.rglob('*') if p.suffix in ('.png', '.mp4', '.pth', '.tmp') or p.name.startswith('.')]
        assert not results
        return result

    return start


# Configs.


@pytest.mark.parametrize('tool', ALL)
def test_a_config_that_is_missing_is_refused(start, tmp_path, tool):
    assert_refused(start(tool, tmp_path / 'no.py'), tmp_path / 'no.py', 'no such file', 'give a config')


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        ('', ('the file is empty',)),
        ('model = dict(', ('SyntaxError',)),
        ('_base_ = ["gone.py"]', ('gone.py',)),
        ('custom_imports = dict(imports=["gone"])', ('ImportError', 'gone')),
        ('train_dataloader = test_dataloader = dict()', ('has no model', 'entry point')),
        ('model = dict()', ('has no train_dataloader',)),
    ],
)
def test_configs_of_every_wrong_kind_are_refused(start, tmp_path, text, words):
    path = tmp_path / 'wrong.py'
    path.write_text(text)
    assert_refused(start('train', path), path, *words)


@pytest.mark.parametrize(
    ('tool', 'option', 'word'),
    [
        ('train', 'model.type=Nobody', 'Nobody'),
        ('test', 'model.network.depth=3', "'depth'"),
        ('novel_view_synthesis', 'model.network.head.width=33', 'multiple of 32'),
        ('visualization', 'model.network.head.num_upsample=0', 'decoder enlarges 1 times'),
        ('train', 'model.losses.color.type=RGBL1Loss', 'color'),
        ('novel_view_synthesis', 'model.network=None', 'settings'),
        ('train', 'train_dataloader.dataset.color=red', "'color'"),
        ('train', 'val_dataloader.dataset.type=Nobody', 'Nobody'),
        ('test', 'test_dataloader.dataset.color=red', "'color'"),
        ('visualization', 'test_dataloader.dataset.color=red', "'color'"),
        ('novel_view_synthesis', 'test_dataloader.dataset.color=red', "'color'"),
    ],
)
def test_settings_that_cannot_be_built_are_refused(start, project, tool, option, word):
    assert_refused(start(tool, project.config, option), project.config, word, 'correct them')


@pytest.mark.parametrize('tool', ALL)
@pytest.mark.parametrize('size', [(15, 32), (16, 33), (32, 64)])
def test_image_sizes_that_cannot_be_rendered_are_refused(start, project, tool, size):
    loader = 'train_dataloader' if tool == 'train' else 'test_dataloader'
    option = f'{loader}.dataset.image_size=({size[0]},{size[1]})'
    assert_refused(start(tool, project.config, option), project.config, loader, 'image_size', 'downscale', 'correct')


def test_a_visualization_of_nothing_is_refused(start, project):
    result = start('visualization', project.config, 'model.visualize_imgs=False')
    assert_refused(result, project.config, 'nothing to draw', 'model.visualize_imgs=True')


def test_a_loss_that_is_no_number_ends_the_training_and_keeps_the_last_checkpoint(project, tmp_path):
    out = tmp_path / 'out'
    options = ('optim_wrapper.optimizer.lr=1e30', 'optim_wrapper.clip_grad=None', 'train_cfg.max_iters=20')
    interval = 'default_hooks.checkpoint.interval=1'
    result = run('train', project.config, '--work-dir', out, '--cfg-options', *options, interval)
    assert_refused(result, out, 'iteration', 'NaN or infinite', 'loss_rgb', 'box', 'before_nan_iter_', '--resume')
    checkpoints = sorted(out.glob('*.pth'))
    assert checkpoints
    for path in checkpoints:
        assert read_checkpoint(path)


def test_a_loss_without_its_data_is_refused(start, project):
    result = start('train', project.config, 'train_dataloader.dataset.load_teacher=False')
    assert_refused(result, 'teacher_depth', 'load_teacher=True')


@pytest.mark.parametrize('tool', ALL)
def test_options_that_are_no_pairs_are_refused(start, project, tool):
    result = start(tool, project.config, 'visualize')
    assert result.code == 2
    assert "error: argument --cfg-options: 'visualize' is not of the form key=value" in result.err.splitlines()[-1]


# Checkpoints.


@pytest.mark.parametrize('tool', CHECKPOINT_READERS)
@pytest.mark.parametrize('how', ['missing', 'truncated', 'of another shape'])
def test_every_command_refuses_checkpoints_that_are_missing_cut_or_of_another_shape(
    start, project, trained, tmp_path, tool, how
):
    path = tmp_path / 'checkpoint.pth'
    options, words = (), ('no such file',)
    if how == 'truncated':
        shutil.copy(trained / 'iter_3.pth', path)
        truncate(path)
        words = ('not a readable checkpoint',)
    elif how == 'of another shape':
        shutil.copy(trained / 'iter_3.pth', path)
        options, words = ('model.network.voxel.width=8',), ('do not fit', 'voxel_net', 'more')
    assert_refused(start(tool, project.config, *options, checkpoint=path), path, *words, 'give')


def no_weights(state: dict) -> object:
    """Something that is saved, but no checkpoint."""
    return [state['meta']['iter']]


def missing_name(state: dict) -> object:
    """One weight less."""
    state['state_dict'].popitem()
    return state


def unknown_name(state: dict) -> object:
    """One weight more."""
    state['state_dict']['network.surplus'] = torch.zeros(1)
    return state


def nan_weight(state: dict) -> object:
    """Training diverged."""
    next(iter(state['state_dict'].values())).fill_(float('nan'))
    return state


@pytest.mark.parametrize(
    ('content', 'word'),
    [
        (b'', 'is empty'),
        (b'a text of some length\n' * 40, 'not a readable checkpoint'),
        (pickle.dumps({'state_dict': print}), 'not a readable checkpoint'),
        (no_weights, 'no state_dict'),
        (missing_name, 'is missing'),
        (unknown_name, 'surplus is unknown'),
        (nan_weight, 'NaN'),
    ],
)
def test_checkpoints_of_every_wrong_kind_are_refused(start, project, trained, tmp_path, content, word):
    path = tmp_path / 'checkpoint.pth'
    if callable(content):
        torch.save(content(read_checkpoint(trained / 'iter_3.pth')), path)
    else:
        path.write_bytes(content)
    assert_refused(start('novel_view_synthesis', project.config, checkpoint=path), path, word, 'give')


@pytest.mark.parametrize(
    ('change', 'word'),
    [
        (lambda path: path.unlink(), 'no such file'),
        (truncate, 'not a readable checkpoint'),
        (lambda path: torch.save({'state_dict': read_checkpoint(path)['state_dict']}, path), 'optimizer'),
    ],
)
@pytest.mark.parametrize('named', [True, False])
def test_resuming_from_a_damaged_checkpoint_is_refused(project, trained, tmp_path, change, word, named):
    path = tmp_path / 'work' / 'iter_3.pth'
    path.parent.mkdir()
    shutil.copy(trained / 'iter_3.pth', path)
    (path.parent / 'last_checkpoint').write_text(str(path))
    change(path)
    before = path.exists() and path.read_bytes()
    resume = [path] if named else []
    result = run('train', project.config, '--work-dir', path.parent, '--resume', *resume)
    assert_refused(result, path, word, 'give')
    assert before == (path.exists() and path.read_bytes())


def test_resuming_another_network_is_refused(project, trained, tmp_path):
    arguments = (
        '--resume',
        trained / 'iter_3.pth',
        '--cfg-options',
        'train_cfg.max_iters=9',
        'model.network.channels=8',
    )
    result = run('train', project.config, '--work-dir', tmp_path, *arguments)
    assert_refused(result, trained / 'iter_3.pth', 'do not fit')


def test_fine_tuning_from_a_damaged_checkpoint_is_refused(start, project, tmp_path):
    assert_refused(
        start('train', project.config, f'load_from={tmp_path / "gone.pth"}'), tmp_path / 'gone.pth', 'no such file'
    )


# Data. Every way in which data can be bad is in tests/datasets; here each command meets the main ones.


@pytest.mark.parametrize('tool', ALL)
def test_an_info_file_that_is_missing_is_refused(start, damaged, tool):
    path = damaged.root / 'infos.pkl'
    path.unlink()
    assert_refused(start(tool, damaged.config), path, 'no such file', 'tools/create_data.py')


@pytest.mark.parametrize('tool', ALL)
def test_an_image_that_is_cut_short_is_refused(start, damaged, tool):
    truncate(damaged.root / IMAGE)
    assert_refused(start(tool, damaged.config), damaged.root / IMAGE, 'restore')


def change_camera(root: Path, field: str, row: int, column: int, value: float) -> None:
    """Change one number of the calibration of the front camera."""
    path = root / 'infos.pkl'
    content = pickle.loads(path.read_bytes())
    content['data_list'][0]['images']['FRONT'][field][row][column] = value
    path.write_bytes(pickle.dumps(content))


@pytest.mark.parametrize('tool', ALL)
def test_a_calibration_of_nan_is_refused(start, damaged, tool):
    change_camera(damaged.root, 'cam2img', 0, 0, float('nan'))
    assert_refused(start(tool, damaged.config), damaged.root / 'infos.pkl', 'FRONT', 'NaN', 'convert')


@pytest.mark.parametrize('tool', ALL)
def test_a_rotation_that_is_none_is_refused(start, damaged, tool):
    change_camera(damaged.root, 'cam2global', 0, 0, 2.0)
    assert_refused(start(tool, damaged.config), damaged.root / 'infos.pkl', 'FRONT', 'orthonormal', 'convert')


@pytest.mark.parametrize(
    ('tool', 'name', 'change', 'words'),
    [
        ('test', 'infos.pkl', truncate, ('not a readable pickle', 'create_data')),
        ('novel_view_synthesis', IMAGE, Path.unlink, ('no such image', 'restore')),
        ('train', IMAGE, Path.unlink, ('no such image', 'restore')),
        ('train', IMAGE, lambda path: path.write_bytes(b'no picture'), ('not', 'restore')),
        ('train', LIDAR, Path.unlink, ('no such LiDAR file', 'restore')),
        ('visualization', LIDAR, lambda path: path.write_bytes(path.read_bytes()[:-4]), ('whole number', 'restore')),
        ('test', TEACHER, Path.unlink, ('no such file', 'data_prefix.teacher')),
        ('train', TEACHER, lambda path: np.save(path, np.zeros(7)), ('axes', 'data_prefix.teacher')),
        ('test', TEACHER, lambda path: np.save(path, np.full((32, 64), np.nan)), ('but NaN', 'data_prefix.teacher')),
    ],
)
def test_damaged_files_are_refused(start, damaged, tool, name, change, words):
    path = damaged.root / name
    change(path)
    assert_refused(start(tool, damaged.config), path, *words)


def test_a_worker_process_reports_one_line_too(start, damaged):
    truncate(damaged.root / IMAGE)
    assert_refused(start('test', damaged.config, 'test_dataloader.num_workers=1'), damaged.root / IMAGE, 'restore')


# What is asked for.


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        ((52,), ('pose 52', 'poses 0 to 51')),
        ((-1,), ('pose -1', 'poses 0 to 51')),
        ((0, '--sample', 3), ('sample 3', 'samples 0 to 2')),
        ((0, '--sample', -1), ('sample -1', 'samples 0 to 2')),
    ],
)
def test_numbers_out_of_range_are_refused(project, tmp_path, arguments, words):
    assert_refused(run('novel_view_synthesis', project.config, 'None', *arguments, '--out-dir', tmp_path), *words)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ('tool', 'arguments', 'words'),
    [
        ('novel_view_synthesis', ('--trajectory', 'spiral'), ('spiral', 'left_right', 'circle', 'translation')),
        ('test', ('--eval', 'beauty'), ('beauty', 'psnr')),
    ],
)
def test_unknown_names_are_refused(project, tool, arguments, words):
    result = run(tool, project.config, 'None', *arguments)
    assert result.code == 2
    last = result.err.splitlines()[-1]
    assert all(word in last for word in ('error: argument', *words))


def test_no_samples_to_draw_are_refused(project):
    arguments = ('--samples', 0, '--cfg-options', 'model.visualize_imgs=True')
    assert_refused(run('visualization', project.config, 'None', *arguments), '0 samples', '1 or more')


@pytest.mark.parametrize('tool', [*ALL, 'json', 'video'])
def test_results_that_cannot_be_written_are_refused(project, tmp_path, tool):
    blocked = tmp_path / 'a_file'
    blocked.write_text('here already')
    options = (f'model.vis_save_directory={blocked}', 'model.visualize_imgs=True')
    arguments = {
        'train': ('train', project.config, '--work-dir', blocked / 'work'),
        'test': ('test', project.config, 'None', '--work-dir', blocked),
        'json': ('test', project.config, 'None', '--work-dir', tmp_path / 'work', '--out', blocked / 'figures.json'),
        'visualization': ('visualization', project.config, 'None', '--cfg-options', *options),
        'novel_view_synthesis': ('novel_view_synthesis', project.config, 'None', '--out-dir', blocked),
        'video': ('novel_view_synthesis', project.config, 'None', '--video', blocked / 'out.mp4'),
    }[tool]
    assert_refused(run(*arguments), blocked, 'cannot be written', 'choose another')
    assert blocked.read_text() == 'here already'


@pytest.mark.parametrize(
    ('option', 'meant'),
    [
        ('trian_cfg.max_iters=1', 'train_cfg'),
        ('model.network.fine.widht=8', 'width'),
        ('model.network.sampling.fine_sample=8', 'fine_samples'),
        ('train_dataloader.dataset.num_cameras=1', 'num_camera'),
        ('optim_wrapper.optimizer.lrr=1', 'lr'),
    ],
)
def test_the_nearest_right_key_is_named(project, tmp_path, option, meant):
    result = run('train', project.config, '--work-dir', tmp_path, '--cfg-options', option)
    assert_refused(result, project.config, f'did you mean {meant}?')


@pytest.mark.parametrize(
    ('option', 'word'),
    [
        ('wandb=online', 'WANDB_API_KEY'),
        ('wandb=sometimes', 'offline'),
        ('model.num_camera=0', 'num_camera'),
        ('model.num_camera=3', 'only 2 cameras'),
        ('train_dataloader.dataset.cameras=()', 'no camera is chosen'),
        ('model.det_head_3d.wdith=9', 'did you mean width?'),
        ('model.losses.lpips.type=LPIPSLoss', 'lpips_vgg.pth'),
    ],
)
def test_wrong_training_options_are_refused(project, tmp_path, monkeypatch, option, word):
    monkeypatch.delenv('WANDB_API_KEY', raising=False)
    assert_refused(run('train', project.config, '--work-dir', tmp_path, '--cfg-options', option), word)


@pytest.mark.parametrize('name', ['out.gif', 'out', 'out.avi'])
def test_videos_of_other_suffixes_are_refused_at_the_start(project, tmp_path, name):
    # The checkpoint is not even looked for.
    result = run('novel_view_synthesis', project.config, tmp_path / 'gone.pth', '--video', tmp_path / name)
    assert_refused(result, tmp_path / name, 'suffix', 'give out.mp4')
    assert not list(tmp_path.iterdir())


def test_a_broken_ffmpeg_is_found_before_the_model_is_built(project, tmp_path, monkeypatch):
    monkeypatch.setenv('IMAGEIO_FFMPEG_EXE', '/bin/false')
    out = tmp_path / 'out.mp4'
    assert_refused(
        run('novel_view_synthesis', project.config, tmp_path / 'gone.pth', '--video', out), out, '/bin/false'
    )
    assert not list(tmp_path.iterdir())
