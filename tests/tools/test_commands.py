"""Every command does its work on a tiny project, and what it writes can be read."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys

import imageio_ffmpeg
import numpy as np
import pytest
import torch

from projects.DistillNeRF.models.checkpoint import read_checkpoint
from tests.helpers.commands import CAMERAS, IMAGE_SIZE, ROOT, run
from tests.helpers.files import picture, written
from tests.helpers.refusals import assert_refused
from verification.benchmark.training import lpips_weights

ROW_GAP = 2
STRIP_SIZE = (2 * IMAGE_SIZE[0] + ROW_GAP, len(CAMERAS) * (IMAGE_SIZE[1] + ROW_GAP) - ROW_GAP)


def test_training_writes_checkpoints_and_panels(trained):
    assert (trained / 'last_checkpoint').read_text() == str(trained / 'iter_3.pth')
    state = read_checkpoint(trained / 'iter_3.pth')
    assert state['meta']['iter'] == 3
    panels = sorted(path.name for path in (trained / 'panels').iterdir())
    assert panels == ['train_0000002.png', *(f'val_0000003_00{i}.png' for i in range(3))]
    picture(trained / 'panels' / panels[0])


def test_training_changes_the_weights(trained):
    before, after = (read_checkpoint(trained / f'iter_{i}.pth')['state_dict'] for i in (2, 3))
    assert any(not torch.equal(before[name], after[name]) for name in before)
    assert all(value.isfinite().all() for value in after.values())


@pytest.mark.parametrize('name', ['', 'iter_2.pth'])
def test_training_goes_on_where_it_stopped(project, trained, tmp_path, name):
    work_dir = shutil.copytree(trained, tmp_path / 'work')
    (work_dir / 'last_checkpoint').write_text(str(work_dir / 'iter_3.pth'))
    resume = [work_dir / name] if name else []
    options = ('train_cfg.max_iters=4', 'train_cfg.val_interval=9', 'custom_hooks=[]')
    result = run('train', project.config, '--work-dir', work_dir, '--resume', *resume, '--cfg-options', *options)
    assert result.code == 0
    steps = [line for line in result.out.splitlines() if 'Iter(train)' in line]
    assert len(steps) == (2 if name else 1)
    state = read_checkpoint(work_dir / 'iter_4.pth')
    assert state['meta']['iter'] == 4
    assert {int(entry['step']) for entry in state['optimizer']['state'].values()} == {4}


def test_resuming_without_a_checkpoint_begins(project, tmp_path):
    options = ('train_cfg.max_iters=1', 'train_cfg.val_interval=9', 'default_hooks.checkpoint.interval=1')
    result = run('train', project.config, '--work-dir', tmp_path, '--resume', '--cfg-options', *options)
    assert result.code == 0
    assert (tmp_path / 'iter_1.pth').is_file()


def test_evaluation_prints_and_writes_all_figures(project, trained, tmp_path):
    out = tmp_path / 'results' / 'figures.json'
    checkpoint = trained / 'iter_3.pth'
    result = run('test', project.config, checkpoint, '--baselines', '--work-dir', tmp_path / 'work', '--out', out)
    assert result.code == 0
    figures = json.loads(out.read_text())
    assert figures['checkpoint'] == str(checkpoint)
    model, baselines = figures['model'], figures['baselines']
    assert {'psnr', 'ssim', 'next/psnr', 'abs_rel', 'lidar/abs_rel', 'teacher/abs_rel'} <= set(model)
    psnrs = {name for name in baselines if name.endswith('psnr')}
    guesses = ('mean_color', 'camera_mean', 'oracle')
    assert psnrs == {f'{name}/{group}psnr' for name in guesses for group in ('', 'next/')} | {
        f'{name}/next/psnr' for name in ('current_frame', 'warped', 'warped_visible')
    }
    assert all(math.isfinite(value) for value in model.values())
    assert {name for name, value in baselines.items() if math.isinf(value)} == {'oracle/psnr', 'oracle/next/psnr'}
    assert {baselines['oracle/ssim'], 1 - baselines['oracle/teacher/abs_rel'], baselines['oracle/lidar/a1']} == {1.0}
    assert baselines['median_depth/teacher/abs_rel'] > 0
    header, psnr_row = (next(x for x in result.out.splitlines() if x.startswith(y)) for y in ('metric', 'psnr'))
    columns = ['mean_color', 'camera_mean', 'current_frame', 'oracle', 'median_depth', 'warped', 'warped_visible']
    assert header.split() == ['metric', 'model', *columns]
    expected = [model['psnr'], *(baselines[f'{name}/psnr'] for name in guesses)]
    assert psnr_row.split()[2:] == [f'{value:.3f}' for value in expected]
    assert written(result.out) == [out]


def test_evaluation_of_chosen_metrics_without_a_checkpoint(project, tmp_path):
    out = tmp_path / 'figures.json'
    result = run('test', project.config, 'None', '--eval', 'psnr', '--work-dir', tmp_path, '--out', out)
    assert result.code == 0
    assert set(json.loads(out.read_text())['model']) == {'psnr', 'ssim', 'ssim_gaussian'}
    assert (
        'aux_models/lpips_vgg.pth: no such file, so there is no LPIPS; get it with: python tools/get_weights.py'
        in result.err
    )
    assert result.err.count('so there is no LPIPS') == 1


def test_evaluation_of_parts_in_all_formats(project, trained, tmp_path):
    files = [tmp_path / f'r.{ending}' for ending in ('json', 'csv', 'md')]
    outs = [word for path in files for word in ('--out', path)]
    arguments = (project.config, trained / 'iter_3.pth', '--eval', 'psnr', 'depth', '--work-dir', tmp_path / 'work')
    result = run('test', *arguments, '--by', 'camera', 'scene', 'distance', 'motion', *outs)
    assert result.code == 0, result.err
    assert written(result.out) == files
    found = json.loads(files[0].read_text())
    model, parts = found['model'], found['parts']
    assert not any('@' in name for name in model)
    assert {f'psnr@camera={camera}' for camera in CAMERAS} < set(parts)
    assert {'ssim@camera=FRONT', 'abs_rel@camera=LEFT', 'lidar/abs_rel@distance=0-10m'} < set(parts)
    assert parts['psnr@scene=boxes'] == pytest.approx(model['psnr'])
    # The box world does not say what moves.
    assert not any('motion' in name for name in parts)
    assert '--by motion gives no figure: the test data does not say what moves' in result.err
    headers = [line.split()[:2] for line in result.out.splitlines() if line.startswith('by ')]
    assert headers == [['by', kind] for kind in ('camera', 'scene', 'distance')]
    assert len(files[1].read_text().splitlines()) == 1 + len(model) + len(parts)
    assert '| boxes | psnr [dB] |' in files[2].read_text()


def test_parts_that_no_evaluation_has_and_other_formats_are_refused(project, tmp_path):
    arguments = ('test', project.config, 'None', '--eval', 'psnr', '--work-dir', tmp_path)
    assert_refused(run(*arguments, '--by', 'distance'), '--by distance: none of the evaluations')
    assert_refused(run(*arguments, '--out', tmp_path / 'r.txt'), 'r.txt: --out writes .json, .csv, .md')


def test_lpips_is_measured_where_its_weights_are(project, tmp_path, monkeypatch):
    weights = tmp_path / 'aux_models' / 'lpips_vgg.pth'
    weights.parent.mkdir()
    torch.save(lpips_weights(), weights)
    monkeypatch.chdir(tmp_path)
    out = tmp_path / 'r.json'
    result = run('test', project.config, 'None', '--eval', 'psnr', '--work-dir', tmp_path / 'work', '--out', out)
    assert result.code == 0 and 'LPIPS' not in result.err
    assert json.loads(out.read_text())['model']['lpips'] > 0
    # A file of one's own must be there.
    own = tmp_path / 'own.py'
    own.write_text(
        f"{project.config.read_text()}test_evaluator = [dict(type='ImageMetric', lpips_weights='gone.pth')]\n"
    )
    assert_refused(run('test', own, 'None', '--work-dir', tmp_path / 'work'), 'gone.pth: no such file')


def test_a_network_of_which_no_sample_counts_is_refused(project, trained, tmp_path):
    """A decoder of huge weights adds infinities of both signs."""
    checkpoint = tmp_path / 'huge.pth'
    state = read_checkpoint(trained / 'iter_3.pth')['state_dict']
    state = {name: value * 1e30 if '.decoder.' in name else value for name, value in state.items()}
    torch.save({'state_dict': state}, checkpoint)
    for options in ((), ('--eval', 'psnr')):
        result = run('test', project.config, checkpoint, '--work-dir', tmp_path, *options)
        assert_refused(result, '--eval psnr', 'no test sample gives a figure')
        assert 'with NaN in an image (such as box0)' in result.err


def test_evaluation_uses_the_weights_of_the_checkpoint(project, trained, tmp_path):
    values = []
    for name in ('iter_2.pth', 'iter_3.pth'):
        out = tmp_path / f'{name}.json'
        run('test', project.config, trained / name, '--eval', 'psnr', '--work-dir', tmp_path, '--out', out)
        values.append(json.loads(out.read_text())['model']['psnr'])
    assert values[0] != values[1]
    log = trained / next(path.name for path in trained.iterdir() if path.is_dir() and path.name != 'panels')
    scalars = [json.loads(line) for line in (log / 'vis_data/scalars.json').read_text().splitlines()]
    assert values[1] == pytest.approx(scalars[-1]['psnr'], abs=1e-4)


def test_visualization_writes_panels_of_the_test_data(project, tmp_path):
    options = ('model.visualize_imgs=True', f'model.vis_save_directory={tmp_path}')
    result = run('visualization', project.config, 'None', '--samples', 2, '--cfg-options', *options)
    assert result.code == 0
    names = [path.name for path in written(result.out)]
    assert names == ['panel_000.png', 'images_000', 'panel_001.png', 'images_001']
    first, second = (picture(tmp_path / f'panel_{i:03d}.png') for i in range(2))
    assert first.shape == second.shape
    assert not np.array_equal(first, second)


def test_novel_view_synthesis_writes_three_pictures(project, trained, tmp_path):
    result = run('novel_view_synthesis', project.config, trained / 'iter_3.pth', 5, '--out-dir', tmp_path)
    assert result.code == 0
    paths = written(result.out)
    assert paths == [tmp_path / f'left_right_{i:03d}.png' for i in (5, 6, 7)]
    pictures = [picture(path) for path in paths]
    assert {pixels.shape for pixels in pictures} == {(*STRIP_SIZE, 3)}
    assert not np.array_equal(pictures[0], pictures[2])


def test_novel_view_synthesis_writes_a_video(project, tmp_path):
    video = tmp_path / 'videos' / 'out.mp4'
    arguments = ('--trajectory', 'translation', '--sample', 2, '--video', video)
    result = run('novel_view_synthesis', project.config, 'None', *arguments)
    assert result.code == 0
    assert written(result.out) == [video]
    reader = imageio_ffmpeg.read_frames(str(video))
    width, height = next(reader)['size']
    assert (height, width) == STRIP_SIZE
    frames = [np.frombuffer(frame, np.uint8) for frame in reader]
    assert len(frames) == 3
    assert frames[0].std() > 1


def test_exit_codes_tell_success_from_bad_input(project, tmp_path):
    missing = tmp_path / 'missing.pth'
    command = [sys.executable, ROOT / 'tools/novel_view_synthesis.py', project.config, missing]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1].startswith(f'error: {missing}: no such file')
    assert 'Traceback' not in result.stderr
