"""Frozen-depth features from files are those of the loop, bit by bit; stale ones are never used."""

from __future__ import annotations

import random
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image
from safetensors.torch import load_file, save_file

from projects.DistillNeRF.configuration.config import building, load_config
from projects.DistillNeRF.engine import depth_features
from projects.DistillNeRF.engine.builders import build_dataset
from projects.DistillNeRF.engine.depth_features import write_depth_features
from projects.DistillNeRF.models.frozen_depth import FrozenDepth
from projects.DistillNeRF.models.network import DistillNeRF
from projects.DistillNeRF.modules import depth_anything
from projects.DistillNeRF.pipelines.augmentation import FlipViews
from tests.helpers.commands import Project, run, write_config, write_data
from tests.helpers.refusals import assert_refused
from tests.helpers.tiny_depth_models import CHANNELS, SHORTER_SIDE, save_tiny_depth_model


@pytest.fixture(scope='module', autouse=True)
def small_inputs() -> Iterator[None]:
    """The network sees images of a few patches, wherever it runs: it is the same function, and quicker."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(depth_anything, 'SHORTER_SIDE', SHORTER_SIDE)
        yield


@pytest.fixture(scope='module')
def original(small_inputs: None, tmp_path_factory) -> Path:
    """Data, weights and their features; tests must not change them."""
    root = tmp_path_factory.mktemp('depth_features')
    write_data(root / 'data')
    save_tiny_depth_model(root / 'weights')
    assert write_depth_features(config_of(root), 'cpu')[0].endswith(
        ': wrote 6 of 6 files for ' + str(root / 'data/infos.pkl')
    )
    return root


@pytest.fixture
def root(original: Path, tmp_path: Path) -> Path:
    """A copy, with the times of the files."""
    return Path(shutil.copytree(original, tmp_path / 'copy'))


def project_of(root: Path) -> Project:
    project = write_config(root / 'config.py', root / 'data')
    with project.config.open('a') as file:
        file.write(f"""
model['network'].update(depth_weights={str(root / 'weights')!r})
model['network']['coarse'].update(depth_channels={CHANNELS})
""")
    return project


def config_of(root: Path, **options: object) -> Config:
    given = {'depth_cache': 'features', **{key.replace('__', '.'): value for key, value in options.items()}}
    return load_config(project_of(root).config, given)


def sample(root: Path, index: int = 1, **options: object) -> dict:
    return build_dataset(config_of(root, **options), 'train')[index]['inputs']


def cached_files(root: Path) -> list[Path]:
    return sorted((root / 'data/features').rglob('*.cache'))


def test_a_past_has_features_from_files_too(original: Path, root: Path):
    """Those of a past that is a sample are there already; of another one they are made."""
    past = {'model__network__num_past': 1}
    assert ': wrote 0 of 6 files' in write_depth_features(config_of(root, **past), 'cpu')[0]
    shutil.rmtree(root / 'data/features')
    last = {f'{split}_dataloader__dataset__indices': [2] for split in ('train', 'val', 'test')}
    assert ': wrote 4 of 4 files' in write_depth_features(config_of(root, **past, **last), 'cpu')[0]
    views, whole = sample(root, 0, **past, **last)['input_views'], sample(original, 1)['input_views']
    assert views.past.frames == (-1, -1) and torch.equal(views.past.depth_features, whole.depth_features)
    mirrored = FlipViews(1.0).transform({'inputs': {'input_views': views}, 'data_samples': {}})['inputs']
    assert mirrored['input_views'].past.depth_features is mirrored['input_views'].depth_features is None


def test_features_of_a_sample_are_those_of_the_loop_bit_by_bit(original: Path):
    found = sample(original)
    views = found['input_views']
    expected = FrozenDepth(original / 'weights')(views.images)
    assert views.depth_features.shape == (2, CHANNELS, 16, 32) and views.depth_features.dtype == torch.float32
    assert torch.equal(views.depth_features, expected)
    assert found['target_views'].depth_features is None
    plain = build_dataset(load_config(project_of(original).config), 'train')[1]['inputs']['input_views']
    assert plain.depth_features is None and torch.equal(plain.images, views.images)
    assert len(cached_files(original)) == 6


def test_the_network_makes_the_same_scene_of_them(original: Path):
    torch.manual_seed(0)
    plain, config = load_config(project_of(original).config), config_of(original)
    with building(config):
        network = DistillNeRF(**config.model.network)
    scenes = [network(build_dataset(one, 'train')[1]['inputs']['input_views']) for one in (plain, config)]
    for name in ('coarse', 'fine'):
        assert torch.equal(getattr(scenes[0], name), getattr(scenes[1], name))


def test_a_training_reads_them_and_computes_none(root: Path, monkeypatch):
    monkeypatch.setattr(FrozenDepth, '__call__', lambda self, images: pytest.fail('it was computed'))
    unsaved = ('default_hooks.checkpoint.save_best=None', 'default_hooks.checkpoint.save_last=False')
    options = ('depth_cache=features', 'train_cfg.max_iters=1', 'train_cfg.val_interval=9', *unsaved)
    result = run('train', project_of(root).config, '--work-dir', root / 'work', '--cfg-options', *options)
    assert result.code == 0, result.err
    # The configuration that a run leaves behind has the transform and the option. A variable of its base is in the way.
    left = root / 'work/config.py'
    left.write_text(re.sub(r'^max_iters = .*\n', '', left.read_text(), flags=re.MULTILINE))
    kinds = [one.type for one in load_config(left).train_dataloader.dataset.pipeline]
    assert kinds.count('LoadDepthFeatures') == 1 and kinds[-2:] == ['LoadDepthFeatures', 'PackViews']
    words = ('LoadDepthFeatures of train_dataloader.dataset', 'depth_cache says')
    assert_refused(lambda: load_config(left, {'depth_cache': 'others'}), *words)
    other = {'model.network.depth_weights': 'other.pth'}
    assert_refused(lambda: load_config(left, other), 'has weights=', 'model.network.depth_weights says other.pth')


def test_writing_goes_on_where_it_stopped(root: Path, monkeypatch):
    config = config_of(root)
    before = {path: path.read_bytes().partition(b'\n')[2] for path in cached_files(root)}
    lost, *_, damaged = before
    lost.unlink()
    damaged.write_bytes(damaged.read_bytes()[:-3])
    computed = []
    original_call = FrozenDepth.__call__
    monkeypatch.setattr(FrozenDepth, '__call__', lambda self, x: computed.append(len(x)) or original_call(self, x))
    # The copies have other times; their contents count.
    assert 'wrote 2 of 6 files' in write_depth_features(config, 'cpu')[0]
    assert computed == [1, 1]
    assert {path: path.read_bytes().partition(b'\n')[2] for path in cached_files(root)} == before
    assert 'wrote 0 of 6 files' in write_depth_features(config, 'cpu')[0]


def test_a_changed_image_is_noticed(root: Path):
    image = next(path for path in sorted((root / 'data').rglob('*.png')) if 'FRONT' in str(path))
    pixels = np.array(Image.open(image))
    pixels[3, 5] ^= 1
    Image.fromarray(pixels).save(image)
    words = ('is stale: its source', 'has changed since', 'depth_anything CONFIG')
    line = None
    for index in range(3):
        try:
            sample(root, index)
        except Exception as error:
            line = str(error)
            break
    assert line is not None and all(word in line for word in words) and image.name in line
    assert 'wrote 1 of 6 files' in write_depth_features(config_of(root), 'cpu')[0]
    views = sample(root, index)['input_views']
    assert torch.equal(views.depth_features, FrozenDepth(root / 'weights')(views.images))


def test_other_weights_and_sizes_are_refused(root: Path):
    smaller = {f'{split}_dataloader__dataset__image_size': (14, 28) for split in ('train', 'val', 'test')}
    smaller |= {f'{split}_dataloader__dataset__render_size': (7, 14) for split in ('train', 'val', 'test')}
    assert_refused(lambda: sample(root, **smaller), 'depth_features_14x28', 'is not in the cache')
    path = root / 'weights/model.safetensors'
    state = load_file(path)
    state['neck.convs.0.weight'] = state['neck.convs.0.weight'] + 1e-3
    save_file(state, path)
    assert_refused(lambda: sample(root), 'is stale: it was made with weights', 'depth_anything CONFIG')
    assert 'wrote 6 of 6 files' in write_depth_features(config_of(root), 'cpu')[0]
    views = sample(root)['input_views']
    assert torch.equal(views.depth_features, FrozenDepth(root / 'weights')(views.images))
    path.unlink()
    assert_refused(lambda: sample(root), 'model.safetensors: no such file')


def test_a_mirrored_sample_has_none_as_mirrored_features_are_those_of_no_image(original: Path):
    inputs = sample(original)
    random.seed(0)
    frozen = FrozenDepth(original / 'weights')
    mirrored = FlipViews(1.0).transform({'inputs': inputs, 'data_samples': {}})['inputs']['input_views']
    assert mirrored.depth_features is None
    difference = frozen(mirrored.images) - inputs['input_views'].depth_features.flip(-1)
    assert difference.abs().max() > 1e-3
    assert FlipViews(0.0).transform({'inputs': inputs, 'data_samples': {}})['inputs'] is inputs


def test_the_option_is_refused_where_it_does_nothing(original: Path):
    assert_refused(lambda: config_of(original, model__network__depth_weights=None), 'depth_cache=features does nothing')
    off = {'model__network__coarse__depth_channels': None}
    assert_refused(lambda: config_of(original, **off), 'depth_cache=features does nothing')
    assert_refused(lambda: config_of(original, depth_cache=3), 'depth_cache is 3')
    assert_refused(
        lambda: write_depth_features(load_config(project_of(original).config), 'cpu'), 'says nowhere', 'depth_cache=DIR'
    )
    assert_refused(lambda: write_depth_features(config_of(original), 'tpu9'), "device 'tpu9': cannot be used")


def test_the_command_makes_what_is_missing_and_says_what_it_lacks(root: Path):
    lost = next((root / 'data/features').rglob('*.npy'), None) or next(
        path for path in (root / 'data/features').rglob('*') if path.is_file()
    )
    lost.unlink()
    words = ('extract_features', 'depth_anything', project_of(root).config)
    result = run(*words, '--cfg-options', 'depth_cache=features')
    assert result.code == 0, result.err
    assert 'wrote 1 of 6 files' in result.out and lost.is_file()
    assert_refused(run(*words), 'says nowhere where frozen-depth features are kept', 'depth_cache=DIR')


def test_too_small_a_disk_is_noticed_before(root: Path, monkeypatch):
    shutil.rmtree(root / 'data/features')
    usage = shutil.disk_usage(root)._replace(free=1000)
    monkeypatch.setattr(depth_features.shutil, 'disk_usage', lambda path: usage)
    assert_refused(lambda: write_depth_features(config_of(root), 'cpu'), 'features of 6 images need', 'make room')
    assert not cached_files(root)
