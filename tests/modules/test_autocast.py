"""What autocast must not reach."""

from __future__ import annotations

import pytest
import torch

from projects.DistillNeRF.modules.autocast import exact_einsum, full_precision


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


def test_an_einsum_keeps_its_precision_under_autocast():
    # 1 + 2^-12 needs 13 bits, bfloat16 has 8.
    row, matrix = torch.tensor([1.0, 2.0**-12]), torch.tensor([[1.0, 0.0], [1.0, 5.0]])
    with torch.autocast('cpu', dtype=torch.bfloat16):
        product = exact_einsum('j,jk->k', row, matrix)
        assert torch.is_autocast_enabled('cpu')
    assert product.dtype == torch.float32
    assert product.tolist() == [1 + 2.0**-12, 5 * 2.0**-12]
