"""Dataclasses of tensors: what is moved, cast and sliced with them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor
from torch.utils.data._utils.pin_memory import pin_memory

from projects.DistillNeRF.geometry.tensors import TensorFields, clamp, exact_einsum, full_precision


@dataclass(frozen=True)
class Inner(TensorFields):
    values: Tensor


@dataclass(frozen=True)
class Outer(TensorFields):
    floats: Tensor
    indices: Tensor
    inner: Inner
    names: tuple[str, ...]
    count: int
    missing: Tensor | None = None


def outer() -> Outer:
    return Outer(torch.ones(2), torch.tensor([3, 4], dtype=torch.int32), Inner(torch.full((1,), 5.0)), ('a', 'b'), 2)


def test_a_function_reaches_every_tensor_and_nothing_else():
    doubled = outer().map(lambda tensor: 2 * tensor)
    assert doubled.floats.tolist() == [2, 2]
    assert doubled.indices.tolist() == [6, 8]
    assert doubled.inner.values.tolist() == [10]
    assert (doubled.names, doubled.count, doubled.missing) == (('a', 'b'), 2, None)


def test_a_cast_leaves_indices_alone():
    cast = outer().to(torch.float64)
    assert cast.floats.dtype == cast.inner.values.dtype == torch.float64
    assert cast.indices.dtype == torch.int32 and cast.indices.tolist() == [3, 4]


def test_a_device_is_that_of_all_tensors():
    moved = outer().to('meta')
    assert {moved.floats.device.type, moved.indices.device.type, moved.inner.values.device.type} == {'meta'}
    assert moved.indices.dtype == torch.int32


def test_what_it_is_made_from_stays_as_it_was():
    before = outer()
    before.map(lambda tensor: tensor + 1)
    before.to(torch.float64)
    assert before.floats.tolist() == [1, 1] and before.floats.dtype == torch.float32


@pytest.mark.parametrize(
    ('given', 'expected'),
    [
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_half_precision_becomes_single_and_nothing_is_narrowed(given, expected):
    assert full_precision(torch.ones(2, dtype=given)).dtype == expected


def test_an_einsum_keeps_its_precision_under_autocast(device):
    # 1 + 2^-12 needs 13 bits, bfloat16 has 8.
    row, matrix = torch.tensor([1.0, 2.0**-12]), torch.tensor([[1.0, 0.0], [1.0, 5.0]])
    with torch.autocast(device.type, dtype=torch.bfloat16):
        product = exact_einsum('j,jk->k', row, matrix)
        assert torch.is_autocast_enabled(device.type)
    assert product.dtype == torch.float32
    assert product.tolist() == [1 + 2.0**-12, 5 * 2.0**-12]


def test_a_data_loader_pins_every_tensor(monkeypatch):
    """As ``DataLoader(pin_memory=True)`` treats a batch; without a GPU copies stand in for pinned memory."""
    pinned = []
    monkeypatch.setattr(Tensor, 'pin_memory', lambda tensor: pinned.append(tensor.data_ptr()) or tensor.clone())
    given = outer()
    batch = pin_memory({'inputs': {'views': [given]}, 'names': ['a']})
    copied = batch['inputs']['views'][0]
    assert isinstance(copied, Outer) and batch['names'] == ['a']
    assert pinned == [given.floats.data_ptr(), given.indices.data_ptr(), given.inner.values.data_ptr()]
    assert copied.floats.data_ptr() != given.floats.data_ptr() and copied.indices.tolist() == [3, 4]


def test_no_tensor_is_copied_in_a_way_that_waits(monkeypatch):
    """Where a cast would change indices, only their device is changed, and as asked."""
    asked, plain, given = [], Tensor.to, outer()

    def to(tensor: Tensor, *args: object, **kwargs: object) -> Tensor:
        asked.append(kwargs.get('non_blocking'))
        return plain(tensor, *args, **kwargs)

    monkeypatch.setattr(Tensor, 'to', to)
    given.to('cpu', non_blocking=True)
    assert asked == [True] * 3
    given.to('cpu', torch.float64, non_blocking=True)
    assert asked == [True] * 7


def test_what_is_clamped_has_the_published_gradient(device):
    """One at the bounds, too, whatever torch's own clamp does."""
    x = torch.tensor([-1.0, 0, 0.5, 1, 2, math.nan], requires_grad=True)
    y = clamp(x, 0.0, 1.0)
    torch.testing.assert_close(y, torch.clamp(x, 0, 1), equal_nan=True)
    (gradient,) = torch.autograd.grad(y, x, torch.full_like(x, 3.0))
    assert gradient.tolist() == [0, 3, 3, 3, 0, 0]
