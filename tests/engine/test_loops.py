"""An epoch that was begun goes on after the samples that were trained on."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from projects.DistillNeRF.engine.runner import ResumableEpochLoop


@pytest.mark.parametrize(
    ('epoch', 'iteration', 'trained'), [(0, 0, 'abc'), (0, 2, 'c'), (2, 6, 'abc'), (2, 7, 'bc'), (1, 6, '')]
)
def test_samples_that_were_trained_on_are_passed_over(epoch, iteration, trained):
    said: list[str] = []
    loop = object.__new__(ResumableEpochLoop)
    model = SimpleNamespace(train=lambda: said.append('train'))
    loop._runner = SimpleNamespace(call_hook=said.append, model=model)
    loop.dataloader, loop._epoch, loop._iter = list('abc'), epoch, iteration
    ran: list[tuple[int, str]] = []
    loop.run_iter = lambda index, batch: ran.append((index, batch))
    loop.run_epoch()
    assert ran == [('abc'.index(batch), batch) for batch in trained]
    assert said == ['before_train_epoch', 'train', 'after_train_epoch'] and loop._epoch == epoch + 1
