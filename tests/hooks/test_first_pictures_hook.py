"""Pictures before the first iteration leave no trace in the training."""

from __future__ import annotations

import logging
import random
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.structures import BaseDataElement
from torch import nn

from projects.DistillNeRF.hooks import first_pictures_hook
from projects.DistillNeRF.hooks.first_pictures_hook import FirstPicturesHook
from projects.DistillNeRF.utils.errors import InputError
from projects.DistillNeRF.visualization.options import PictureOptions

OPTIONS = PictureOptions(visualize_imgs=True)


class Dataset:
    """Draws a random number for every sample, as the choice of targets does."""

    def __init__(self, count: int) -> None:
        self.count, self.read = count, []

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict:
        self.read.append(index)
        random.random()
        return {'inputs': torch.tensor(float(index)), 'data_samples': BaseDataElement()}


class Model(nn.Module):
    """Predicts the number of the sample; notes in which mode it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.asked: list[tuple[bool, bool]] = []

    def test_step(self, batch: dict) -> list[BaseDataElement]:
        self.asked.append((self.training, torch.is_grad_enabled()))
        torch.rand(1)
        return [BaseDataElement(metainfo={'number': int(batch['inputs'][0])})]


@pytest.fixture
def drawn(monkeypatch) -> list[tuple]:
    """What was drawn: number in the data, options, folder, number of the picture."""
    calls: list[tuple] = []

    def draw(fields: dict, options: PictureOptions, directory: Path, number: int) -> list[Path]:
        calls.append((fields['number'], options, directory, number))
        return []

    monkeypatch.setattr(first_pictures_hook, 'draw_sample', draw)
    return calls


def runner(dataset: Dataset, model: Model, **more: object) -> SimpleNamespace:
    loader = SimpleNamespace(dataset=dataset)
    return SimpleNamespace(model=model, train_dataloader=loader, logger=logging.getLogger('first pictures'), **more)


def start(dataset: Dataset, model: Model, **options: int) -> None:
    FirstPicturesHook({'visualize_imgs': True}, 'somewhere', **options).before_train(runner(dataset, model))


def test_the_random_generators_go_on_as_if_nothing_had_been_drawn(drawn):
    random.seed(5)
    torch.manual_seed(5)
    expected = random.random(), torch.rand(1).item()
    random.seed(5)
    torch.manual_seed(5)
    start(Dataset(3), Model())
    assert (random.random(), torch.rand(1).item()) == expected


def test_the_random_generators_go_on_even_if_a_picture_fails(monkeypatch):
    def fail(*arguments) -> None:
        raise RuntimeError('no picture')

    monkeypatch.setattr(first_pictures_hook, 'draw_sample', fail)
    random.seed(5)
    expected = random.random()
    random.seed(5)
    model = Model().train()
    with pytest.raises(RuntimeError, match='no picture'):
        start(Dataset(3), model)
    assert random.random() == expected and model.training


@pytest.mark.parametrize(('count', 'samples', 'expected'), [(9, 4, [0, 1, 2, 3]), (2, 4, [0, 1]), (9, 1, [0])])
def test_the_first_samples_are_drawn_in_evaluation_mode(drawn, count, samples, expected):
    dataset, model = Dataset(count), Model().train()
    start(dataset, model, samples=samples)
    assert dataset.read == expected
    assert drawn == [(number, OPTIONS, Path('somewhere'), number) for number in expected]
    assert model.asked == [(False, False)] * len(expected)
    assert model.training


def test_four_samples_are_drawn_by_default(drawn):
    start(Dataset(9), Model())
    assert len(drawn) == 4


@pytest.mark.parametrize(
    ('asked', 'folder'), [({}, 'work/visualization'), ({'vis_save_directory': 'elsewhere'}, 'elsewhere')]
)
def test_the_options_and_the_folder_are_those_of_the_model(drawn, asked, folder):
    config = Config({'model': {'type': 'Any', 'visualize_voxels': True, **asked}})
    FirstPicturesHook(samples=1).before_train(runner(Dataset(2), Model(), cfg=config, work_dir='work'))
    ((_, options, directory, _),) = drawn
    assert options.visualize_voxels and not options.visualize_imgs
    assert directory == Path(folder)


def test_nothing_is_read_or_drawn_where_the_model_asks_for_no_picture(drawn):
    dataset = Dataset(2)
    for config in ({}, {'model': {'type': 'Any', 'visualize_imgs': False}}):
        FirstPicturesHook().before_train(runner(dataset, Model(), cfg=Config(config), work_dir='work'))
    assert dataset.read == [] and drawn == []


def test_options_of_pictures_that_nobody_asked_for_are_refused():
    config = Config({'model': {'type': 'Any', 'voxel_colors': 'height'}})
    with pytest.raises(InputError, match=r'does nothing without model\.visualize_voxels=True'):
        FirstPicturesHook().before_train(runner(Dataset(1), Model(), cfg=config, work_dir='work'))
