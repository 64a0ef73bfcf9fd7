"""Products and inverses of small matrices, element by element.

Matrix units of GPUs may round to TF32 or half precision, and autocast asks them to. Here every operation is rounded in
the dtype of the tensors and in one order, so that rays have the same bits on every device, whatever the precision of
the run. Nothing is fetched from the device.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor


def transform(matrices: Tensor, vectors: Tensor, points: int = 1) -> Tensor:
    """Multiply matrices with vectors: ``(m0 * x + m1 * y) + m2 * z`` for every row.

    Args:
        matrices: ``(..., 3, 3)``.
        vectors: ``(..., *P, 3)``, or ``(*P, 3)`` if they are the same for all matrices.
        points: how many dimensions P has.

    Returns:
        ``(..., *P, 3)``.
    """
    entries = matrices.reshape(*matrices.shape[:-2], *(1,) * points, 3, 3)
    x, y, z = vectors.unbind(-1)
    rows = [row[..., 0] * x + row[..., 1] * y + row[..., 2] * z for row in entries.unbind(-2)]
    return torch.stack(rows, dim=-1)


def multiply(first: Tensor, second: Tensor) -> Tensor:
    """Multiply matrices ``(..., n, k)`` and ``(..., k, m)`` to ``(..., n, m)``; the k products are added in order."""
    products = [first[..., :, k, None] * second[..., k, None, :] for k in range(first.shape[-1])]
    return functools.reduce(torch.add, products)


def inverse(matrices: Tensor) -> Tensor:
    """Invert matrices ``(..., 3, 3)`` by their cofactors; infinite or NaN for those that have no inverse."""
    a, b, c = matrices.unbind(-2)
    columns = [_cross(b, c), _cross(c, a), _cross(a, b)]
    x, y, z = (a * columns[0]).unbind(-1)
    return torch.stack(columns, dim=-1) / (x + y + z)[..., None, None]


def _cross(a: Tensor, b: Tensor) -> Tensor:
    """Return the cross products of ``(..., 3)``; kernels that do it at once may fuse products and differences."""
    return a.roll(-1, -1) * b.roll(-2, -1) - a.roll(-2, -1) * b.roll(-1, -1)
