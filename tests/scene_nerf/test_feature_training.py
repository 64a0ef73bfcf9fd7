"""Features from maps to exported files, by the commands: trained, cut and resumed, exported, read by a student."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from projects.DistillNeRF.semantics.classes import code_book
from tests.helpers.commands import run
from tests.helpers.dataset import build_dataset
from tests.helpers.fields import QUICK_STEPS, quick_options
from tests.helpers.oracle import town_drive
from tests.helpers.refusals import assert_refused
from tests.scene_nerf.test_field import ENTRY

LAST = f'iter_{QUICK_STEPS}.pth'


def options(town: Path, maps: Path | str | None, **changes: object) -> list[str]:
    files = [town / f'minitown_infos_{split}.pkl' for split in ('train', 'val')]
    given = {} if maps is None else {'scene_nerf.features': maps}
    return quick_options(files, town, **given, **changes)


def train(town: Path, maps: Path | str | None, work: Path, *more: object, **changes: object) -> dict[str, torch.Tensor]:
    """Train a little; return what the checkpoint holds."""
    result = run('train', ENTRY, '--work-dir', work, *more, '--cfg-options', *options(town, maps, **changes))
    assert result.code == 0, result.err
    return torch.load(work / LAST, weights_only=False)['state_dict']


@pytest.fixture(scope='module')
def maps(town, tmp_path_factory) -> Path:
    """Codes of the true classes of one scene."""
    root = tmp_path_factory.mktemp('maps')
    for image in town_drive(town).images:
        if image.features is not None:
            classes = np.array(Image.open(image.truth['classes']))[2::4, 2::4]
            (root / image.features).parent.mkdir(exist_ok=True)
            np.save(root / image.features, code_book()[classes].astype(np.float16))
    return root


@pytest.fixture(scope='module')
def trained(town, maps, tmp_path_factory) -> tuple[Path, dict[str, torch.Tensor]]:
    work = tmp_path_factory.mktemp('work') / 'whole'
    kept = {'default_hooks.checkpoint.interval': QUICK_STEPS // 2, 'default_hooks.checkpoint.max_keep_ckpts': 2}
    return work, train(town, maps, work, **kept)


def test_nothing_else_changes_and_a_cut_training_learns_the_same(town, maps, trained, tmp_path):
    work, whole = trained
    own = {name for name in whole if '.features.' in name}
    assert 'field.features.values' in own and whole['field.features.values'].shape[1] == 64
    plain = train(town, None, tmp_path / 'plain')
    assert set(plain) == set(whole) - own
    for name, value in plain.items():
        assert torch.equal(whole[name], value), name
    rest = train(town, maps, tmp_path / 'rest', '--resume', work / f'iter_{QUICK_STEPS // 2}.pth')
    for name in own:
        torch.testing.assert_close(rest[name], whole[name], rtol=1e-3, atol=1e-3, msg=name)


def test_all_views_are_exported_and_students_read_them(town, maps, trained, tmp_path):
    out = tmp_path / 'out'
    chosen = options(town, maps, **{'scene_nerf.holdout_frames': [1]})
    work = tmp_path / 'work'
    assert run('train', ENTRY, '--work-dir', work, '--cfg-options', *chosen).code == 0
    result = run('render_scene_nerf', ENTRY, work / LAST, '--out', out, '--cfg-options', *chosen)
    assert result.code == 0, result.err
    assert '"cosine"' in (out / 'reports/minitown-0001/report.json').read_text()
    given = options(town, out / 'features')
    assert_refused(run('render_scene_nerf', ENTRY, work / LAST, '--out', out, '--cfg-options', *given), 'another --out')
    again = run('render_scene_nerf', ENTRY, work / LAST, '--out', out, '--cfg-options', *chosen)
    assert ' 0 files written' in again.out
    features = build_dataset(
        town,
        ann_file='minitown_infos_train.pkl',
        data_prefix={'teacher': str(out), 'features': str(out / 'features')},
        image_size=(14, 25),
        render_size=(14, 25),
        load_lidar=False,
        load_features=True,
        virtual_img_target_smart_sample=True,
        pipeline=[{'type': name} for name in ('LoadViews', 'LoadFeatures', 'PackViews')],
    )[0]['inputs']['target_views'].features
    assert features.shape == (12, 64, 14, 25) and features.isfinite().all() and features.std() > 0.01


def test_wrong_maps_are_refused_before_anything_is_trained(town, maps, tmp_path):
    def attempt(folder: object) -> object:
        return run('train', ENTRY, '--work-dir', tmp_path / 'work', '--cfg-options', *options(town, folder))

    assert_refused(attempt(tmp_path / 'nowhere'), 'nowhere', 'no such file', 'docs/DATA.md', 'scene_nerf.features=None')
    assert_refused(attempt(7), 'scene_nerf.features is 7', 'give a folder of feature maps')
    assert not list(tmp_path.rglob('*.pth'))
