"""A loss of a user: a class in a file of his own, under a name of his own, without a change of this project."""

from __future__ import annotations

import json
import pickle
import sys
from collections.abc import Iterator

import pytest
from mmdet3d.registry import MODELS

from projects.DistillNeRF.datasets.infos import load_infos
from tests.helpers.commands import Project, Result, run, write_config, write_data
from tests.helpers.refusals import assert_refused

MODULE = 'losses_of_a_user'
SOURCE = """
from mmdet3d.registry import MODELS
from torch import nn


@MODELS.register_module()
class MeanDistance(nn.Module):
    compares = 'image'

    def forward(self, estimate, target):
        return (estimate - target).abs().mean()


@MODELS.register_module()
class Known(nn.Module):
    compares = 'lidar_depth'

    def __init__(self, share=1.0):
        super().__init__()
        self.share = share

    def forward(self, estimate, target):
        return self.share * target.isfinite().float().mean() + 0 * estimate.sum()


@MODELS.register_module()
class Silent(nn.Module):
    def forward(self, estimate, target):
        return (estimate - target).square().mean()
"""
CLASSES = ('MeanDistance', 'Known', 'Silent')


@pytest.fixture
def user(tmp_path, monkeypatch) -> Iterator[Project]:
    """Make a tiny project whose config imports the losses of a user."""
    (tmp_path / f'{MODULE}.py').write_text(SOURCE)
    made = write_config(tmp_path / 'config.py', write_data(tmp_path / 'data'))
    with made.config.open('a') as file:
        file.write(f"custom_imports = dict(imports=['projects.DistillNeRF.register', '{MODULE}'])\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield made
    sys.modules.pop(MODULE, None)
    for name in CLASSES:
        MODELS.module_dict.pop(name, None)


def train(project: Project, losses: str) -> Result:
    with project.config.open('a') as file:
        file.write(f"model['losses'] = dict({losses})\n")
    options = ('train_cfg.max_iters=1', 'val_evaluator=None', 'val_cfg=None', 'val_dataloader=None')
    return run('train', project.config, '--work-dir', project.root / 'work', '--cfg-options', *options)


def logged(project: Project, losses: str) -> dict[str, float]:
    """Train one iteration; return the losses in its log."""
    result = train(project, losses)
    assert result.code == 0, result.err
    (file,) = (project.root / 'work').glob('*/vis_data/scalars.json')
    (entry,) = (entry for entry in map(json.loads, file.read_text().splitlines()) if 'loss' in entry)
    return entry


def test_a_class_that_says_what_it_compares_trains_under_any_name(user):
    losses = "rgb=dict(loss_weight=1.0), sharpness=dict(type='MeanDistance'), returns=dict(type='Known', share=2.0)"
    figures = logged(user, losses)
    assert figures['loss_sharpness'] == pytest.approx(figures['loss_rgb']) and figures['loss_rgb'] > 0
    assert 0 < figures['loss_returns'] <= 2 and 0 < figures['loss_returns_coarse'] <= 2


def test_the_config_says_what_a_class_of_several_subjects_compares(user):
    loss = "type='DepthClampLoss', loss_weight=1.5"
    figures = logged(user, f"lidar_depth=dict(_delete_=True, {loss}), far=dict({loss}, compares='lidar_depth')")
    assert figures['loss_far'] == figures['loss_lidar_depth'] > 0
    assert figures['loss_far_coarse'] == figures['loss_lidar_depth_coarse'] > 0


@pytest.mark.parametrize(
    ('losses', 'words'),
    [
        ("color=dict(type='Silent')", ("'color' of model.losses", 'attribute compares', 'one of image, ')),
        ("rgbb=dict(type='RGBL1Loss')", ("'rgbb' of model.losses", 'did you mean rgb?')),
        ("mine=dict(type='Silent', compares='images')", ("unknown losses ['mine']", 'one of image, ')),
        ("mine=dict(type='Nobody')", ('Nobody is not in',)),
        ("rgb=dict(compares='image')", ("'compares' of model.losses.rgb",)),
        ("mine=dict(type='Known', shares=1)", ("'shares' of model.losses.mine", 'did you mean share?')),
        ("mine_coarse=dict(type='Known')", ("['mine_coarse'] end in _coarse or _fine",)),
        ("mine=dict(type='RGBL1Loss', compares='features')", ('the loss mine compares features', 'losses.mine=None')),
    ],
)
def test_what_cannot_be_a_loss_is_refused_with_a_hint(user, losses, words):
    assert_refused(train(user, losses), *words)


def test_a_loss_of_a_user_that_has_no_data_is_refused_before_training(user):
    metainfo, infos = load_infos(user.root / 'infos.pkl')
    for info in infos:
        info.update(lidar_points=None, lidar_sweeps=[])
    (user.root / 'infos.pkl').write_bytes(pickle.dumps({'metainfo': metainfo, 'data_list': infos}))
    assert_refused(
        train(user, "lidar_depth=None, returns=dict(type='Known')"),
        'the loss returns is asked for, but no sample has LiDAR',
        'model.losses.returns=None',
    )
