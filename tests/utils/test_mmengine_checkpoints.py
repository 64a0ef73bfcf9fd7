"""mmengine checkpoints under torch's safe loading."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from projects.DistillNeRF.utils.mmengine_checkpoints import allow_mmengine_checkpoints


@pytest.fixture(autouse=True)
def nothing_allowed() -> Iterator[None]:
    """Start each test with an empty list of allowed classes, and put back the one there was."""
    before = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    yield
    torch.serialization.clear_safe_globals()
    torch.serialization.add_safe_globals(before)


def checkpoint() -> dict:
    """What mmengine's Runner saves: weights, optimizer state and the message hub."""
    from mmengine.logging import HistoryBuffer, MessageHub

    hub = MessageHub('test_torch_compat')
    for step in range(3):
        hub.update_scalar('train/loss', np.float64(1.5 - step))
        hub.update_scalar('train/lr', 2e-4)
        hub.update_info('iter', step)
    hub.update_info('best', np.float32(0.25))
    assert isinstance(hub.get_scalar('train/loss'), HistoryBuffer)
    return {'meta': {'iter': 2}, 'state_dict': {'w': torch.ones(2)}, 'message_hub': hub.state_dict()}


def test_mmengine_checkpoint_loads_safely(tmp_path: Path) -> None:
    path = tmp_path / 'iter_3.pth'
    torch.save(checkpoint(), path)
    with pytest.raises(pickle.UnpicklingError, match='HistoryBuffer'):
        torch.load(path, weights_only=True)
    allow_mmengine_checkpoints()
    allow_mmengine_checkpoints()
    hub = torch.load(path, weights_only=True)['message_hub']
    loss = hub['log_scalars']['train/loss']
    np.testing.assert_allclose(loss.data, [[1.5, 0.5, -0.5], [1, 1, 1]])
    assert loss.mean() == loss.statistics('mean') == 0.5
    assert hub['runtime_info']['best'] == np.float32(0.25)


class Reduced:
    """Pickles as a call of ``getattr`` with the given arguments."""

    def __init__(self, *arguments: object) -> None:
        self.arguments = arguments

    def __reduce__(self) -> tuple:
        return getattr, self.arguments


def test_what_is_not_needed_stays_forbidden(tmp_path: Path) -> None:
    from mmengine.logging import HistoryBuffer

    allow_mmengine_checkpoints()
    for value in (Path('x'), Reduced(HistoryBuffer, '__init__'), Reduced(np.ndarray, 'mean')):
        torch.save({'value': value}, tmp_path / 'foreign.pth')
        with pytest.raises(pickle.UnpicklingError):
            torch.load(tmp_path / 'foreign.pth', weights_only=True)
