"""What weights a config needs, as tools/get_weights.py says it."""

from __future__ import annotations

from pathlib import Path

import pytest

from projects.DistillNeRF.configuration.config import load_config
from projects.DistillNeRF.engine.needed_weights import needed_weights
from tests.helpers.commands import ROOT, run
from tests.helpers.refusals import assert_refused

FOLDER = ROOT / 'projects/DistillNeRF/configs/model_wrapper'


def needs(name: str, **options: object) -> dict[str, bool]:
    """Names of the weights that a config needs, and whether it cannot be trained without."""
    config = load_config(FOLDER / f'{name}.py', {key.replace('__', '.'): value for key, value in options.items()})
    return {need.entry.name if need.entry else need.path: need.required for need in needed_weights(config)}


def test_published_networks_need_frozen_depth_and_lpips():
    assert needs('model_wrapper') == {'depth-anything-v1': True, 'lpips-vgg': True}
    assert needs('model_wrapper_400_224_clip') == {'depth-anything-v1': True, 'clip-vitl14-336': False}
    assert needs('model_wrapper_linearspace_dino') == {'depth-anything-v1': True, 'dinov2-vitb14': False}


def test_small_networks_need_none():
    assert needs('model_wrapper_minitown') == {'lpips-vgg': False}
    assert needs('model_wrapper_minitown_features') == {}


def test_what_is_switched_off_or_of_ones_own():
    off = {'model__network__depth_weights': None, 'model__network__coarse__depth_channels': None}
    assert needs('model_wrapper', **off, model__losses__lpips=None) == {'lpips-vgg': False}
    own = {'model__network__depth_weights': 'my/weights.pth', 'model__losses__lpips__loss_weight': 0}
    assert needs('model_wrapper', **own) == {'my/weights.pth': True, 'lpips-vgg': False}
    folder = {'model__network__depth_weights': 'aux_models/depth-anything-v2-base-hf'}
    assert needs('model_wrapper', **folder)['depth-anything-v2-base'] is True


def test_the_command_says_what_a_config_needs(tmp_path: Path):
    config = FOLDER / 'model_wrapper_linearspace_clip.py'
    result = run('get_weights', '--for', config, '--list', '--out', tmp_path)
    assert result.code == 0, result.err
    first, second = result.out.splitlines()
    asked = 'needs aux_models/depth_anything_vitb14.pth (model.network.depth_weights): depth-anything-v1, missing'
    assert first == f'{config}: {asked}'
    assert 'may use aux_models/clip/clip-vit-large-patch14-336' in second and 'extract_features.py' in second
    mine = tmp_path / 'weights.pth'
    mine.touch()
    option = f'model.network.depth_weights={mine}'
    result = run('get_weights', '--for', config, '--list', '--cfg-options', option)
    assert f'needs {mine} (model.network.depth_weights): your own, there' in result.out
    minitown = FOLDER / 'model_wrapper_minitown_features.py'
    assert run('get_weights', '--for', minitown).out == f'{minitown}: needs no weights of other networks\n'


@pytest.mark.parametrize('name', ['scene_nerf_minitown', 'model_wrapper_pandaset_teacher'])
def test_any_config_can_be_asked(name: str):
    result = run('get_weights', '--for', FOLDER / f'{name}.py', '--list')
    assert result.code == 0 and result.out.count('\n') == 1


def test_options_without_their_config_are_refused(tmp_path: Path):
    assert_refused(run('get_weights', '--list', '--cfg-options', 'a=1'), '--cfg-options changes the config of --for')
    assert_refused(run('get_weights', '--for', tmp_path / 'no.py', '--list'), 'no.py: no such file')
