"""What ``model.*`` asks for is drawn: before training, of test data, from elsewhere, and beside the truth."""

from __future__ import annotations

import json
import math
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from PIL import Image

from projects.DistillNeRF.models.checkpoint import read_checkpoint
from projects.DistillNeRF.models.scene import Scene
from projects.DistillNeRF.semantics.classes import CLASSES
from projects.MiniTown import scene
from tests.helpers.boxtown import BoxTown
from tests.helpers.commands import CAMERAS, IMAGE_SIZE, ROOT, run, write_town_config
from tests.helpers.files import picture, written
from tests.helpers.refusals import assert_refused


@pytest.fixture(scope='module')
def configs(town, tmp_path_factory) -> dict[str, Path]:
    """Configs for a town of boxes: ``colors`` and ``features``."""
    folder = tmp_path_factory.mktemp('configs')
    features = 'model_wrapper_minitown_features.py'
    return {
        'colors': write_town_config(folder / 'colors.py', town, head='width=32', steps=1),
        'features': write_town_config(folder / 'features.py', town, features, steps=1),
    }


def drawn(config: Path, directory: Path, *options: str, samples: int = 1, checkpoint: str | Path = 'None') -> list[str]:
    """Names of what ``tools/visualization.py`` wrote."""
    options = (f'model.vis_save_directory={directory}', *options)
    result = run('visualization', config, checkpoint, '--samples', samples, '--cfg-options', *options)
    assert result.code == 0, result.err
    return [str(path.relative_to(directory)) for path in written(result.out)]


def test_single_images_are_the_tiles(project, tmp_path):
    names = drawn(project.config, tmp_path, 'model.visualize_imgs=True')
    assert names == ['panel_000.png', 'images_000']
    tiles = {path.name for path in (tmp_path / 'images_000').iterdir()}
    assert {f'{camera}_{kind}.png' for camera in CAMERAS for kind in ('input', 'rendered', 'rendered_depth')} <= tiles
    assert {f'{camera}_rendered_1_m_to_the_right.png' for camera in CAMERAS} <= tiles
    image = np.array(Image.open(tmp_path / 'images_000' / 'FRONT_input.png'))
    assert image.shape == (*IMAGE_SIZE, 3)
    # The box before this camera is red: it would be blue if the channels were swapped.
    reddish = (image[..., 0] > 200) & (image[..., 2] < 60)
    assert reddish.mean() > 0.05
    assert not [
        name
        for name in drawn(
            project.config, tmp_path / 'b', 'model.visualize_imgs=True', 'model.save_visualized_imgs=False'
        )
        if 'images' in name
    ]


def test_voxels_are_drawn_in_every_coloring(project, trained, tmp_path):
    options = ('model.visualize_voxels=True', 'model.voxel_colors=rgb,features', 'model.voxel_min_density=0.01')
    names = drawn(project.config, tmp_path, *options, checkpoint=trained / 'iter_3.pth')
    kinds = [
        f'voxels_000/{level}_{colors}{suffix}'
        for colors in ('rgb', 'features')
        for level in ('fine', 'coarse')
        for suffix in ('_above.png', '.ply')
    ]
    assert sorted(names) == sorted(
        ['panel_000.png', 'images_000', *kinds, 'voxels_000/rgb.html', 'voxels_000/features.html']
    )
    tiles = {path.name for path in (tmp_path / 'images_000').iterdir()}
    rows = ('input', *(f'{level}_voxels_{colors}' for colors in ('rgb', 'features') for level in ('fine', 'coarse')))
    assert tiles == {f'{camera}_{row}.png' for camera in CAMERAS for row in rows}
    assert not re.findall(r'<script[^>]+src=', (tmp_path / 'voxels_000/rgb.html').read_text())


def test_voxel_colours_is_still_accepted(project, tmp_path):
    names = drawn(project.config, tmp_path, 'model.visualize_voxels=True', 'model.voxel_colours=height')
    assert 'voxels_000/height.html' in names and 'voxels_000/rgb.html' not in names


def test_features_of_a_network_of_colors_are_drawn(project, tmp_path):
    names = drawn(project.config, tmp_path, 'model.visualize_foundation_model_feat=True')
    assert names == ['panel_000.png', 'images_000']
    tiles = sorted(path.name for path in (tmp_path / 'images_000').iterdir())
    rows = ('features', 'input', 'next_features')
    assert tiles == [f'{camera}_{row}.png' for camera in sorted(CAMERAS) for row in rows]


def test_queries_and_features_of_a_network_of_features_are_drawn(configs, tmp_path):
    options = ('model.language_query=car,road', 'model.visualize_foundation_model_feat=True')
    names = drawn(configs['features'], tmp_path, *options, samples=2)
    assert names == ['panel_000.png', 'images_000', 'panel_001.png', 'images_001']
    rows = (
        'features',
        'input',
        'next_features',
        'next_teacher_features',
        'query_car',
        'query_road',
        'teacher_features',
    )
    tiles = sorted(path.name for path in (tmp_path / 'images_000').iterdir())
    assert tiles == sorted(f'{camera}_{row}.png' for camera in ('CAM_FRONT', 'CAM_FRONT_LEFT') for row in rows)
    picture(tmp_path / 'panel_000.png')


def test_a_network_trains_on_the_code_book(configs, tmp_path):
    result = run(
        'train', configs['features'], '--work-dir', tmp_path, '--cfg-options', 'default_hooks.logger.interval=1'
    )
    assert result.code == 0, result.err
    (scalars,) = tmp_path.glob('*/vis_data/scalars.json')
    loss = json.loads(scalars.read_text().splitlines()[0])['loss_features']
    # Untrained: nearly one apart in each of the numbers, times 20.
    assert 1 < loss < 40


@pytest.mark.parametrize(
    ('name', 'options', 'words'),
    [
        ('colors', ('model.language_query=car',), ('renders colors', 'model_wrapper_minitown_features')),
        ('features', ('model.language_query=dragon',), ("'dragon'", CLASSES[-1])),
        ('features', ('model.language_query=car', 'model.text_encoder=None'), ('model.text_encoder',)),
        ('features', ('model.visualize_voxels=True', 'model.voxel_colors=height,rgb'), ('choose height or features',)),
        ('colors', ('model.visualize_voxels=True', 'model.voxel_colors=red'), ("'red'", 'rgb, height, features')),
        ('colors', ('model.visualize_voxels=yes',), ("model.visualize_voxels is 'yes'", 'True or False')),
        ('colors', ('model.visualize_voxels=True', 'model.voxel_min_density=much'), ("'much'", 'a number')),
        ('colors', ('model.visualize_imgs=True', 'model.visualize_voxel=True'), ('did you mean visualize_voxels?',)),
        ('colors', (), ('nothing to draw', 'model.visualize_imgs=True')),
    ],
)
def test_pictures_that_cannot_be_drawn_are_refused(configs, tmp_path, name, options, words):
    out = tmp_path / 'out'
    result = run('visualization', configs[name], 'None', '--cfg-options', f'model.vis_save_directory={out}', *options)
    assert result.code == 2
    last = result.err.splitlines()[-1]
    assert last.startswith('error: ') and all(word in last for word in words), last
    assert not list(out.rglob('*.png')) and not list(out.rglob('*.ply'))


def test_the_data_are_drawn_before_training_and_training_does_not_notice(project, tmp_path):
    weights = []
    options = (
        'train_cfg.max_iters=5',
        'train_cfg.val_interval=9',
        'default_hooks.checkpoint.interval=5',
        'custom_hooks=[]',
        'train_dataloader.dataset.training_target_smart_sample=True',
    )
    for flag in ('True', 'False'):
        arguments = (f'model.visualize_imgs={flag}', f'model.visualize_voxels={flag}')
        result = run('train', project.config, '--work-dir', tmp_path / flag, '--cfg-options', *options, *arguments)
        assert result.code == 0, result.err
        weights.append(read_checkpoint(tmp_path / flag / 'iter_5.pth')['state_dict'])
    folder = tmp_path / 'True' / 'visualization'
    assert {f'panel_00{i}.png' for i in range(3)} <= {path.name for path in folder.iterdir()}
    assert (folder / 'voxels_000' / 'rgb.html').is_file()
    assert (folder / 'panel_000.png').stat().st_mtime < (tmp_path / 'True' / 'iter_5.pth').stat().st_mtime
    assert not (tmp_path / 'False' / 'visualization').exists()
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_novel_views_have_rows_of_features_and_take_own_poses(configs, tmp_path):
    poses = tmp_path / 'poses.json'
    poses.write_text(json.dumps([{'x': 1.0}, {'y': 2.0, 'yaw': 30}]))
    arguments = ('--trajectory', poses, '--out-dir', tmp_path)
    option = ('--cfg-options', 'model.visualize_foundation_model_feat=True')
    for name, rows, options in (('features', 2, ()), ('colors', 2, ()), ('colors', 3, option)):
        result = run('novel_view_synthesis', configs[name], 'None', *arguments, *options)
        assert result.code == 0, result.err
        paths = written(result.out)
        assert paths == [tmp_path / f'poses_00{i}.png' for i in range(2)]
        assert picture(paths[0]).shape == (rows * 28 + (rows - 1) * 2, 2 * 50 + 2, 3)


def test_novel_views_are_compared_with_the_truth(configs, tmp_path, monkeypatch):
    monkeypatch.setattr(scene, 'Town', BoxTown)
    poses, out = tmp_path / 'poses.json', tmp_path / 'results' / 'truth.json'
    poses.write_text(json.dumps([{'x': 1.0}, {}, {'x': 1.0}]))
    arguments = ('--truth', '--samples', 2, '--trajectory', poses, '--out', out)
    with mock.patch.object(Scene, 'render', autospec=True, side_effect=Scene.render) as render:
        result = run('novel_view_synthesis', configs['colors'], 'None', *arguments)
    assert result.code == 0, result.err
    # At the original pose, an image that is looked up in itself would be perfect.
    assert render.call_args_list and all(call.kwargs['withhold_own'] is True for call in render.call_args_list)
    figures = json.loads(out.read_text())
    assert figures['samples'] == [0, 2]
    assert [pose['motion'][0][3] for pose in figures['poses']] == [0.0, 1.0]
    lines = [line for line in result.out.splitlines() if line.startswith(('x ', 'mean'))]
    assert [line.split()[-6] for line in lines] == [
        f'{part["psnr"]:.3f}' for part in (*figures['poses'], figures['mean'])
    ]
    assert all(math.isfinite(figures['mean'][key]) for key in ('psnr', 'ssim', 'abs_rel', 'rmse', 'a1'))


def test_novel_features_are_compared_with_the_true_classes(configs, tmp_path, monkeypatch):
    monkeypatch.setattr(scene, 'Town', BoxTown)
    poses, out = tmp_path / 'poses.json', tmp_path / 'truth.json'
    poses.write_text(json.dumps([{}, {'x': 1.0}]))
    arguments = ('--truth', '--samples', 2, '--trajectory', poses, '--out', out)
    result = run('novel_view_synthesis', configs['features'], 'None', *arguments)
    assert result.code == 0, result.err
    figures = json.loads(out.read_text())
    here, right = figures['poses']
    assert {'feature/psnr', 'query/miou', 'query/iou/road', 'abs_rel'} <= set(here)
    assert here['feature/psnr'] != right['feature/psnr']
    header, row = (next(line for line in result.out.splitlines() if line.startswith(word)) for word in ('pose', 'x'))
    assert header.split()[1:3] == ['feature/psnr', '[dB]'] and row.split()[-6] == f'{here["feature/psnr"]:.3f}'


WITHOUT_ENCODER = ('--cfg-options', 'model.text_encoder=None')


def test_a_comparison_without_truth_is_refused(configs, project, tmp_path, monkeypatch):
    result = run('novel_view_synthesis', project.config, 'None', '--truth')
    assert_refused(result, 'minitown.json: no such file')
    result = run('novel_view_synthesis', configs['features'], 'None', '--truth', *WITHOUT_ENCODER)
    assert_refused(result, 'text encoder')
    result = run('novel_view_synthesis', configs['colors'], 'None', '--truth', '--samples', 4)
    assert_refused(result, 'the test data has 3')
    # The files were made of boxes; built again it is a real town, as if another version had made them.
    out = tmp_path / 'out.json'
    result = run('novel_view_synthesis', configs['colors'], 'None', '--truth', '--samples', 1, '--out', out)
    assert_refused(result, 'looks different when the town is built again')
    assert not out.exists()


def test_the_script_may_be_sourced(project, tmp_path):
    video = tmp_path / 'out.mp4'
    words = shlex.join(map(str, (project.config, 'None', video, '--trajectory', 'translation')))
    # Once as it should be, once without Python; the shell goes on, in its folder and without new variables.
    lines = [f'. tools/novel_view_synthesis.sh {words}', 'VENV=/none', f'. tools/novel_view_synthesis.sh {words}']
    script = '\n'.join([*lines, 'echo "ended $? $PWD ${config-}${video-}"'])
    environment = {**os.environ, 'VENV': sys.prefix}
    command = ['bash', '-c', script]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert result.stdout.splitlines()[-2:] == [f'wrote {video}', f'ended 127 {ROOT} ']
    assert video.stat().st_size > 1000
