"""Weighted sums of table rows against a loop."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from projects.DistillNeRF.modules.segments import segment_offsets, weighted_segment_sum
from tests.helpers.arrays import assert_same_gradients


def looped(table: Tensor, rows: Tensor, weights: Tensor, counts: list[int]) -> Tensor:
    sums, first = [], 0
    for count in counts:
        chosen = slice(first, first + count)
        sums.append((weights[chosen, None] * table[rows[chosen].long()]).sum(0))
        first += count
    return torch.stack(sums)


@pytest.mark.parametrize('counts', [[3, 1, 2], [0, 4, 0, 0, 2], [0, 0], [1], [40, 0, 60]])
@pytest.mark.parametrize('index_type', [torch.int32, torch.int64])
def test_values_and_gradients_equal_a_loop(counts, index_type, dtype):
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(7, 5, dtype=dtype, generator=generator)
    rows = torch.randint(0, 7, (sum(counts),), generator=generator).to(index_type)
    weights = torch.randn(sum(counts), dtype=dtype, generator=generator)
    offsets = segment_offsets(torch.tensor(counts))
    assert_same_gradients(
        lambda table, weights: (weighted_segment_sum(table, rows, weights, offsets),),
        lambda table, weights: (looped(table, rows, weights, counts),),
        table,
        weights,
    )


def test_no_segments():
    sums = weighted_segment_sum(
        torch.ones(3, 2), torch.zeros(0).int(), torch.zeros(0), segment_offsets(torch.zeros(0).int())
    )
    assert sums.shape == (0, 2)
