"""Switches of a config and the places that they change."""

from __future__ import annotations

import pytest
import torch
from mmengine.config import Config

from projects.DistillNeRF.configuration.config import load_config
from projects.DistillNeRF.configuration.options import load_boxes_for_detection
from projects.DistillNeRF.configuration.switches import apply_switches, use_mixed_precision
from projects.DistillNeRF.utils.errors import InputError


def config(tmp_path=None, model: dict | None = None, **more) -> Config:
    loaders = {f'{split}_dataloader': {'dataset': {'cameras': ['A']}} for split in ('train', 'val', 'test')}
    backends = {'visualizer': {'vis_backends': [{'type': 'LocalVisBackend'}]}}
    rest = {'optim_wrapper': {'type': 'OptimWrapper'}, 'custom_hooks': [], 'work_dir': str(tmp_path)}
    return Config({'model': model or {}, **loaders, **backends, **rest, **more})


def test_a_number_of_cameras_reaches_all_datasets(project):
    made = load_config(project.config, {'model.num_camera': 1})
    assert [made[f'{split}_dataloader'].dataset.num_camera for split in ('train', 'val', 'test')] == [1, 1, 1]
    assert load_config(project.config).train_dataloader.dataset.get('num_camera') is None


def test_a_detection_head_loads_boxes_for_training_alone():
    made = config(model={'det_head_3d': {}})
    load_boxes_for_detection(made)
    assert made.train_dataloader.dataset.load_boxes is True
    assert 'load_boxes' not in made.val_dataloader.dataset
    none = config(model={'det_head_3d': None})
    load_boxes_for_detection(none)
    assert 'load_boxes' not in none.train_dataloader.dataset


@pytest.mark.parametrize(('cuda', 'kind'), [(True, 'AmpOptimWrapper'), (False, 'BFloat16OptimWrapper')])
def test_mixed_precision_is_that_of_the_device(monkeypatch, cuda, kind):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: cuda)
    made = config()
    use_mixed_precision(made)
    assert made.optim_wrapper.type == kind
    assert made.optim_wrapper.get('loss_scale') == ('dynamic' if cuda else None)


def test_switches_that_are_off_change_nothing(tmp_path):
    made = config(tmp_path, ema=False, val_before_train=False, wandb=None)
    apply_switches(made)
    assert made.custom_hooks == [] and len(made.visualizer.vis_backends) == 1


@pytest.mark.parametrize(('given', 'momentum'), [(True, 2e-4), (0.01, 0.01)])
def test_ema_adds_a_hook_with_its_momentum(tmp_path, given, momentum):
    made = config(tmp_path, ema=given)
    apply_switches(made)
    assert made.custom_hooks == [{'type': 'EMAHook', 'momentum': momentum}]


def test_val_before_train_adds_a_hook(tmp_path):
    made = config(tmp_path, val_before_train=True, val_cfg={})
    apply_switches(made)
    assert made.custom_hooks == [{'type': 'ValidateFirstHook'}]


def test_wandb_adds_a_backend(tmp_path, monkeypatch):
    monkeypatch.delenv('WANDB_API_KEY', raising=False)
    made = config(tmp_path, wandb='offline')
    apply_switches(made)
    backend = made.visualizer.vis_backends[-1]
    assert backend['type'] == 'WandbVisBackend'
    assert (backend['init_kwargs']['mode'], backend['init_kwargs']['dir']) == ('offline', str(tmp_path))
    with pytest.raises(InputError, match="wandb is 'cloud'"):
        apply_switches(config(tmp_path, wandb='cloud'))


def test_the_hook_that_draws_is_there_once_if_the_model_asks_for_pictures(tmp_path):
    made = config(tmp_path, model={'visualize_imgs': True}, custom_hooks=[{'type': 'FirstPicturesHook', 'samples': 1}])
    apply_switches(made)
    assert made.default_hooks.first_pictures == {'type': 'FirstPicturesHook'} and made.custom_hooks == []
    apply_switches(made)
    assert list(made.default_hooks) == ['first_pictures'], 'the configuration that a run leaves behind holds the hook'
    none = config(tmp_path)
    apply_switches(none)
    assert 'default_hooks' not in none


def test_the_folder_of_pictures_is_made_before_training(tmp_path):
    apply_switches(config(tmp_path, model={'visualize_imgs': True}))
    elsewhere = tmp_path / 'elsewhere'
    apply_switches(config(tmp_path, model={'visualize_voxels': True, 'vis_save_directory': str(elsewhere)}))
    assert sorted(tmp_path.iterdir()) == [elsewhere, tmp_path / 'visualization']
    (tmp_path / 'file').touch()
    with pytest.raises(InputError, match='file'):
        apply_switches(config(tmp_path / 'file', model={'visualize_imgs': True}))
