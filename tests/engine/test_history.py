"""Checkpoints do not grow with the iterations, and the log says what it said."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.runner import LogProcessor

from projects.DistillNeRF.engine.history import LENGTH, bound_history
from projects.DistillNeRF.models.checkpoint import read_checkpoint
from tests.helpers.commands import mmengine_state, run

LOGGED = 200_000


@pytest.fixture(autouse=True)
def fresh():
    with mmengine_state():
        yield


def hub(name: str, *, bounded: bool = True, **log: Any) -> MessageHub:
    made = MessageHub.get_instance(name)
    if bounded:
        bound_history(made, LogProcessor(by_epoch=False, **log))
    return made


def size(state: object) -> int:
    file = io.BytesIO()
    torch.save(state, file)
    return file.tell()


def smoothed(of: MessageHub, iteration: int) -> dict[str, float]:
    """What the log writes of the training."""
    log = LogProcessor(window_size=50, by_epoch=False)
    runner = SimpleNamespace(message_hub=of, iter=iteration)
    return log._collect_scalars(log.custom_cfg, runner, 'train')


def test_a_checkpoint_does_not_grow_and_the_log_is_the_same():
    mine, theirs = hub('mine'), hub('theirs', bounded=False)
    losses = np.random.default_rng(0).random(LOGGED)
    # As 200,000 updates leave it, which would take mmengine a minute.
    start = LOGGED - 300
    theirs.log_scalars['train/loss'] = HistoryBuffer(losses[:start].tolist(), [1] * start)
    theirs._resumed_keys['train/loss'] = True
    sizes = []
    for iteration, loss in enumerate(losses):
        mine.update_scalar('train/loss', loss)
        if iteration >= start:
            theirs.update_scalar('train/loss', loss)
            if iteration % 50 == 0:
                assert smoothed(mine, iteration) == smoothed(theirs, iteration)
        if iteration + 1 in (LENGTH, LOGGED):
            sizes.append(size(mine.state_dict()))
    assert abs(sizes[0] - sizes[1]) < 1000
    assert sizes[1] < size(theirs.state_dict()) / 15


def test_the_log_gets_as_long_a_window_as_it_asks_for():
    loss = {'data_src': 'loss', 'log_name': 'all', 'method_name': 'mean'}
    for window, kept in ((3 * LENGTH, 3 * LENGTH), ('global', 4 * LENGTH), (7, LENGTH)):
        made = hub(f'{window}', custom_cfg=[{**loss, 'window_size': window}])
        made.load_state_dict(old_state(4 * LENGTH))
        assert len(made.get_scalar('train/loss').data[0]) == kept


def old_state(count: int) -> dict:
    """The message hub of a checkpoint as mmengine writes it."""
    old = hub('old', bounded=False)
    old.log_scalars['train/loss'] = HistoryBuffer(list(range(count)), [1] * count)
    old.update_info('iter', count)
    return {**old.state_dict(), 'log_scalars': dict(old.log_scalars), 'resumed_keys': {'train/loss': True}}


def test_a_long_history_is_cut_when_a_training_goes_on(project, trained, tmp_path):
    state = read_checkpoint(trained / 'iter_3.pth')
    history = np.arange(LOGGED, dtype=float)
    state['message_hub']['log_scalars']['train/loss'] = HistoryBuffer(history, np.ones(LOGGED))
    torch.save(state, tmp_path / 'iter_3.pth')
    before = (tmp_path / 'iter_3.pth').stat().st_size
    options = ('train_cfg.max_iters=4', 'train_cfg.val_interval=99', 'custom_hooks=[]')
    result = run('train', project.config, '--work-dir', tmp_path, '--resume', '--cfg-options', *options)
    assert result.code == 0, result.err
    after = read_checkpoint(tmp_path / 'iter_4.pth')['message_hub']['log_scalars']['train/loss']
    values, counts = after.data
    assert len(values) == len(counts) == LENGTH
    assert (values[:-1] == history[1 - LENGTH :]).all()
    assert (tmp_path / 'iter_4.pth').stat().st_size < before - (LOGGED - LENGTH) * 15
