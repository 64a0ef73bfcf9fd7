"""A checkpoint knows the drive that it was trained on, and is refused for another one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from projects.DistillNeRF.configuration.config import load_config
from projects.DistillNeRF.scene_nerf.identity import check_identity, identify
from projects.DistillNeRF.scene_nerf.model import load_teacher
from tests.helpers.commands import Result, run
from tests.helpers.data import ROOT
from tests.helpers.fields import QUICK_STEPS, quick_options
from tests.helpers.oracle import town_drive
from tests.helpers.refusals import assert_refused

ENTRY = ROOT / 'projects/DistillNeRF/configs/model_wrapper/scene_nerf_minitown.py'
SCENES = ('minitown-0001', 'minitown-0002')


def files(root: Path) -> list[Path]:
    return [root / f'minitown_infos_{split}.pkl' for split in ('train', 'val')]


@pytest.fixture(scope='module')
def trained(town, tmp_path_factory) -> Path:
    """A checkpoint of the first scene, without its second keyframe."""
    work_dir = tmp_path_factory.mktemp('work')
    words = quick_options(files(town), town, **{'scene_nerf.holdout_frames': [1]})
    result = run('train', ENTRY, '--work-dir', work_dir, '--cfg-options', *words)
    assert result.code == 0, result.err
    return work_dir / f'iter_{QUICK_STEPS}.pth'


def resume(checkpoint: Path, work_dir: Path, root: Path, scene: str, holdout: list[int]) -> Result:
    changes = {'scene_nerf.holdout_frames': holdout, 'train_cfg.max_iters': QUICK_STEPS + 1}
    words = quick_options(files(root), root, scene, **changes)
    return run('train', ENTRY, '--work-dir', work_dir, '--resume', checkpoint, '--cfg-options', *words)


def render(checkpoint: Path, out: Path, root: Path, scene: str, holdout: list[int]) -> Result:
    words = quick_options(files(root), root, scene, **{'scene_nerf.holdout_frames': holdout})
    options = ('--out', out, '--views', '0_0_0', '--no-report', '--cfg-options', *words)
    return run('render_scene_nerf', ENTRY, checkpoint, *options)


@pytest.mark.parametrize('attempt', [resume, render])
def test_another_drive_is_refused(town, trained, tmp_path, attempt):
    """The second scene has as many images as the first one, and the first keyframe as many as the second."""
    other = attempt(trained, tmp_path, town, SCENES[1], [1])
    assert_refused(
        other, f'is of scene {SCENES[0]}, but', f'names scene {SCENES[1]}', f'scene={SCENES[0]}', start=trained
    )
    images = attempt(trained, tmp_path, town, SCENES[0], [0])
    assert_refused(images, 'was trained on other 24 images', 'give the config', start=trained)
    fewer = attempt(trained, tmp_path, town, SCENES[0], [])
    assert_refused(fewer, 'was trained on 24 images, but', 'names 30', start=trained)
    assert not list(tmp_path.rglob('*.npy')) and not list(tmp_path.rglob('*.pth'))


def test_the_same_drive_elsewhere_is_taken(town, trained, tmp_path):
    root = shutil.copytree(town, tmp_path / 'moved')
    result = resume(trained, tmp_path / 'work', root, SCENES[0], [1])
    assert result.code == 0 and 'does not tell' not in result.err, result.err
    again = torch.load(tmp_path / f'work/iter_{QUICK_STEPS + 1}.pth', weights_only=False)['state_dict']
    assert torch.equal(again['drive'], torch.load(trained, weights_only=False)['state_dict']['drive'])


def test_an_older_checkpoint_is_taken_with_a_warning(town, trained, tmp_path):
    state = torch.load(trained, weights_only=False)
    del state['state_dict']['drive']
    torch.save(state, tmp_path / 'old.pth')
    result = resume(tmp_path / 'old.pth', tmp_path / 'work', town, SCENES[0], [1])
    assert result.code == 0 and 'old.pth: does not tell which drive' in result.err
    # What goes on from it knows its drive.
    again = torch.load(tmp_path / f'work/iter_{QUICK_STEPS + 1}.pth', weights_only=False)['state_dict']
    assert torch.equal(again['drive'], torch.load(trained, weights_only=False)['state_dict']['drive'])
    fewer = resume(tmp_path / 'old.pth', tmp_path / 'work', town, SCENES[0], [])
    assert_refused(fewer, 'was trained on 24 images, but', 'names 30')


def test_a_teacher_of_another_drive_is_refused(town, trained, tmp_path):
    """From Python, with the config beside the checkpoint, changed; and one of a training that diverged."""
    beside = next(trained.parent.glob('*.py'))
    assert len(load_teacher(load_config(beside, sections=('scene_nerf',)), trained).images) == 24
    other = load_config(beside, {'scene_nerf.scene': SCENES[1]}, sections=('scene_nerf',))
    assert_refused(lambda: load_teacher(other, trained), f'is of scene {SCENES[0]}')
    state = torch.load(trained, weights_only=False)
    state['state_dict']['field.cells.values'][7, 2] = torch.nan
    torch.save(state, tmp_path / 'nan.pth')
    diverged = load_config(beside, sections=('scene_nerf',))
    assert_refused(lambda: load_teacher(diverged, tmp_path / 'nan.pth'), 'field.cells.values holds NaN', 'diverged')


def test_order_names_and_times_count(town):
    images = town_drive(town).images
    own = identify('a', images)
    check_identity(own, len(images), 'a', images, 'x.pth', 'config')
    for other in (images[::-1], (*images[:5], images[6], images[5], *images[7:])):
        assert_refused(lambda o=other: check_identity(own, len(o), 'a', o, 'x.pth', 'config'), 'in another order')
    damaged = own[: len(own) // 2]
    check_identity(damaged, len(images), 'a', images, 'x.pth', 'config')  # as if it said nothing
