"""Readiness for other devices, without one: nothing is made on the default device, nothing is fetched back."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode

from projects.DistillNeRF.models.wrapper import DistillNeRFModel
from tests.helpers.networks import LOSSES, make_batch, tiny_model

FACTORIES = {
    getattr(torch, name)
    for name in (
        *('zeros', 'ones', 'full', 'empty', 'arange', 'linspace', 'logspace', 'eye', 'tensor', 'as_tensor', 'rand'),
        *('randn', 'randint', 'randperm', 'tril_indices', 'triu_indices', 'scalar_tensor', 'from_numpy'),
    )
}
FETCHES = {getattr(torch.Tensor, name) for name in ('cpu', 'numpy', 'item', '__float__', '__int__', 'cuda')}


class SameDevice(TorchFunctionMode):
    """Fails on tensors that are made without a device, and on numbers that are fetched from the device."""

    def __torch_function__(self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if func in FACTORIES and (kwargs or {}).get('device') is None:
            raise AssertionError(f'torch.{func.__name__} without a device')
        if func in FETCHES:
            raise AssertionError(f'Tensor.{func.__name__} in the hot path')
        return func(*args, **(kwargs or {}))


@contextmanager
def same_device() -> Iterator[None]:
    with SameDevice():
        yield


def step(model: DistillNeRFModel, inputs: dict) -> None:
    """Forward, losses and backward."""
    losses = model(inputs, mode='loss')
    sum(value for name, value in losses.items() if 'loss' in name).backward()


@pytest.mark.parametrize('head', [{'width': 32, 'num_layers': 2}, {'type': 'feature'}])
def test_a_step_stays_on_its_device(head):
    losses = LOSSES if 'type' not in head else {name: loss for name, loss in LOSSES.items() if name != 'rgb'}
    model = tiny_model(losses, head=head, jitter=True)
    inputs = make_batch(1, 2)
    # What is made once per device and kept, such as the edges of the depth bins, is made here.
    step(model, inputs)
    with same_device():
        step(model, inputs)


def test_the_guard_works():
    with same_device():
        for wrong in (lambda: torch.zeros(3), lambda: torch.arange(4), lambda: torch.ones(1, device='cpu').item()):
            with pytest.raises(AssertionError):
                wrong()
        torch.zeros(3, device=torch.device('cpu'))


def test_no_module_names_a_device(repo_root: Path):
    """Outside ``tools/``, devices come from the inputs."""
    named = re.compile(r"""['"](cuda|cpu|mps)(:\d+)?['"]|\.cuda\(""")
    allowed = {
        # Which kind of device a tensor is on decides how much work is done at a time, not where.
        'modules/chunked.py',
        'visualization/viewer/session.py',
        # Checkpoints are read into main memory, whatever they were written from.
        'models/checkpoint.py',
        'utils/torch_files.py',
        # The edges of the depth bins are computed there once, so that every device has the same bits.
        'geometry/contraction.py',
        # Values of images and cameras are looked at only where nothing waits for a device.
        'geometry/views.py',
        # The clock waits for GPUs, and memory is counted in another way there.
        'verification/benchmark/profiler.py',
        # The default of the user's own choice.
        'apis.py',
        'engine/view.py',
        # Where mmengine gathers the results of all processes.
        'evaluation/metrics.py',
    }
    package = repo_root / 'projects/DistillNeRF'
    found = {
        str(path.relative_to(folder))
        for folder, files in ((package, package), (repo_root, repo_root / 'verification'))
        for path in files.rglob('*.py')
        if named.search('\n'.join(line.partition('#')[0] for line in path.read_text().splitlines()))
    }
    assert found <= allowed
