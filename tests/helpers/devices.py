"""Tests of kernels on another device than the CPU: ``pytest --device cuda``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode

from tests.helpers.data import ROOT

# The tests whose tensors lie on the device that was asked for.
KERNELS = (
    *(f'tests/geometry/test_{name}.py' for name in ('cameras', 'contraction', 'matrices', 'tensors', 'views')),
    'tests/kernels/',
    'tests/modules/',
    *(f'tests/models/test_{name}.py' for name in ('network', 'scene')),
)
# The tests that place their tensors on that device by themselves.
OTHERS = ('tests/scene_nerf/test_devices.py',)
RANDOM = {torch.rand, torch.randn, torch.randint, torch.randperm}
FACTORIES = {
    *(torch.tensor, torch.zeros, torch.ones, torch.full, torch.empty, torch.eye, torch.arange, torch.linspace),
    *RANDOM,
}
PRODUCT = (str(ROOT / 'projects'), str(ROOT / 'verification'))


def known_device(name: str) -> torch.device:
    """Return the device of that name.

    Raises:
        pytest.UsageError: there is none on this machine.
    """
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0].rstrip('.')
        raise pytest.UsageError(
            f'--device {name}: cannot be used here ({reason}); leave the option away to test on the CPU'
        ) from error
    return device


class OnDevice(TorchFunctionMode):
    """Tensors made without a device lie on ``device``, except those that a function of the product makes.

    So a forgotten ``device=`` of the product shows as it would to a user. What its constructors make, weights and
    buffers, lies on the device. Random numbers are drawn on the CPU: they are the same on every device.
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.device = device

    def __torch_function__(self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        code = sys._getframe(1).f_code
        forgotten = code.co_filename.startswith(PRODUCT) and code.co_name != '__init__'
        if func not in FACTORIES or kwargs.get('device') is not None or forgotten:
            return func(*args, **kwargs)
        if func in RANDOM:
            leaf = kwargs.get('requires_grad', False)
            made = func(*args, **{**kwargs, 'requires_grad': False})
            return made.to(self.device).requires_grad_(leaf)
        return func(*args, **{**kwargs, 'device': self.device})
