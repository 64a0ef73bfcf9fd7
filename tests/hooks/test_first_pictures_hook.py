"""Pictures before the first iteration leave no trace in the training."""

from __future__ import annotations

import logging
import random
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.structures import BaseDataElement
from torch import nn

from projects.DistillNeRF.hooks import first_pictures_hook
from projects.DistillNeRF.hooks.first_pictures_hook import FirstPicturesHook
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


def start(dataset: Dataset, model: Model, **options: int) -> None:
    loader = SimpleNamespace(dataset=dataset)
    runner = SimpleNamespace(model=model, train_dataloader=loader, logger=logging.getLogger('first pictures'))
    FirstPicturesHook({'visualize_imgs': True}, 'somewhere', **options).before_train(runner)


def test_the_random_generators_go_on_as_if_nothing_had_been_drawn(drawn):
    random.seed(5)
    torch.manual_seed(5)
    expected = random.random(), torch.rand(1).item()
    random.seed(5)
    torch.manual_seed(5)
    start(Dataset(3), Model())
    assert (random.random(), torch.rand(1).item()) == expected


def test_they_do_so_where_a_picture_fails(monkeypatch):
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


def test_four_samples_are_usual(drawn):
    start(Dataset(9), Model())
    assert len(drawn) == 4
