"""The kernel that finds crossings of rays and boxes, against all pairs in plain torch."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from projects.DistillNeRF.geometry.tensors import TensorFields
from projects.DistillNeRF.scene_nerf.crossings import _by_kernel, _plain, find_crossings


def boxes(count: int, generator: torch.Generator, spread: float = 20.0) -> Tensor:
    """Return boxes ``(m, 6, 3)`` of 1 to 6 m that are turned every way, on a shelf of their own."""
    rotations = torch.linalg.qr(torch.randn(count, 3, 3, generator=generator, dtype=torch.float64))[0]
    centers = torch.randn(count, 3, generator=generator, dtype=torch.float64) * torch.tensor([spread, spread, 1.0])
    low = torch.rand(count, 3, generator=generator, dtype=torch.float64) * 50
    high = low + 1 + 5 * torch.rand(count, 3, generator=generator, dtype=torch.float64)
    shifts = (low + high) / 2 - torch.einsum('mij,mj->mi', rotations, centers)
    return torch.cat([rotations, shifts[:, None], low[:, None], high[:, None]], 1)


def inputs(rays: int, count: int, seed: int = 0, far: float = 0.0) -> list[Tensor]:
    """Return rays, each with some of the boxes, the way :func:`find_crossings` takes them."""
    generator = torch.Generator().manual_seed(seed)
    table = boxes(count, generator)
    origins = torch.randn(rays, 3, generator=generator, dtype=torch.float64) * 3 + far
    directions = torch.randn(rays, 3, generator=generator, dtype=torch.float64) * torch.tensor([1, 1, 0.1])
    table[:, 3] -= far * table[:, :3].sum(2)
    firsts = torch.randint(0, count + 1, (rays,), generator=generator)
    counts = (torch.rand(rays, generator=generator) * (count + 1 - firsts)).long()
    return [origins, F.normalize(directions, dim=1), firsts, counts, table]


def assert_same(one: TensorFields, other: TensorFields, **close: float) -> None:
    for name in ('rays', 'ranks'):
        assert torch.equal(getattr(one, name), getattr(other, name))
    for name in ('spans', 'origins', 'directions'):
        torch.testing.assert_close(getattr(one, name), getattr(other, name), **close)


@pytest.mark.parametrize(('rays', 'count'), [(0, 0), (0, 3), (1, 0), (1, 1), (5, 1), (400, 40), (7, 300)])
def test_the_kernel_finds_what_all_pairs_find(rays, count):
    given = inputs(rays, count)
    assert_same(_by_kernel(*given), _plain(*given), rtol=1e-12, atol=1e-12)
    single = [x.float() if x.is_floating_point() else x for x in given]
    found = _by_kernel(*single)
    assert found.spans.dtype == torch.float32 and found.rays.dtype == torch.int64
    # Sums in another order: of some hundred random pairs none is so close to an edge.
    assert_same(found, _plain(*single), rtol=1e-5, atol=1e-4)


def test_many_crossings_of_few_rays():
    """More than there is room for at first."""
    given = inputs(2, 200, seed=1)
    given[2], given[3] = torch.zeros(2, dtype=torch.int64), torch.full((2,), 200)
    given[4][:, 4:] = torch.tensor([[-30.0, -30, -30], [30, 30, 30]], dtype=torch.float64)
    given[4][:, 3] = 0
    found = _by_kernel(*given)
    assert len(found.rays) == 400 and found.ranks.max() == 199
    assert_same(found, _plain(*given), rtol=1e-12, atol=1e-12)


def test_far_from_the_origin_of_the_scene():
    """Spheres that are passed are told in double precision: in single, boxes 5 km away would be missed."""
    given = inputs(400, 40, far=3000.0)
    exact = _plain(*given)
    assert len(exact.rays) > 20
    single = [x.float() if x.is_floating_point() else x for x in given]
    assert_same(_by_kernel(*single), _plain(*single), rtol=1e-4, atol=5e-3)


def test_rays_along_an_axis_from_within_and_turned_away():
    box = torch.cat([torch.eye(3), torch.zeros(1, 3), torch.tensor([[1.0, -1, -1], [3, 1, 1]])])[None]
    origins = torch.tensor([[0.0, 0, 0], [2, 0, 0], [4, 0, 0], [0, 1.5, 0], [2, -5, 0]])
    directions = torch.tensor([[1.0, 0, 0], [1, 0, 0], [1, 0, 0], [1, 0, 0], [0, 1, 0]])
    one = torch.zeros(5, dtype=torch.int64), torch.ones(5, dtype=torch.int64)
    found = find_crossings(origins, directions, *one, box)
    assert found.rays.tolist() == [0, 1, 4] and found.spans.tolist() == [[1, 3], [0, 1], [4, 6]]
    assert_same(found, _plain(origins, directions, *one, box), rtol=0, atol=0)


def test_gradients_of_rays_are_kept():
    given = inputs(50, 10, seed=2)
    given[1].requires_grad_()
    find_crossings(*given).spans.sum().backward()
    assert given[1].grad is not None and given[1].grad.abs().sum() > 0
