"""Words of a text tower through the commands, and features as a foundation model makes them."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from projects.DistillNeRF.configuration.config import load_config
from projects.DistillNeRF.engine.builders import build_dataset
from projects.DistillNeRF.evaluation.occupancy.labels import read_prediction
from projects.DistillNeRF.semantics.occ3d import FREE
from projects.DistillNeRF.semantics.phrases import MINITOWN_PHRASES
from projects.MiniTown import scene
from tests.helpers import text_models
from tests.helpers.boxtown import BoxTown
from tests.helpers.commands import ENTRY, TINY, run
from tests.helpers.files import picture
from tests.helpers.refusals import assert_refused
from tests.helpers.text_models import random_reduction, save_model

pytest.importorskip('transformers')

CONFIG = """_base_ = [{entry!r}]
_sizes = dict(
    data_root={root!r},
    data_prefix=dict(teacher='../town_emernerf'),
    image_size=(28, 50),
    render_size=(14, 25),
    cameras=('CAM_FRONT_LEFT', 'CAM_FRONT'),
)
"""
CONFIG += TINY
CONFIG += """train_cfg = dict(max_iters=3, val_interval=3)
param_scheduler = []
default_hooks = dict(logger=dict(interval=1))
"""
WORDS = """_base_ = [{base!r}]
_pipeline = [
    dict(type='LoadViews'),
    dict(type='LoadLidarDepth'),
    dict(type='LoadTruth', with_classes=True),
    dict(type='PackViews'),
]
test_dataloader = dict(dataset=dict(load_teacher=False, pipeline=_pipeline))
model = dict(
    text_encoder=dict(_delete_=True, model={model!r}, reduction={reduction!r}, templates=['a photo of a {{}}.']),
)
test_evaluator = [dict(type='DepthMetric')]
"""


@pytest.fixture(scope='module')
def noisy(town, tmp_path_factory) -> Path:
    """A config of noisy features on a town of boxes."""
    path = tmp_path_factory.mktemp('config') / 'noisy.py'
    entry = ENTRY.with_name('model_wrapper_minitown_noisy_features.py')
    path.write_text(CONFIG.format(entry=str(entry), root=str(town), head=''))
    return path


@pytest.fixture(scope='module')
def checkpoint(noisy, tmp_path_factory) -> Path:
    """What a training of three steps leaves behind."""
    folder = tmp_path_factory.mktemp('work')
    result = run('train', noisy, '--work-dir', folder)
    assert result.code == 0, result.err
    (scalars,) = folder.glob('*/vis_data/scalars.json')
    losses = [json.loads(line) for line in scalars.read_text().splitlines()]
    losses = [entry['loss_features'] for entry in losses if 'loss_features' in entry]
    assert len(losses) == 3 and all(0 < loss < 40 for loss in losses)
    return folder / 'iter_3.pth'


@pytest.fixture(scope='module')
def words(noisy, tmp_path_factory) -> Path:
    """A config of the words of a tiny CLIP whose features have 80 channels, reduced to the 64 that are rendered."""
    folder = tmp_path_factory.mktemp('words')
    save_model(folder / 'clip', channels=80)
    random_reduction(64, 80).save(folder / 'pca.npz')
    path = folder / 'words.py'
    path.write_text(WORDS.format(base=str(noisy), model=str(folder / 'clip'), reduction=str(folder / 'pca.npz')))
    return path


def test_noisy_features_of_patches_are_what_the_network_learns_from(noisy):
    views = build_dataset(load_config(noisy), 'train')[0]['inputs']['target_views']
    assert views.features.shape[1:] == (64, 4, 7) and views.true_classes.shape[1:] == (14, 25)
    again = build_dataset(load_config(noisy), 'train')[0]['inputs']['target_views']
    assert torch.equal(views.features, again.features)


def test_queries_on_noisy_features_have_figures_of_inputs_and_of_novel_views(noisy, checkpoint, tmp_path, monkeypatch):
    out, truth = tmp_path / 'r.json', tmp_path / 't.json'
    result = run('test', noisy, checkpoint, '--work-dir', tmp_path, '--eval', 'feature', 'query', '--out', out)
    assert result.code == 0, result.err
    found = json.loads(out.read_text())['model']
    assert {'feature/psnr', 'query/miou', 'query/next/miou', 'query/iou/road', 'query/iou/sky'} <= set(found)
    assert all(math.isfinite(value) for value in found.values()) and 0 <= found['query/miou'] <= 1
    monkeypatch.setattr(scene, 'Town', BoxTown)
    options = ('--truth', '--samples', 1, '--trajectory', tmp_path / 'poses.json', '--out', truth)
    (tmp_path / 'poses.json').write_text('[{"x": 0.5}]')
    result = run('novel_view_synthesis', noisy, checkpoint, *options)
    assert result.code == 0, result.err
    mean = json.loads(truth.read_text())['mean']
    assert 0 <= mean['query/miou'] <= 1 and {'query/iou/road', 'feature/psnr'} <= set(mean)


def test_words_of_clip_are_measured_against_true_classes(words, checkpoint, tmp_path, monkeypatch):
    out = tmp_path / 'r.json'
    result = run('test', words, checkpoint, '--work-dir', tmp_path, '--eval', 'query', '--out', out)
    assert result.code == 0, result.err
    found = json.loads(out.read_text())['model']
    assert {'query/miou', 'query/next/miou', 'query/iou/road'} <= set(found)
    monkeypatch.setattr(scene, 'Town', BoxTown)
    (tmp_path / 'poses.json').write_text('[{"x": 0.5}]')
    options = ('--truth', '--samples', 1, '--trajectory', tmp_path / 'poses.json')
    result = run('novel_view_synthesis', words, checkpoint, *options)
    assert result.code == 0, result.err
    # Nobody knows the features of CLIP at true views.
    assert 'query/miou' in result.out and 'feature/psnr' not in result.out


def test_words_of_clip_are_drawn_as_heat(words, checkpoint, tmp_path):
    options = (f'model.vis_save_directory={tmp_path}', 'model.language_query=a red car,traffic light|pole')
    result = run('visualization', words, checkpoint, '--samples', 1, '--cfg-options', *options)
    assert result.code == 0, result.err
    tiles = {path.name for path in (tmp_path / 'images_000').iterdir()}
    rows = ('input', 'query_a_red_car', 'query_traffic_light_pole')
    assert tiles == {f'{camera}_{row}.png' for camera in ('CAM_FRONT', 'CAM_FRONT_LEFT') for row in rows}
    picture(tmp_path / 'panel_000.png')


def test_words_of_clip_tell_the_classes_of_voxels(words, checkpoint, tmp_path):
    phrases = tmp_path / 'phrases.json'
    phrases.write_text('{"car": ["a red car", "van"], "manmade": ["building"], "others": ["things"]}')
    options = ('--semantics', 'text', '--phrases', phrases, '--out', tmp_path / 'out', '--min-density', '0.01')
    result = run('predict_occupancy', words, checkpoint, *options)
    assert result.code == 0, result.err
    assert 'clip, best of the phrases of a class' in result.out + result.err
    grids = [read_prediction(path) for path in (tmp_path / 'out').rglob('*.npz')]
    assert grids and {0, 4, 15, FREE} >= set(np.unique(np.stack(grids))) > {FREE}


@pytest.mark.parametrize(
    ('options', 'says'),
    [
        (('model.language_query=машина',), ("'машина'", 'no part of it')),
        (('model.language_query=',), ('has an empty query',)),
        (('model.language_query=car,,road',), ('has an empty query',)),
        (('model.language_query=car|',), ('is empty',)),
        ((f'model.language_query={"car " * 70}',), ('77 tokens', 'reads 64')),
        (('model.language_query=car', 'model.text_encoder.reduction=none.npz'), ('none.npz: no such file',)),
        (('model.language_query=car', 'model.text_encoder.reduction=None'), ('80 numbers', '64 channels')),
        (('model.language_query=car', 'model.text_encoder.model=none'), ('none: no such folder',)),
        (('model.language_query=car', 'model.text_encoder.modle=x'), ("'modle' of model.text_encoder", 'mean model?')),
    ],
)
def test_words_that_cannot_be_answered_give_one_line(words, checkpoint, tmp_path, options, says):
    options = (f'model.vis_save_directory={tmp_path / "out"}', *options)
    result = run('visualization', words, checkpoint, '--samples', 1, '--cfg-options', *options)
    assert_refused(result, *says)
    assert not list(tmp_path.rglob('*.png'))


def test_without_true_classes_words_of_clip_are_not_measured(words, checkpoint, tmp_path):
    pipeline = 'test_dataloader.dataset.pipeline.2.with_classes=False'
    arguments = (words, checkpoint, '--work-dir', tmp_path, '--cfg-options', pipeline)
    assert_refused(run('test', *arguments, '--eval', 'query'), 'has no true classes', 'with_classes=True')
    result = run('test', *arguments)
    assert result.code == 0 and 'query' not in result.out, result.err


def test_the_words_of_the_phrases_are_read_by_the_tiny_model():
    """Else the tests above would compare unknown words."""
    assert {word for phrases in MINITOWN_PHRASES.values() for phrase in phrases for word in phrase.split()} <= set(
        text_models.WORDS
    )
