"""What training and evaluation do around mmengine's runner."""

from __future__ import annotations

import pytest
import torch

from projects.DistillNeRF.engine.config import load_config
from projects.DistillNeRF.engine.running import (
    EVALUATIONS,
    evaluate,
    network_of,
    predictions,
    prepare,
    runner_with_weights,
)
from projects.DistillNeRF.errors import InputError
from projects.DistillNeRF.models.checkpoint import read_checkpoint


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
    assert evaluate(config, None, tmp_path, ['psnr'])['psnr'] > 0


def test_predictions_come_one_by_one_in_evaluation_mode(project, tmp_path):
    samples = predictions(load_config(project.config, {'test_dataloader.batch_size': 2}), None, tmp_path)
    results = list(samples)
    assert [sample.token for sample in results] == ['box0', 'box1', 'box2']
    assert not any(sample.rgb.requires_grad for sample in results)


def test_evaluations_ask_for_different_figures():
    assert EVALUATIONS['psnr']['reconstruction'] != EVALUATIONS['novel_view']['reconstruction']
    assert EVALUATIONS['psnr']['novel_view'] != EVALUATIONS['novel_view']['novel_view']


def test_a_checkpoint_of_another_model_is_refused_before_anything_runs(project, trained, tmp_path):
    config = load_config(project.config, {'model.network.fine.hidden': 8})
    with pytest.raises(InputError, match=r'iter_3\.pth: the weights do not fit the config: fine_net\.'):
        next(predictions(config, str(trained / 'iter_3.pth'), tmp_path))
