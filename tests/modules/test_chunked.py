"""Working through rows chunk by chunk is the same as all at once, values and gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from projects.DistillNeRF.modules import chunked as chunks
from projects.DistillNeRF.modules.chunked import Recomputable, map_chunked, set_activation_checkpointing


def function(x: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """A running sum along the row, and the row's maximum."""
    y = torch.cumsum(torch.tanh(x) * scale[:, None], 1)
    return y, y.amax(1)


@pytest.mark.parametrize('count', [0, 1, 7, 20])
@pytest.mark.parametrize('numbers', [1, 15, 1000])
def test_values_and_gradients(monkeypatch, count, numbers, dtype):
    monkeypatch.setattr(chunks, 'CPU_CHUNK_NUMEL', numbers)
    generator = torch.Generator().manual_seed(0)
    x, cotangent = (torch.randn(count, 5, dtype=dtype, generator=generator) for _ in range(2))
    scale = torch.rand(count, dtype=dtype, generator=generator)
    results = []
    for run in (function, lambda *inputs: map_chunked(function, *inputs)):
        leaf = x.clone().requires_grad_()
        y, largest = run(leaf, scale)
        ((y * cotangent).sum() + largest.square().sum()).backward()
        results.append((y, largest, leaf.grad))
    torch.testing.assert_close(results[1], results[0], rtol=0, atol=1e-14)


def test_a_result_that_nobody_uses(monkeypatch, dtype):
    monkeypatch.setattr(chunks, 'CPU_CHUNK_NUMEL', 10)
    x = torch.randn(6, 5, dtype=dtype, generator=torch.Generator().manual_seed(0)).requires_grad_()
    map_chunked(function, x, torch.ones(6, dtype=dtype))[1].sum().backward()
    expected = torch.autograd.grad(function(x, torch.ones(6, dtype=dtype))[1].sum(), x)[0]
    torch.testing.assert_close(x.grad, expected)


def test_nothing_but_the_inputs_is_kept():
    x = torch.randn(100, 5, requires_grad=True)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        map_chunked(function, x, torch.ones(100))
    assert [tensor.shape for tensor in kept] == [(100, 5), (100,)]


class Square(Recomputable):
    """Counts how often it is computed."""

    count = 0

    def forward(self, x: Tensor) -> Tensor:
        self.count += 1
        return (x * x).sin()


def test_it_is_off_by_default_and_can_be_switched_on_and_off():
    network = nn.Sequential(Square(), nn.Sequential(nn.ReLU(), Square()))
    blocks = [network[0], network[1][1]]
    assert [block.recompute for block in blocks] == [False, False]
    set_activation_checkpointing(network, True)
    assert [block.recompute for block in blocks] == [True, True]
    assert not hasattr(network[1][0], 'recompute')
    set_activation_checkpointing(network, False)
    assert [block.recompute for block in blocks] == [False, False]


def test_a_block_is_computed_again_for_its_gradient_with_the_same_result():
    results = []
    for recompute in (False, True):
        block, x = Square(), torch.tensor([0.3, -1.2], requires_grad=True)
        block.recompute = recompute
        y = block(x)
        y.sum().backward()
        results.append((y.tolist(), x.grad.tolist()))
        assert block.count == 1 + recompute
    assert results[0] == results[1]


def test_without_gradients_it_is_computed_once():
    block = Square()
    block.recompute = True
    with torch.no_grad():
        block(torch.ones(2))
    assert block.count == 1
