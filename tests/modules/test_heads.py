"""Heads: from composites to pixels."""

from __future__ import annotations

import pytest
import torch

from projects.DistillNeRF.modules.heads import ColorHead, FeatureHead, build_head
from projects.DistillNeRF.modules.renderer import VoxelTables
from projects.DistillNeRF.modules.voxels import VoxelGrid, point_codes


def tables(published_quirks: bool = False) -> VoxelTables:
    """Two fine cells in one coarse cell."""
    grid, _ = VoxelGrid.build(point_codes(torch.tensor([[0.1, 0.1, 0.1], [0.6, 0.6, 0.6]]), 2), 1, 2)
    fine = torch.tensor([[1.0, 2, 0], [3, 4, 0]])
    coarse = torch.tensor([[10.0, 20, 0]])
    return VoxelTables.build(grid, coarse, fine, logit_bound=10.0, published_quirks=published_quirks)


def test_color_composite_is_fine_then_coarse_then_zero():
    composite = ColorHead(2, width=32).compositor(tables())
    # Rows: fine 0 and 1, the coarse cell (2), empty (3).
    rows = torch.tensor([[0, 1, 2, 3], [3, 3, 3, 3], [2, 2, 3, 3]], dtype=torch.int32)
    weights = torch.tensor([[1.0, 0.5, 2, 7], [1, 1, 1, 1], [1, 1, 1, 1]])
    expected = torch.tensor([[2.5, 4, 35, 70, 0], [0, 0, 0, 0, 0], [0, 0, 20, 40, 0]])
    torch.testing.assert_close(composite(tables().hits(rows), weights), expected)


def test_feature_composite_applies_the_network_to_every_row():
    torch.manual_seed(0)
    head = FeatureHead(2, out_channels=3, bound=0.5)
    composite = head.compositor(tables())
    rows = torch.tensor([[0], [1], [2], [3]], dtype=torch.int32)
    inputs = torch.tensor([[1.0, 2, 10, 20], [3, 4, 10, 20], [0, 0, 10, 20], [0, 0, 0, 0]])
    expected = 0.5 * torch.tanh(head.net(inputs) / 0.5)
    torch.testing.assert_close(composite(tables().hits(rows), torch.ones(4, 1)), expected)
    weights = torch.tensor([[0.1, 0.2, 0.3, 0.15]])
    # Empty space is seen by what is left of the ray, too.
    seen = torch.tensor([0.1, 0.2, 0.3, 0.4])
    torch.testing.assert_close(composite(tables().hits(rows.T), weights), (seen @ expected)[None])


def test_feature_composite_of_foggy_space_leaves_the_rest_of_rays_out_as_published():
    torch.manual_seed(0)
    head = FeatureHead(2, out_channels=3, bound=0.5)
    foggy = tables(published_quirks=True)
    rows, weights = torch.tensor([[1, 3]], dtype=torch.int32), torch.tensor([[0.2, 0.3]])
    expected = 0.5 * torch.tanh(head.net(torch.tensor([[3.0, 4, 0, 0], [0, 0, 0, 0]])) / 0.5)
    torch.testing.assert_close(head.compositor(foggy)(foggy.hits(rows), weights), weights @ expected)


def test_a_ray_that_hits_nothing_has_the_features_of_empty_space():
    """It had -1 in all channels, of length 8, which is near to some class (docs/NETWORK.md#rendering)."""
    torch.manual_seed(0)
    head = FeatureHead(2, out_channels=64)
    rows, weights = torch.full((1, 4), 3, dtype=torch.int32), torch.zeros(1, 4)
    empty = head.net(torch.zeros(1, 4))
    torch.testing.assert_close(head.compositor(tables())(tables().hits(rows), weights), 10 * torch.tanh(empty / 10))


def test_color_head_enlarges_the_composite():
    head = ColorHead(2, width=32, num_layers=2, num_upsample=1)
    assert head(torch.randn(3, 5, 4, 6), torch.tensor([0, 1, 2])).shape == (3, 3, 8, 12)


def test_camera_classes_change_the_colors():
    torch.manual_seed(0)
    head = ColorHead(2, width=32)
    composite = torch.randn(1, 5, 4, 6)
    images = [head(composite, torch.tensor([i])) for i in range(3)]
    assert not torch.allclose(images[0], images[1])
    assert not torch.allclose(images[1], images[2])


def test_feature_head_returns_the_composite():
    composite = torch.randn(1, 64, 4, 6)
    assert FeatureHead(32)(composite, torch.tensor([1])) is composite


def test_heads_are_built_by_name():
    assert isinstance(build_head('color', 4, width=32), ColorHead)
    assert build_head('feature', 4, out_channels=7).net[-1].out_features == 7
    with pytest.raises(ValueError, match='color'):
        build_head('colors', 4)


def test_one_opaque_cell_renders_its_own_features():
    """A ray with weight 1 at one fine cell."""
    features = torch.tensor([[1.0, 2, 10, 20]])
    assert torch.equal(ColorHead(2, width=32).opaque(features), features)
    torch.manual_seed(0)
    head = FeatureHead(2, out_channels=3, bound=0.5)
    torch.testing.assert_close(head.opaque(features), 2 * 0.5 * torch.tanh(head.net(features) / 0.5) - 1)


def test_features_of_a_composite_are_those_of_the_voxels():
    composite = torch.tensor([1.0, 3, 19, 39, -1]).view(1, 5, 1, 1)
    assert ColorHead(2, width=32).features(composite).flatten().tolist() == [1, 2, 10, 20]


def test_settings_build_the_same_head_again():
    for head in (ColorHead(2, width=32, num_layers=3, num_upsample=2), FeatureHead(2, out_channels=7, bound=3.0)):
        again = build_head(**head.settings)
        assert type(again) is type(head) and again.settings == head.settings
        assert [p.shape for p in again.parameters()] == [p.shape for p in head.parameters()]
    assert (ColorHead.renders, FeatureHead.renders) == ('rgb', 'features')
    assert FeatureHead(2).bound == 10.0 and FeatureHead(2).net[-1].out_features == 64
