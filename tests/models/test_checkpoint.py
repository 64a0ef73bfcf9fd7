"""Checkpoints of a tiny network: what is loaded, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from projects.DistillNeRF.models.checkpoint import load_weights, read_checkpoint, require_training_state
from projects.DistillNeRF.utils.errors import InputError


def tiny() -> nn.Module:
    network = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    for number, parameter in enumerate(network.parameters()):
        nn.init.constant_(parameter, float(number))
    return network


def write(path: Path, **changes: torch.Tensor | None) -> Path:
    """A checkpoint of ones, and a buffer of the model around the network; ``None`` leaves a weight out."""
    state = {f'network.{name}': torch.ones_like(value) for name, value in tiny().state_dict().items()}
    state |= {'data_preprocessor.mean': torch.zeros(3)}
    for name, value in changes.items():
        key = f'network.{name.replace("_", ".")}'
        state.pop(key, None)
        if value is not None:
            state[key] = value
    torch.save({'state_dict': state, 'meta': {'iter': 7}}, path)
    return path


def test_all_weights_are_taken_over_and_the_rest_is_returned(tmp_path):
    network = tiny()
    state = load_weights(network, write(tmp_path / 'a.pth'))
    assert all((value == 1).all() for value in network.state_dict().values())
    assert state['meta'] == {'iter': 7} and 'data_preprocessor.mean' in state['state_dict']


@pytest.mark.parametrize(
    ('changes', 'word'),
    [
        ({'0_bias': None}, '0.bias is missing; give'),
        ({'2_bias': torch.ones(1)}, '2.bias is unknown; give'),
        ({'0_bias': torch.ones(4)}, r'0.bias is \(4,\), not \(3,\); give'),
        ({'0_bias': None, '2_bias': torch.ones(1)}, '0.bias is missing; 2.bias is unknown; give'),
        ({'1_bias': torch.tensor([float('nan')])}, '1.bias holds NaN or infinity'),
        ({'1_bias': torch.tensor([float('inf')])}, '1.bias holds NaN or infinity'),
    ],
)
def test_weights_that_do_not_fit_change_nothing(tmp_path, changes, word):
    network = tiny()
    with pytest.raises(InputError, match=rf'a\.pth: .*{word}'):
        load_weights(network, write(tmp_path / 'a.pth', **changes))
    for name, value in tiny().state_dict().items():
        assert torch.equal(network.state_dict()[name], value)


@pytest.mark.parametrize('content', [{'state': {}}, [1, 2], {'state_dict': [1]}])
def test_files_without_weights(tmp_path, content):
    torch.save(content, tmp_path / 'a.pth')
    with pytest.raises(InputError, match=r'a\.pth: holds no state_dict'):
        read_checkpoint(tmp_path / 'a.pth')


def test_a_file_that_is_none(tmp_path):
    (tmp_path / 'a.pth').write_text('text')
    with pytest.raises(InputError, match=r'a\.pth: not a readable checkpoint'):
        read_checkpoint(tmp_path / 'a.pth')
    with pytest.raises(InputError, match='no such file'):
        read_checkpoint(tmp_path / 'b.pth')


@pytest.mark.parametrize('missing', ['meta', 'message_hub', 'optimizer'])
def test_training_needs_more_than_weights(missing):
    state = {'state_dict': {}, 'meta': {}, 'message_hub': {}, 'optimizer': {}}
    require_training_state(state, 'a.pth')
    del state[missing]
    with pytest.raises(InputError, match=f'a.pth: holds no {missing}, so training cannot go on'):
        require_training_state(state, 'a.pth')
