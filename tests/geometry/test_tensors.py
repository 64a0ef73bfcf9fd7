"""Dataclasses of tensors: what is moved, cast and sliced with them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from projects.DistillNeRF.geometry.tensors import TensorFields


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
