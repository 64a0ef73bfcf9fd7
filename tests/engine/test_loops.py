"""A resumed training sees the samples that it would have seen, and loads none of those before them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mmengine.dataset import DefaultSampler, InfiniteSampler
from mmengine.runner import IterBasedTrainLoop
from torch.utils.data import BatchSampler, DataLoader, Dataset

from projects.DistillNeRF.datasets.samplers import SeededBatchSampler, SeededIndex
from projects.DistillNeRF.engine.loops import ResumableEpochLoop, ResumableIterLoop
from projects.DistillNeRF.models.checkpoint import read_checkpoint
from tests.helpers.commands import run

SAMPLES, BATCH, ITERATIONS = 10, 2, 9


class Noted(Dataset):
    """Writes down every sample that is loaded, by whatever process."""

    def __init__(self, notes: Path) -> None:
        self.notes = notes
        notes.touch()

    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, index: int) -> str:
        name = f'{int(index)} of {getattr(index, "seed", None)}'
        with self.notes.open('a') as file:
            file.write(f'{name}\n')
        return name


def seen(kind: type, order: type, notes: Path, done: int, workers: int = 0, place: tuple = (0, 1), **how: Any) -> list:
    """The batches of a training that goes on after so many iterations."""
    data = Noted(notes)
    sampler = order(data, seed=3)
    sampler.rank, sampler.world_size = place
    if order is DefaultSampler:
        sampler.num_samples = -(-SAMPLES // place[1])
        sampler.total_size = sampler.num_samples * place[1]
    batches = how.get('batches', SeededBatchSampler)(sampler, BATCH, drop_last=False)
    loader = DataLoader(data, batch_sampler=batches, num_workers=workers, persistent_workers=workers > 0)
    runner = SimpleNamespace(model=SimpleNamespace(train=lambda: None), val_loop=None)

    def call_hook(stage: str) -> None:
        if stage == 'before_train_epoch':  # as mmengine's hook for samplers does
            sampler.set_epoch(loop.epoch)

    runner.call_hook = call_hook
    if kind is ResumableEpochLoop:
        loop = kind(runner, loader, max_epochs=-(-ITERATIONS // len(loader)))
        loop._epoch = done // len(loader)
    else:
        loop = kind(runner, loader, max_iters=ITERATIONS)
    loop._iter = done
    found: list = []

    def run_iter(*batch: Any) -> None:
        found.append(batch[-1])
        loop._iter += 1

    loop.run_iter = run_iter
    loop.run()
    if loader._iterator is not None:
        loader._iterator._shutdown_workers()
    return found


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    """Mmengine sleeps for two seconds between two epochs."""
    monkeypatch.setattr('mmengine.runner.loops.time.sleep', lambda seconds: None)


@pytest.mark.parametrize('place', [(0, 1), (0, 2), (1, 2)])
@pytest.mark.parametrize('workers', [0, 2])
@pytest.mark.parametrize(
    ('kind', 'order'),
    [
        (ResumableIterLoop, InfiniteSampler),
        (ResumableIterLoop, DefaultSampler),
        (ResumableEpochLoop, DefaultSampler),
    ],
)
def test_the_samples_are_those_of_the_whole_run_and_nothing_else_is_loaded(tmp_path, kind, order, workers, place):
    whole = seen(kind, order, tmp_path / 'whole', 0, place=place)
    assert len(whole) >= ITERATIONS
    for done in (1, 6):
        notes = tmp_path / f'from_{done}'
        assert seen(kind, order, notes, done, workers, place) == whole[done:]
        before = {name for batch in whole[:done] for name in batch}
        loaded = notes.read_text().splitlines()
        assert len(loaded) == len(set(loaded)) and not before & set(loaded)


def test_mmengine_sees_the_same_samples(tmp_path):
    for order in (InfiniteSampler, DefaultSampler):
        theirs, ours = (seen(kind, order, tmp_path / 'notes', 0) for kind in (IterBasedTrainLoop, ResumableIterLoop))
        assert theirs == ours


@pytest.mark.parametrize(
    ('kind', 'order'), [(ResumableIterLoop, InfiniteSampler), (ResumableEpochLoop, DefaultSampler)]
)
def test_with_a_batch_sampler_of_ones_own_samples_are_loaded_and_thrown_away(tmp_path, kind, order):
    whole = seen(kind, order, tmp_path / 'whole', 0, batches=BatchSampler)
    assert seen(kind, order, tmp_path / 'notes', 6, batches=BatchSampler) == whole[6:]


def test_a_resumed_training_loads_what_it_trains_on(project, trained, tmp_path, monkeypatch):
    loaded = []

    def note(self: Any, index: SeededIndex) -> dict:
        loaded.append(index.seed)
        return prepare(self, index)

    from projects.DistillNeRF.datasets.dataset import DistillNeRFDataset

    prepare = DistillNeRFDataset.__getitem__
    monkeypatch.setattr(DistillNeRFDataset, '__getitem__', note)
    options = ('train_cfg.max_iters=5', 'train_cfg.val_interval=99', 'custom_hooks=[]')
    arguments = ('--work-dir', tmp_path, '--resume', trained / 'iter_3.pth', '--cfg-options', *options)
    result = run('train', project.config, *arguments, 'val_dataloader=None', 'val_cfg=None', 'val_evaluator=None')
    assert result.code == 0, result.err
    assert read_checkpoint(tmp_path / 'iter_5.pth')['meta']['iter'] == 5
    assert [seed.split()[-1] for seed in loaded] == ['3', '4']
