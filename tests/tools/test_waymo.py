"""Waymo's configs on files like those of Waymo: teacher, training, protocols, zero-shot evaluation."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from projects.DistillNeRF.configuration.config import load_config
from projects.DistillNeRF.datasets.infos import load_infos
from projects.DistillNeRF.engine import create_minitown
from projects.DistillNeRF.engine.builders import build_dataset
from projects.MiniTown import scene
from tests.helpers.boxtown import BoxTown
from tests.helpers.commands import run
from tests.helpers.refusals import assert_refused
from tests.helpers.targets import assert_one_new_view_each
from tests.helpers.waymo_like import CAMERAS, SIDES, SIZE, TOWN, write_waymo_like
from tests.tools.test_entry_points import FOLDER, SMALLER

# Of the train split.
SCENE = 'minitown-0001'
KEYFRAMES = 6
NO_WORKERS = [
    f'{loader}_dataloader.{option}'
    for loader in ('train', 'val', 'test')
    for option in ('num_workers=0', 'persistent_workers=False')
]
# Narrow, with as many cameras as the data gives.
NARROW = [*(option for option in SMALLER if 'num_camera' not in option), *NO_WORKERS, 'model.network.head.width=32']


@pytest.fixture(scope='module')
def towns(tmp_path_factory) -> Path:
    """The folder above ``data/``: a town of two scenes of two and a half seconds, and the same as Waymo."""
    folder = tmp_path_factory.mktemp('waymo')
    town = folder / 'data/nuscenes'
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scene, 'Town', BoxTown)
        create_minitown.convert(town, town, **{**TOWN, 'keyframes': KEYFRAMES})
    for split in ('train', 'val'):
        shutil.copy(town / f'minitown_infos_{split}.pkl', town / f'nuscenes_infos_{split}.pkl')
    write_waymo_like(town, folder / 'data/waymo')
    return folder


@pytest.fixture(autouse=True)
def above_data(towns, monkeypatch) -> None:
    """Where the data lies is not said on the command line: it is where the documentation puts it."""
    monkeypatch.chdir(towns)


@pytest.fixture(scope='module')
def checkpoint(towns, tmp_path_factory) -> Path:
    """A narrow network of nuScenes' config after a step with two cameras."""
    work_dir = tmp_path_factory.mktemp('nuscenes')
    options = [option for option in SMALLER if not option.startswith(('train_dataloader', 'train_cfg.val_interval'))]
    options += ['train_dataloader.dataset.indices=1', 'train_cfg.val_interval=9', 'model.network.head.width=32']
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(towns)
        command = ('train', FOLDER / 'model_wrapper.py', '--work-dir', work_dir, '--cfg-options')
        result = run(*command, *options, *NO_WORKERS)
    assert result.code == 0, result.err
    return work_dir / 'iter_1.pth'


def measured(config: str, checkpoint: object, out: Path, *options: object) -> tuple[dict, str]:
    arguments = (FOLDER / f'{config}.py', checkpoint, '--work-dir', out / 'work', '--out', out / 'r.json', *options)
    result = run('test', *arguments, '--cfg-options', *NARROW)
    assert result.code == 0, result.err
    return json.loads((out / 'r.json').read_text()), result.out


def test_the_data_is_as_that_of_waymo(towns):
    metainfo, infos = load_infos(towns / 'data/waymo/waymo_infos_train.pkl')
    assert metainfo['dataset'] == 'waymo' and tuple(metainfo['cameras']) == ('FRONT_LEFT', 'FRONT', 'FRONT_RIGHT')
    image = infos[0]['images']['FRONT']
    assert (image['height'], image['width']) == SIZE
    assert image['teacher']['depth'] == 'kitti_format/minitown-0001/depth_img_0/000.npy'


def test_all_five_cameras_of_two_sizes_are_taken_too(towns, tmp_path):
    root = write_waymo_like(towns / 'data/nuscenes', tmp_path / 'waymo', five=True)
    options = {'data_root': str(root), 'train_dataloader.dataset.num_camera': None}
    views = build_dataset(load_config(FOLDER / 'model_wrapper_waymo.py', options), 'train')[0]['inputs']['input_views']
    assert views.images.shape == (5, 3, 144, 216) and views.teacher_depth.isfinite().any((1, 2)).all()
    # What was squeezed in the file is as in the town at this size, 1.125 times as large.
    _, (info, *_) = load_infos(towns / 'data/nuscenes/minitown_infos_train.pkl')
    for old, (new, _) in SIDES.items():
        expected = 1.125 * torch.tensor(info['images'][old]['cam2img'])[:2]
        torch.testing.assert_close(views.cameras.intrinsics[views.names.index(new)][:2], expected, rtol=2e-5, atol=0)
    three = build_dataset(load_config(FOLDER / 'model_wrapper_waymo.py', {'data_root': str(root)}), 'train')
    assert set(three.cameras) == {'FRONT_LEFT', 'FRONT', 'FRONT_RIGHT'}


def test_the_successor_gets_one_new_view_of_each_camera():
    assert_one_new_view_each('successor_waymo', cameras=3)


@pytest.mark.slow
@pytest.mark.parametrize('name', ['model_wrapper_waymo', 'model_wrapper_linearspace_waymo', 'successor_waymo'])
def test_a_student_trains_and_goes_through_both_protocols(towns, tmp_path, name):
    result = run('train', FOLDER / f'{name}.py', '--work-dir', tmp_path, '--cfg-options', *NARROW)
    assert result.code == 0, result.err
    assert any('loss_teacher_depth' in path.read_text() for path in tmp_path.rglob('scalars.json'))
    trained = tmp_path / 'iter_2.pth'
    found, printed = measured(name, trained, tmp_path, '--protocol', 'distillnerf', '--recolor')
    assert {'psnr', 'psnr_recolored', 'next/psnr', 'next/ssim_recolored', 'lidar/abs_rel'} <= set(found['model'])
    assert found['model']['psnr_recolored'] > found['model']['psnr'] and found['protocol']['samples'] == 1
    assert 'DEVIATION: data: waymo, protocol: nuScenes val' in printed
    found, printed = measured(name, trained, tmp_path, '--protocol', 'storm', '--recolor')
    assert {'novel/psnr', 'novel/ssim', 'novel/psnr_recolored'} <= set(found['model'])
    # One window of two seconds: images of MiniTown are 0.25 s apart, every second one is an input.
    assert found['protocol']['samples'] == 4 and found['protocol']['scored images'] == 4 * 3
    assert 'size: 144 x 216, protocol: 160 x 240' in printed and 'data: waymo' not in printed
    assert all(math.isfinite(value) for value in found['model'].values())


def test_a_network_of_nuscenes_is_measured_zero_shot(checkpoint, tmp_path):
    found, printed = measured('model_wrapper_waymo', checkpoint, tmp_path, '--eval', 'psnr', '--recolor')
    ours = found['model']
    assert ours['psnr_recolored'] > ours['psnr'] and set(ours) == {
        *('psnr', 'ssim', 'ssim_gaussian', 'psnr_recolored', 'ssim_recolored')
    }
    assert found['paper_zero_shot'] == {'psnr': 21.03, 'ssim': 0.841} and 'paper zero-shot' in printed
    published, _ = measured('model_wrapper_waymo', checkpoint, tmp_path, '--eval', 'psnr', '--recolor', 'published')
    assert published['paper_zero_shot']['psnr_recolored'] == 24.85
    # One change of all three images is less than one of each.
    assert ours['psnr'] < published['model']['psnr_recolored'] < ours['psnr_recolored']
    plain, _ = measured('model_wrapper_waymo', checkpoint, tmp_path, '--eval', 'psnr')
    assert plain['model'] == {name: ours[name] for name in ('psnr', 'ssim', 'ssim_gaussian')}


def test_recoloring_without_images_is_refused(checkpoint, tmp_path):
    arguments = (FOLDER / 'model_wrapper_waymo.py', checkpoint, '--work-dir', tmp_path, '--recolor', '--eval', 'depth')
    assert_refused(run('test', *arguments), '--recolor is of --eval psnr and novel_view')


@pytest.mark.slow
def test_a_teacher_writes_what_the_student_reads(towns, tmp_path):
    """Below another root, so that nothing of the other tests is read."""
    out = tmp_path / 'teacher'
    arguments = (FOLDER / 'scene_nerf_waymo.py', '--method', 'lidar', '--out', out, '--work-dir', tmp_path / 'work')
    options = ('--scenes', SCENE, '--size', 72, 108, '--views', '0_0_0', '1_0_0')
    result = run('train_teachers', *arguments, *options)
    assert result.code == 0, result.err + result.out
    for _, number in CAMERAS.values():
        for frame in range(KEYFRAMES):
            place = f'kitti_format/{SCENE}/{{}}_{number}/{frame:03d}.npy'
            depth, sky = (np.load(out / place.format(kind)) for kind in ('depth_img', 'sky_mask'))
            assert depth.shape == sky.shape == (72, 108) and np.isfinite(depth).mean() > 0.2
            assert (out / 'samples_1_0_0_0_0_0' / place.format('depth_img')).is_file()
    options = [*NARROW, f'train_dataloader.dataset.data_prefix.teacher={out}', f'work_dir={tmp_path / "student"}']
    result = run('train', FOLDER / 'model_wrapper_waymo.py', '--cfg-options', *options)
    assert result.code == 0, result.err
    assert (tmp_path / 'student/panels/train_0000002.png').is_file()


def test_sky_masks_lie_where_the_student_reads_them(towns, tmp_path):
    infos = 'data/waymo/waymo_infos_train.pkl'
    result = run('extract_sky_masks', 'lidar', '--data', infos, '--out', tmp_path, '--size', 72, 108)
    assert result.code == 0, result.err
    masks = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob('*.npy'))
    assert masks[:2] == [f'kitti_format/minitown-0001/sky_mask_0/{frame:03d}.npy' for frame in (0, 1)]
    assert len(masks) == 3 * KEYFRAMES
