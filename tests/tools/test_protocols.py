"""tools/test.py --protocol, on a town of boxes: three keyframes in a second and a half, images between them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from unittest import mock

import pytest
import torch

from projects.DistillNeRF.apis import init_model
from projects.DistillNeRF.configuration.config import load_config
from projects.DistillNeRF.datasets.infos import load_infos, save_infos
from projects.MiniTown import scene
from tests.helpers.boxdrive import write_drive
from tests.helpers.boxtown import BoxTown
from tests.helpers.boxworld import BoxWorld
from tests.helpers.commands import load_tool, run, write_config, write_town_config
from tests.helpers.ranks import run_ranks
from tests.helpers.refusals import assert_refused


@pytest.fixture(scope='module')
def config(town, tmp_path_factory) -> Path:
    return write_town_config(tmp_path_factory.mktemp('config') / 'colors.py', town)


def measured(config: Path, tmp_path: Path, protocol: str, *options: object) -> tuple[dict, str]:
    out = tmp_path / f'{protocol}.json'
    arguments = ('--work-dir', tmp_path / 'work', '--out', out, '--protocol', protocol)
    result = run('test', config, 'None', *arguments, *options)
    assert result.code == 0, result.err
    return json.loads(out.read_text()), result.out


def test_the_published_one_with_all_baselines(config, tmp_path):
    found, printed = measured(config, tmp_path, 'distillnerf', '--baselines')
    about, model, others = found['protocol'], found['model'], found['baselines']
    assert about['name'] == 'distillnerf' and about['samples'] == 1 and len(found['samples']) == 1
    # Two cameras: their images, and those of the next keyframe.
    assert about['scored images'] == 4
    assert any('28 x 50, protocol: 114 x 228' in text for text in about['deviations'])
    assert 'DEVIATION: data: minitown, protocol: nuScenes val' in printed
    assert {'psnr', 'next/psnr', 'abs_rel', 'next/abs_rel'} <= set(model) and 'virtual/psnr' not in model
    assert others['oracle/psnr'] == others['oracle/next/psnr'] == math.inf and others['oracle/ssim'] == 1
    assert others['oracle/abs_rel'] == others['oracle/next/abs_rel'] == 0
    assert others['warped_visible/next/psnr'] > others['current_frame/next/psnr'] and 'warped/psnr' not in others
    assert 0.3 < others['warped_visible/next/share'] < 1


@pytest.mark.parametrize(('protocol', 'samples', 'images'), [('drivingforward_sf', 2, 4), ('drivingforward_mf', 1, 2)])
def test_neighbors(config, tmp_path, protocol, samples, images):
    found, _ = measured(config, tmp_path, protocol)
    assert (found['protocol']['samples'], found['protocol']['scored images']) == (samples, images)
    assert 'novel/psnr' in found['model'] and 'psnr' not in found['model'] and 'abs_rel' in found['model']
    assert ('one glance' in found['protocol']) == (protocol == 'drivingforward_mf')


def test_true_views_of_a_trajectory(config, tmp_path, monkeypatch):
    monkeypatch.setattr(scene, 'Town', BoxTown)
    found, _ = measured(config, tmp_path, 'true_views', '--cfg-options', 'test_dataloader.dataset.indices=1')
    assert found['protocol']['samples'] == 1 and found['protocol']['scored images'] == 25 * 2
    assert {'poses/psnr', 'poses/ssim', 'poses/abs_rel'} <= set(found['model'])


def test_true_views_are_those_of_the_other_command(config, tmp_path, monkeypatch):
    """``tools/novel_view_synthesis.py --truth`` measures the same poses of the same sample, with the same weights."""
    monkeypatch.setattr(scene, 'Town', BoxTown)
    options = ('--cfg-options', 'test_dataloader.dataset.indices=1')
    torch.manual_seed(0)
    checkpoint = tmp_path / 'random.pth'
    torch.save({'state_dict': init_model(load_config(str(config)), None).state_dict()}, checkpoint)
    poses = tmp_path / 'poses.json'
    poses.write_text('[{"x": 0.5}, {"y": 1.0, "yaw": 10.0}, {"x": 0.5}]')
    found, other = tmp_path / 'found.json', tmp_path / 'other.json'
    arguments = (config, checkpoint, '--trajectory', poses)
    work = ('--work-dir', tmp_path / 'work', '--protocol', 'true_views', '--out', found)
    assert run('test', *arguments, *work, *options).code == 0
    assert run('novel_view_synthesis', *arguments, '--truth', '--out', other, *options).code == 0
    model, truth = json.loads(found.read_text())['model'], json.loads(other.read_text())
    assert len(truth['poses']) == 2
    for name in ('psnr', 'ssim', 'abs_rel', 'rmse', 'a1'):
        assert model[f'poses/{name}'] == pytest.approx(truth['mean'][name], rel=1e-5), name
    for label, pose in zip(
        ('x +0.00 y +1.00 z +0.00 yaw +10.0', 'x +0.50 y +0.00 z +0.00'), truth['poses'], strict=True
    ):
        assert model[f'{label}/psnr'] == pytest.approx(pose['psnr'], rel=1e-5)


@pytest.fixture(scope='module')
def drive(tmp_path_factory) -> Path:
    """A config of a drive of five keyframes with an image in the middle between each two."""
    root = tmp_path_factory.mktemp('drive')
    write_drive(root, BoxWorld(size=(30, 50), frames=5, lidar_frames=(0, 2, 4), turn=0.0))
    project = write_config(root / 'drive.py', root)
    project.config.write_text(project.config.read_text().replace("cameras=('LEFT', 'FRONT')", 'cameras=None'))
    return project.config


@pytest.mark.parametrize(
    ('protocol', 'samples', 'images', 'rows'),
    [
        ('storm', 4, 4 * 3, {'novel/psnr'}),
        ('omniscene', 1, 18, {'psnr', 'novel/psnr', 'all/psnr'}),
    ],
)
def test_images_between_keyframes(drive, tmp_path, protocol, samples, images, rows):
    found, printed = measured(drive, tmp_path, protocol, '--baselines')
    about = found['protocol']
    assert (about['samples'], about['scored images'], len(found['samples'])) == (samples, images, samples)
    assert {name for name in found['model'] if name.endswith('psnr')} == rows
    assert all(found['baselines'][f'oracle/{row}'] == math.inf for row in rows)
    assert 'current_frame/novel/psnr' in found['baselines'] and 'frames per second: 4, protocol: 1' in printed
    # Truth, teacher and LiDAR are known at keyframes alone.
    assert not any('abs_rel' in name for name in found['model'])
    assert 'warped/novel/psnr' not in found['baselines']


def test_depth_is_left_out_where_no_scored_frame_has_lidar(drive, tmp_path):
    """Targets are the keyframes 1 to 4, inputs 0 to 3; without maps there is LiDAR at 0, 2, 4: of keyframe 1 none."""
    maps = [f'test_dataloader.dataset.load_{kind}=False' for kind in ('teacher', 'truth')]
    for first, known in ((0, True), (1, False)):
        options = ('--cfg-options', *maps, f'test_dataloader.dataset.indices=[{first}]')
        found, _ = measured(drive, tmp_path, 'drivingforward_sf', *options)
        assert ('lidar/abs_rel' in found['model']) == known and 'novel/psnr' in found['model']


def test_depth_between_keyframes_is_refused_where_it_is_asked_for(drive, tmp_path):
    arguments = ('--protocol', 'storm', '--eval', 'depth', '--work-dir', tmp_path)
    assert_refused(
        run('test', drive, 'None', *arguments), '--eval depth is asked for', 'between keyframes', 'evaluate novel_view'
    )


def test_the_column_of_the_paper_is_of_its_protocol(project, tmp_path, monkeypatch):
    tool = load_tool('test')
    columns = {'paper': {'novel/psnr': 1.0, 'next/psnr': 2.0}}
    monkeypatch.setattr(tool, 'paper_columns', lambda config, recolored: columns)
    with mock.patch('tests.helpers.commands.load_tool', lambda name: tool):
        ours, _ = measured(project.config, tmp_path, 'distillnerf')
        others, _ = measured(project.config, tmp_path, 'drivingforward_sf')
    assert ours['paper'] and not others['paper']


def test_data_that_are_too_short_and_options_that_do_nothing_are_refused(config, tmp_path):
    work = ('--work-dir', tmp_path / 'work')
    assert_refused(run('test', config, 'None', *work, '--protocol', 'storm'), 'storm', '2 s')
    assert_refused(run('test', config, 'None', *work, '--trajectory', 'left_right'), '--trajectory', 'true_views')
    none = run('test', config, 'None', *work, '--protocol', 'storm', '--eval', 'occupancy')
    assert_refused(none, 'protocol storm has no figures of --eval occupancy')


def test_two_processes_give_the_figures_of_one(config, town, tmp_path):
    """On the scene for training and that for validation: three of four samples, so one process has one more."""
    (metainfo, infos), (_, more) = (load_infos(town / f'minitown_infos_{split}.pkl') for split in ('train', 'val'))
    save_infos(tmp_path / 'both.pkl', 'minitown', metainfo['cameras'], [*infos, *more])
    results = []
    for count, launcher in ((1, 'none'), (2, 'pytorch')):
        out = tmp_path / f'{count}.json'
        command = ['tools/test.py', config, 'None', '--launcher', launcher, '--out', out]
        command += ['--work-dir', tmp_path / f'work{count}', '--protocol', 'drivingforward_sf']
        command += ['--cfg-options', f'test_dataloader.dataset.ann_file={tmp_path / "both.pkl"}', 'randomness.seed=3']
        command += ['test_dataloader.dataset.indices=3']
        for process in run_ranks([*map(str, command)], count):
            assert process.returncode == 0, process.stderr
        results.append(json.loads(out.read_text()))
    one, two = results
    assert one['protocol'] == two['protocol'] and one['protocol']['samples'] == 3
    tokens = [sample['token'] for sample in one['samples']]
    assert sorted(tokens) == sorted(sample['token'] for sample in two['samples']) and len(set(tokens)) == 3
    assert one['model'] == pytest.approx(two['model'], rel=1e-9) and one['intervals'] == two['intervals']
