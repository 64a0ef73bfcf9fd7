"""What training and evaluation do around mmengine's runner."""

from __future__ import annotations

import math

import pytest
import torch
from mmengine.config import Config

from projects.DistillNeRF.configuration.config import load_config
from projects.DistillNeRF.engine import evaluate as evaluate_module
from projects.DistillNeRF.engine.builders import build_dataset, network_of, prepare, runner_with_weights
from projects.DistillNeRF.engine.evaluate import EVALUATIONS, evaluate, predictions
from projects.DistillNeRF.geometry.views import Views
from projects.DistillNeRF.models.checkpoint import read_checkpoint
from projects.DistillNeRF.utils.errors import InputError
from tests.helpers.cameras import unit_cameras
from tests.helpers.views import make_views


def test_a_run_has_a_config_of_its_own(project, tmp_path):
    config = load_config(project.config)
    prepared = prepare(config, tmp_path / 'work', seed=7)
    assert prepared.work_dir == str(tmp_path / 'work')
    assert prepared.randomness == {'seed': 7}
    assert 'randomness' not in config
    assert (tmp_path / 'work').is_dir()


def test_weights_come_from_the_checkpoint_and_from_nowhere_else(project, trained, tmp_path):
    config = load_config(project.config, {'load_from': 'gone.pth', 'resume': True})
    path = str(trained / 'iter_3.pth')
    network = network_of(runner_with_weights(prepare(config, tmp_path), path))
    saved = read_checkpoint(path)['state_dict']
    assert all(torch.equal(value, saved[f'network.{name}']) for name, value in network.state_dict().items())
    assert evaluate(config, None, tmp_path, ['psnr']).figures['psnr'] > 0


def test_predictions_come_one_by_one_in_evaluation_mode(project, tmp_path):
    samples = predictions(load_config(project.config, {'test_dataloader.batch_size': 2}), None, tmp_path)
    results = [next(samples)]
    assert torch.is_grad_enabled(), 'the gradients of the caller are off'
    results += samples
    assert [sample.token for sample in results] == ['box0', 'box1', 'box2']
    assert not any(sample.rgb.requires_grad for sample in results)


def test_evaluations_ask_for_different_figures():
    assert EVALUATIONS['psnr']['reconstruction'] != EVALUATIONS['novel_view']['reconstruction']
    assert EVALUATIONS['psnr']['novel_view'] != EVALUATIONS['novel_view']['novel_view']


def test_a_checkpoint_of_another_model_is_refused_before_anything_runs(project, trained, tmp_path):
    config = load_config(project.config, {'model.network.fine.hidden': 8})
    with pytest.raises(InputError, match=r'iter_3\.pth: the weights do not fit the config: fine_net\.'):
        next(predictions(config, str(trained / 'iter_3.pth'), tmp_path))


def even(shade: float, name: str = 'A') -> dict[str, dict[str, Views]]:
    """A packed sample of one even image; its target is the same."""
    views = make_views(unit_cameras(1, 12, 12), shade, (name,))
    return {'inputs': {'input_views': views, 'target_views': views}}


def test_baselines_are_means_of_the_training_data_on_the_test_data(monkeypatch):
    """Training images of 0.2 and 0.4, test images of 0.5 and 0.9: their own mean would be nearer."""
    data = {'train': [even(0.2), even(0.4)], 'test': [even(0.5), even(0.9)]}
    asked = []

    def build(config: object, split: str) -> list:
        asked.append(split)
        return data[split]

    monkeypatch.setattr(evaluate_module, 'build_dataset', build)
    config = Config({f'{split}_dataloader': {'num_workers': 0} for split in data})
    figures = evaluate_module.baselines(config)
    expected = (-20 * math.log10(0.2) - 20 * math.log10(0.6)) / 2
    found = {name: value for name, value in figures.items() if name.endswith('psnr')}
    wanted = {'mean_color/psnr': expected, 'camera_mean/psnr': expected, 'oracle/psnr': math.inf}
    assert found == pytest.approx(wanted, abs=1e-3)
    assert set(asked) == {'train', 'test'}


def test_every_sample_of_a_data_set_is_loaded_once():
    loaded = list(evaluate_module._samples([even(shade) for shade in (0.1, 0.2, 0.3)], workers=0))
    shades = [sample['inputs']['input_views'].images[0, 0, 0, 0].item() for sample in loaded]
    assert shades == pytest.approx([0.1, 0.2, 0.3])


def test_a_dataset_is_built_for_each_split(project):
    config = load_config(
        project.config, {'val_dataloader.dataset.indices': 1, 'test_dataloader.dataset.indices': [2, 0]}
    )
    assert [len(build_dataset(config, split)) for split in ('train', 'val', 'test')] == [3, 1, 2]
    assert [build_dataset(config, split).test_mode for split in ('train', 'val', 'test')] == [False, True, True]
