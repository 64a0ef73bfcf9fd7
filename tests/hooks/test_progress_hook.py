"""Memory and slow loaders in the log, and a validation before the first iteration."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from projects.DistillNeRF.hooks.progress_hook import ProgressHook, ValidateFirstHook, resident_megabytes


class Hub:
    """Scalars whose mean over the last n is known."""

    def __init__(self, **means: float) -> None:
        self.means, self.updated, self.windows = means, {}, []

    def get_scalar(self, name: str) -> SimpleNamespace:
        def mean(window: int) -> float:
            self.windows.append(window)
            return self.means[name.removeprefix('train/')]

        return SimpleNamespace(mean=mean)

    def update_scalar(self, name: str, value: float) -> None:
        self.updated[name] = value


def after(iteration: int, hub: Hub, **options: float) -> list[str]:
    """The warnings after that iteration (counted from 0)."""
    said: list[str] = []
    runner = SimpleNamespace(
        iter=iteration,
        message_hub=hub,
        logger=SimpleNamespace(warning=said.append),
        train_dataloader=SimpleNamespace(num_workers=3),
    )
    ProgressHook(**options).after_train_iter(runner, iteration)
    return said


def test_a_loader_that_takes_more_than_its_share_is_named():
    hub = Hub(data_time=0.31, time=1.0)
    (said,) = after(49, hub)
    assert '0.31 of 1.00 s' in said and 'num_workers (now 3)' in said
    assert hub.windows == [50, 50]
    assert after(49, Hub(data_time=0.29, time=1.0)) == []
    assert after(3, Hub(data_time=0.6, time=1.0), interval=4, share=0.5)
    assert not after(3, Hub(data_time=0.4, time=1.0), interval=4, share=0.5)


@pytest.mark.parametrize('iteration', [0, 48, 50])
def test_the_loader_is_checked_every_interval_only(iteration):
    assert after(iteration, Hub(data_time=9.0, time=1.0)) == []


def test_memory_is_in_the_log_of_every_iteration(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    hub = Hub()
    after(0, hub)
    assert hub.updated['train/memory_mb'] > 50
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    hub = Hub()
    after(0, hub)
    assert not hub.updated


@pytest.mark.skipif(not Path('/proc/self/statm').is_file(), reason='only Linux says')
def test_megabytes_are_resident_pages(monkeypatch):
    monkeypatch.setattr(Path, 'read_text', lambda self: '900 250 3 4 0 5 0\n')
    assert resident_megabytes() == pytest.approx(250 * 4096 / 1e6)


def test_validation_runs_once_before_the_training_if_there_is_one():
    runs: list[int] = []
    ValidateFirstHook().before_train(SimpleNamespace(val_loop=SimpleNamespace(run=lambda: runs.append(1))))
    assert runs == [1]
    ValidateFirstHook().before_train(SimpleNamespace(val_loop=None))
