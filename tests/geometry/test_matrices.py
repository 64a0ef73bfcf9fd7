"""Small matrices without matrix units."""

from __future__ import annotations

import torch

from projects.DistillNeRF.geometry.matrices import inverse, multiply, transform


def random_matrices(*shape: int) -> torch.Tensor:
    torch.manual_seed(0)
    return torch.eye(shape[-1], dtype=torch.float64) + 0.3 * torch.rand(*shape, dtype=torch.float64)


def test_products_are_those_of_linear_algebra(device):
    matrices, others = random_matrices(2, 5, 3, 3), torch.rand(5, 3, 4, dtype=torch.float64)
    torch.testing.assert_close(multiply(matrices, others), matrices @ others)
    points = torch.rand(2, 5, 7, 3, dtype=torch.float64)
    torch.testing.assert_close(transform(matrices, points), points @ matrices.transpose(-1, -2))
    grid = torch.rand(6, 7, 3, dtype=torch.float64)
    expected = torch.einsum('abij,hwj->abhwi', matrices, grid)
    torch.testing.assert_close(transform(matrices, grid, points=2), expected)


def test_a_sum_begins_with_the_first_term(device):
    """The order decides about the last bits: 1e8 - 1e8 + 1, but 1 is lost beside 1e8."""
    matrix = torch.ones(3, 3)
    assert transform(matrix, torch.tensor([[1e8, -1e8, 1.0], [1.0, 1e8, -1e8]])).tolist() == [[1.0] * 3, [0.0] * 3]
    assert multiply(torch.tensor([[1e8, -1e8, 1.0, 0.0]]), torch.ones(4, 1)).item() == 1


def test_inverses(device):
    matrices = random_matrices(4, 2, 3, 3)
    torch.testing.assert_close(inverse(matrices), torch.linalg.inv(matrices))
    singular = matrices.clone()
    singular[0, 0, 2] = 2 * singular[0, 0, 1]
    found = inverse(singular)
    assert not found[0, 0].isfinite().all() or found[0, 0].abs().max() > 1e10
    torch.testing.assert_close(found[1:], torch.linalg.inv(matrices)[1:])


def test_the_inverse_of_a_pinhole_matrix_is_as_good_as_its_dtype(device):
    matrix = torch.tensor([[1266.4, 0.3, 816.3], [0, 1266.1, 491.5], [0, 0, 1]])
    exact = torch.linalg.inv(matrix.double())
    known = exact != 0
    assert ((inverse(matrix) - exact).abs()[known] / exact.abs()[known]).max() < 4 * torch.finfo(torch.float32).eps
    assert (inverse(matrix)[~known] == 0).all()
