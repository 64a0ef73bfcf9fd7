"""Panels come out of a real training run, and training does not notice."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmdet3d.registry import HOOKS
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.model import BaseModel
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement
from PIL import Image
from torch import nn

from projects.DistillNeRF.geometry.views import Views
from projects.DistillNeRF.hooks.panel_hook import PanelHook, evaluating
from tests.helpers.cameras import unit_cameras
from tests.helpers.views import make_views

HEIGHT, WIDTH = 8, 12


def gray_views() -> Views:
    return make_views(unit_cameras(2, HEIGHT, WIDTH), 0.5, ('CAM_FRONT', 'CAM_BACK'))


class Shade(BaseModel):
    """Renders one learned shade everywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.shade = nn.Parameter(torch.zeros(1))
        self.frozen = nn.Dropout().eval()
        self.modes: list[bool] = []

    def forward(self, inputs: dict, data_samples: list, mode: str = 'tensor'):
        if mode == 'loss':
            return {'loss': (self.shade - torch.rand(1)).square().sum()}
        self.modes.append(self.training)
        torch.rand(1)
        rgb = self.shade.expand(2, 3, HEIGHT, WIDTH)
        sample = BaseDataElement(metainfo={'scene': 'scene-0001', 'frame': 3}, **inputs)
        sample.rgb, sample.depth = rgb, torch.ones(2, HEIGHT, WIDTH)
        return [sample]


class Count(BaseMetric):
    """The number of samples."""

    def process(self, data_batch, data_samples) -> None:
        self.results.extend(data_samples)

    def compute_metrics(self, results: list) -> dict[str, float]:
        return {'count': len(results)}


def run(work_dir: Path, hooks: list[PanelHook]) -> Runner:
    """Six iterations, then one validation of six samples."""
    packed = {'inputs': {'input_views': gray_views(), 'target_views': gray_views()}, 'data_samples': []}
    loader = torch.utils.data.DataLoader([packed] * 6, batch_size=1, collate_fn=lambda batch: batch[0])
    runner = Runner(
        Shade(),
        str(work_dir),
        train_dataloader=loader,
        val_dataloader=loader,
        train_cfg={'by_epoch': False, 'max_iters': 6, 'val_interval': 6},
        val_cfg={},
        val_evaluator=Evaluator(Count()),
        optim_wrapper={'optimizer': {'type': 'SGD', 'lr': 0.1}},
        custom_hooks=hooks,
        default_hooks={'checkpoint': None},
        randomness={'seed': 0},
        experiment_name=f'panel_hook_{len(hooks)}',
    )
    runner.train()
    return runner


@pytest.fixture(scope='module')
def runner(tmp_path_factory) -> Runner:
    return run(tmp_path_factory.mktemp('with'), [PanelHook(interval=2, samples=3)])


def test_panels_are_written_every_interval_and_in_validation(runner):
    names = sorted(path.name for path in (Path(runner.work_dir) / 'panels').iterdir())
    assert names == [f'train_{i:07d}.png' for i in (2, 4, 6)] + [f'val_0000006_{i:03d}.png' for i in range(3)]
    assert np.array(Image.open(Path(runner.work_dir) / 'panels' / names[0])).std() > 0


def test_the_visualizer_gets_the_panels(runner):
    images = {path.name for path in Path(runner.work_dir).rglob('vis_image/*.png')}
    assert {'panel_train_5.png', 'panel_val_000_6.png', 'panel_val_002_6.png'} <= images


def test_predictions_are_made_in_evaluation_mode(runner):
    assert runner.model.modes == [False] * 9


def test_training_is_the_same_without_the_hook(runner, tmp_path):
    assert runner.model.shade.item() == run(tmp_path, []).model.shade.item()


def test_modes_come_back_one_by_one():
    model = Shade()
    model.train()
    model.frozen.eval()
    with pytest.raises(RuntimeError, match='stop'), evaluating(model):
        assert not model.training
        raise RuntimeError('stop')
    assert model.training
    assert not model.frozen.training


def test_only_the_main_process_draws(monkeypatch):
    monkeypatch.setattr('mmengine.dist.utils.get_rank', lambda group=None: 1)
    # A drawing would fail: there is no runner.
    PanelHook()._draw_training(None, None)
    PanelHook()._draw_outputs(None, 'val_0', [None])


def test_the_hook_is_registered():
    assert HOOKS.module_dict['PanelHook'] is PanelHook


def test_every_validation_and_test_draws_from_the_first_sample_on(monkeypatch):
    """Three validations of three outputs in batches of two; two panels each."""
    drawn: list[tuple] = []
    monkeypatch.setattr(
        'projects.DistillNeRF.hooks.panel_hook._draw', lambda runner, *names: drawn.append((runner.iter, *names))
    )
    hook = PanelHook(samples=2)
    for iteration in (10, 20):
        runner = SimpleNamespace(iter=iteration)
        hook.before_val_epoch(runner)
        hook.after_val_iter(runner, 0, outputs=['a'])
        hook.after_val_iter(runner, 1, outputs=['b', 'c'])
        hook.after_val_iter(runner, 2, outputs=['d'])
    assert drawn == [
        (iteration, f'val_{iteration:07d}_{number:03d}', f'val_{number:03d}', sample)
        for iteration in (10, 20)
        for number, sample in enumerate('ab')
    ]
    drawn.clear()
    for _ in range(2):
        hook.before_test_epoch(runner)
        hook.after_test_iter(runner, 0, outputs=['a', 'b', 'c'])
    assert drawn == [(20, f'test_{number:03d}', f'test_{number:03d}', sample) for number, sample in enumerate('ab')] * 2
