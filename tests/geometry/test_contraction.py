"""The parameterized space against the published vectors, and as a pair of inverse maps."""

from __future__ import annotations

import pytest
import torch

from projects.DistillNeRF.geometry.contraction import ParameterizedSpace, contract, expand


def test_bin_edges_ascend_and_stay_before_the_far_plane(dtype):
    space = ParameterizedSpace(inner_range=20, contract_ratio=0.7, near=0.5, step=1.0, outer_step=2.0, far=60)
    edges = space.bin_edges(torch.empty((), dtype=dtype))
    assert edges.dtype == torch.float64
    assert edges[0] == 0.5
    assert edges[-1] < 60
    assert (edges.diff() > 0).all()
    # Beyond the inner range the steps are equal in s.
    torch.testing.assert_close(contract(edges[edges >= 20], 20, 0.7).diff().std(), torch.tensor(0.0).double())


def test_expand_inverts_contract_on_every_axis(dtype):
    space = ParameterizedSpace()
    points = torch.randn(1000, 3, dtype=dtype, generator=torch.Generator().manual_seed(0)) * 60
    inside = space.contract(points)
    assert inside.abs().max() < 1
    torch.testing.assert_close(space.expand(inside), points)


def test_axes_have_their_own_inner_range():
    space = ParameterizedSpace(inner_range=50, inner_range_z=6.4, contract_ratio=0.8)
    inside = space.contract(torch.tensor([[25.0, -50, 6.4], [100, 0, -12.8]]))
    torch.testing.assert_close(inside, torch.tensor([[0.4, -0.8, 0.8], [0.9, 0, -0.9]]))


def test_the_origin_stays():
    """The branch for the outside divides by zero there."""
    assert ParameterizedSpace().contract(torch.zeros(1, 3)).tolist() == [[0, 0, 0]]


SMALL = {'inner_range': 10.0, 'contract_ratio': 0.5, 'near': 1.0, 'step': 2.0, 'far': 20.0}


@pytest.mark.parametrize(
    ('changes', 'stride', 'expected'),
    [
        # Outside, s goes on from 0.5 by 2 / 10 * 0.5 = 0.1 up to s(20) = 0.75, and x = 5 / (1 - s).
        ({}, 1, [1, 3, 5, 7, 9, 10, 12.5, 50 / 3]),
        # Twice as wide, inside and outside.
        ({}, 2, [1, 5, 9, 10, 50 / 3]),
        ({'outer_step': 2.0}, 1, [1, 3, 5, 7, 9, 10, 50 / 3]),
        # All of the space is inside.
        ({'far': 8.0}, 1, [1, 3, 5, 7, 9, 10]),
    ],
)
def test_bin_edges_by_hand(changes, stride, expected, dtype):
    edges = ParameterizedSpace(**SMALL | changes).bin_edges(torch.empty((), dtype=dtype), stride)
    torch.testing.assert_close(edges, torch.tensor(expected, dtype=dtype))


def test_edges_are_kept_for_every_space_stride_and_precision_apart():
    space = ParameterizedSpace(**SMALL)
    made = [
        space.bin_edges(torch.empty((), dtype=kind), stride)
        for kind in (torch.float32, torch.float64)
        for stride in (1, 2)
    ]
    assert [edges.dtype for edges in made] == [torch.float32] * 2 + [torch.float64] * 2
    assert [len(edges) for edges in made] == [8, 5, 8, 5]
    assert len(ParameterizedSpace(**SMALL | {'near': 3.0}).bin_edges(torch.empty(()))) == 7
    with torch.inference_mode():
        inside = ParameterizedSpace(**SMALL | {'near': 5.0}).bin_edges(torch.empty(()))
    assert not inside.is_inference()


def test_contraction_by_hand():
    x = torch.tensor([-1000.0, -20, -10, -5, 0, 5, 10, 20])
    s = torch.tensor([-0.995, -0.75, -0.5, -0.25, 0, 0.25, 0.5, 0.75])
    torch.testing.assert_close(contract(x, 10.0, 0.5), s)
    torch.testing.assert_close(expand(s, 10.0, 0.5), x, rtol=1e-4, atol=1e-6)


def test_axes_one_by_one_are_contracted_like_points():
    space = ParameterizedSpace(inner_range=10, inner_range_z=2, contract_ratio=0.5)
    points = torch.tensor([[5.0, -20, 4], [-20, 5, -1]])
    expected = torch.tensor([[0.25, -0.75, 0.75], [-0.75, 0.25, -0.25]])
    torch.testing.assert_close(space.contract(points), expected)
    torch.testing.assert_close(torch.stack(space.contract_axes(points.unbind(1)), 1), expected)
    torch.testing.assert_close(space.expand(expected), points)


def test_usual_settings_are_the_published_ones():
    assert ParameterizedSpace() == ParameterizedSpace(50.0, 6.4, 0.8, 0.1, 0.2, 1.0, 120.0)
