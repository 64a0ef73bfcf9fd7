"""The parameterised space against the published vectors, and as a pair of inverse maps."""

from __future__ import annotations

import torch

from projects.DistillNeRF.modules.space import ParameterizedSpace, contract


def test_bin_edges_ascend_and_stay_before_the_far_plane():
    space = ParameterizedSpace(inner_range=20, contract_ratio=0.7, near=0.5, step=1.0, outer_step=2.0, far=60)
    edges = space.bin_edges(torch.empty((), dtype=torch.float64))
    assert edges.dtype == torch.float64
    assert edges[0] == 0.5
    assert edges[-1] < 60
    assert (edges.diff() > 0).all()
    # Beyond the inner range the steps are equal in s.
    torch.testing.assert_close(contract(edges[edges >= 20], 20, 0.7).diff().std(), torch.tensor(0.0).double())


def test_expand_inverts_contract_on_every_axis():
    space = ParameterizedSpace()
    points = torch.randn(1000, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 60
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
