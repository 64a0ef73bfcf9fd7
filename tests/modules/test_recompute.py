"""Blocks that are computed twice in a training step, and only there."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from projects.DistillNeRF.modules.recompute import Recomputable, recompute_blocks


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
    recompute_blocks(network, True)
    assert [block.recompute for block in blocks] == [True, True]
    assert not hasattr(network[1][0], 'recompute')
    recompute_blocks(network, False)
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
