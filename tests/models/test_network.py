"""The network as a whole: batches, published names, small and empty scenes."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from types import SimpleNamespace

import pytest
import torch

from projects.DistillNeRF.geometry.cameras import Cameras
from projects.DistillNeRF.models.conversion import PUBLISHED_VARIANTS, published_name, published_settings
from projects.DistillNeRF.models.network import DistillNeRF, Encoded, _distances
from projects.DistillNeRF.models.scene import Scene
from projects.DistillNeRF.modules.pooling import grow, pool_views
from projects.DistillNeRF.modules.voxels import VoxelGrid
from tests.helpers.data import published_checkpoint
from tests.helpers.networks import SMALL, small_network
from tests.helpers.views import random_views
from verification.parity.weights import rule_weight


def assert_same(ours: Encoded, expected: Encoded, cameras: Cameras) -> None:
    for part in ('coarse', 'fine'):
        for field in fields(getattr(ours, part)):
            torch.testing.assert_close(
                getattr(getattr(ours, part), field.name), getattr(getattr(expected, part), field.name)
            )
    assert torch.equal(ours.scene.grid.fine_codes, expected.scene.grid.fine_codes)
    torch.testing.assert_close(ours.scene.fine, expected.scene.fine)
    torch.testing.assert_close(ours.scene.coarse, expected.scene.coarse)
    one, other = ours.scene.render(cameras), expected.scene.render(cameras)
    for field in fields(one):
        torch.testing.assert_close(getattr(one, field.name), getattr(other, field.name))


@pytest.mark.parametrize('counts', [(2, 2), (1, 3, 2), (1,)])
def test_a_batch_equals_its_samples_one_by_one(counts):
    network = small_network()
    batch = [random_views(count, seed) for seed, count in enumerate(counts)]
    together = network.encode(batch)
    assert [len(encoded.coarse.depth) for encoded in together] == list(counts)
    for views, encoded in zip(batch, together, strict=True):
        assert_same(encoded, network.encode([views])[0], views.cameras)


def test_a_batch_may_mix_image_sizes():
    network = small_network()
    batch = [random_views(2, 0), random_views(1, 1, height=20, width=24)]
    for views, encoded in zip(batch, network.encode(batch), strict=True):
        assert encoded.fine.depth.shape[1:] == views.images.shape[2:]
        assert_same(encoded, network.encode([views])[0], views.cameras)


@pytest.mark.parametrize('neighbors', [2, 26])
def test_grown_cells_are_filled_by_the_sparse_network(neighbors):
    """They are new cells of zeros, which have densities and gradients like all others."""
    views, plain, growing = (
        random_views(2, 0),
        small_network(),
        small_network(voxel={**SMALL['voxel'], 'grow': neighbors}),
    )
    growing.load_state_dict(plain.state_dict())
    pooled = pool_views(views.cameras, plain.encode([views])[0].fine, plain.space, *SMALL['levels'])
    grid, coarse = grow(pooled[0], pooled[1], neighbors)
    expected = plain.voxel_net(coarse, pooled[2], grid)
    scene, before = growing(views), plain(views)
    assert torch.equal(scene.coarse, expected) and torch.equal(scene.fine, before.fine)
    assert scene.grid.num_coarse > before.grid.num_coarse
    old = torch.isin(scene.grid.coarse_codes, before.grid.coarse_codes)
    assert torch.equal(coarse[old], pooled[1]) and not coarse[~old].any()
    (gradient,) = torch.autograd.grad(scene.coarse[~old][:, -1].sum(), growing.voxel_net.out.weight)
    assert gradient.abs().sum() > 0
    assert (scene.render(views.cameras).opacity != before.render(views.cameras).opacity).any()


def test_columns_of_points_close_more_cells_and_even_ones_are_refused():
    views, plain = random_views(2, 0), small_network(levels=(6, 7))
    columns = small_network(levels=(6, 7), rows_per_pixel=3)
    scene, before = columns(views), plain(views)
    assert scene.grid.num_coarse > before.grid.num_coarse and torch.equal(scene.fine, before.fine)
    with pytest.raises(ValueError, match='rows_per_pixel is 2: one of the rows is the middle; give 1, 3, 5'):
        small_network(rows_per_pixel=2)


def test_cells_grow_by_known_neighborhoods_or_not_at_all():
    with pytest.raises(ValueError, match='grow is 7: a cell grows by 2, 6, 26 neighbors, or 0'):
        small_network(voxel={'grow': 7})
    grid, _ = VoxelGrid.build(torch.arange(9).int(), 2, 3)
    coarse = torch.rand(grid.num_coarse, 2)
    assert grow(grid, coarse, 0) == (grid, coarse)


def test_the_order_of_cameras_does_not_matter():
    network = small_network()
    views = random_views(3, 0)
    scene, permuted = network(views), network(views[[2, 0, 1]])
    assert torch.equal(scene.grid.fine_codes, permuted.grid.fine_codes)
    torch.testing.assert_close(permuted.coarse, scene.coarse)


def test_the_choice_of_kernels_reaches_the_sparse_convolutions():
    assert small_network().voxel_net.out.kernels == 'auto'
    assert small_network(kernels='torch').voxel_net.out.kernels == 'torch'


@pytest.mark.parametrize('head', [SMALL['head'], {'type': 'feature', 'out_channels': 5}])
@pytest.mark.parametrize('quirks', [True, False])
def test_gradients_reach_every_parameter(head, quirks):
    network = small_network(head=head, published_quirks=quirks)
    views = random_views(2, 0)
    rendering = network(views).render(views.cameras)
    (rendering.image.square().sum() + rendering.depth.sum()).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


def test_rendering_without_gradient_in_chunks_is_the_same(monkeypatch):
    network = small_network()
    views = random_views(2, 0)
    scene = network(views)
    expected = scene.render(views.cameras)
    monkeypatch.setattr('projects.DistillNeRF.models.scene.SAMPLES_PER_CHUNK', 1000)
    with torch.no_grad():
        rendering = scene.render(views.cameras)
    for field in fields(rendering):
        torch.testing.assert_close(getattr(rendering, field.name), getattr(expected, field.name))


@pytest.mark.parametrize('head', [SMALL['head'], {'type': 'feature', 'out_channels': 5}])
def test_activation_checkpointing_keeps_less_and_changes_nothing(head, device):
    views = random_views(2, 0)
    results, kept = [], []
    for recompute in (False, True):
        network = small_network(head=head, activation_checkpointing=recompute, kernels='torch')
        sizes = {}
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t, sizes=sizes: sizes.update({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes()}) or t,
            lambda t: t,
        ):
            rendering = network(views).render(views.cameras)
        kept.append(sum(sizes.values()))
        (rendering.image.square().sum() + rendering.depth.sum()).backward()
        results.append((rendering.image.detach(), {name: p.grad for name, p in network.named_parameters()}))
    # GPUs add gradients in any order.
    tolerance = 0 if device.type == 'cpu' else 1e-9
    torch.testing.assert_close(results[1], results[0], rtol=tolerance, atol=tolerance)
    assert kept[1] < 0.7 * kept[0]


def test_jitter_is_random_and_off_by_default():
    scene, cameras = (network := small_network())(random_views(2, 0)), random_views(2, 0).cameras
    torch.testing.assert_close(scene.render(cameras).depths, scene.render(cameras).depths)
    assert not torch.equal(scene.render(cameras, jitter=True).depths, scene.render(cameras, jitter=True).depths)
    assert network.jitter is False


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
@pytest.mark.parametrize('head', [SMALL['head'], {'type': 'feature', 'out_channels': 5}])
def test_autocast_changes_precision_but_not_the_function(device, dtype, head):
    network = small_network(head=head).float()
    # Dense fog, so that rounding a depth moves no point far: what is compared is rounding.
    torch.nn.init.zeros_(network.coarse_net.head[-1].bias)
    views = random_views(2, 0).to(torch.float32)
    exact = network.encode([views])[0]
    expected = exact.scene.render(views.cameras)
    with torch.autocast(device.type, dtype=dtype):
        encoded = network.encode([views])[0]
        rendering = encoded.scene.render(views.cameras)
        of_exact_scene = exact.scene.render(views.cameras)
        loss = rendering.image.float().square().mean() + rendering.depth.mean() + encoded.fine.depth.mean()
    for tensor in (encoded.coarse.depth, encoded.fine.depth, encoded.scene.fine, encoded.scene.coarse, rendering.depth):
        assert tensor.dtype == torch.float32
    rounding = torch.finfo(dtype).eps
    for ours, other in ((encoded.coarse.depth, exact.coarse.depth), (encoded.fine.depth, exact.fine.depth)):
        assert (ours - other).abs().mean() < 4 * rounding * other.mean()
    torch.testing.assert_close(of_exact_scene.depth, expected.depth, rtol=1e-5, atol=1e-5)
    # Of the decoder alone, and of all; the norms of so small a network enlarge what is rounded.
    for ours, most in ((of_exact_scene, 6), (rendering, 12)):
        assert (ours.image - expected.image).abs().mean() < most * rounding * expected.image.abs().mean()
    loss.backward()
    for name, parameter in network.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name


def empty_scene(network: DistillNeRF) -> Scene:
    grid, _ = VoxelGrid.build(torch.zeros(0, dtype=torch.int32), network.coarse_level, network.fine_level)
    nothing = torch.zeros(0, 5, dtype=torch.float64)
    scene = network(random_views(1, 0))
    return replace(scene, grid=grid, coarse=nothing, fine=nothing)


@pytest.mark.parametrize('head', [SMALL['head'], {'type': 'feature', 'out_channels': 5}])
@pytest.mark.parametrize(('quirks', 'empty'), [(True, 1.8e-5), (False, 0.0)])
def test_an_empty_scene_is_transparent(head, quirks, empty):
    """As published, empty space has a density of 1.8e-5 per meter (foggy-empty-space)."""
    scene = empty_scene(small_network(head=head, published_quirks=quirks))
    rendering = scene.render(random_views(2, 0).cameras)
    assert torch.isfinite(rendering.image).all()
    assert rendering.opacity.max() < (1e-3 if quirks else 1e-6)
    density, occupied = scene.query(torch.zeros(4, 3, dtype=torch.float64))
    assert not occupied.any()
    torch.testing.assert_close(density, torch.full_like(density, empty), rtol=0.05, atol=1e-9)


def test_queries_find_what_was_pooled():
    network = small_network()
    scene = network(random_views(2, 0))
    centers = scene.space.expand(scene.grid.centers(5).double())
    density, occupied = scene.query(centers)
    assert occupied.all()
    expected = torch.exp(10 * torch.tanh(scene.fine[:, -1] / 10) - 1)
    torch.testing.assert_close(density, expected)


def test_odd_sizes_that_cannot_be_rendered_are_refused():
    scene = small_network()(random_views(1, 0))
    with pytest.raises(ValueError, match='19 x 34'):
        scene.render(random_views(1, 0, height=19).cameras)


def test_frozen_depth_features_must_match_the_network():
    views = random_views(1, 0)
    with pytest.raises(ValueError, match='hold none'):
        small_network()(replace(views, depth_features=None))
    without = small_network(coarse={**SMALL['coarse'], 'depth_channels': None})
    with pytest.raises(ValueError, match='built without'):
        without(views)
    assert without(replace(views, depth_features=None)).grid.num_fine > 0


@pytest.mark.parametrize('variant', PUBLISHED_VARIANTS)
def test_published_parameters_are_covered_exactly(variant: str):
    """Same names (the feature variants' checkpoints hold an unused decoder on top), sizes and counts."""
    entries, total = published_checkpoint(variant)
    shapes = {name.removeprefix('model.'): shape for name, (shape, _, kind) in entries.items() if kind == 'P'}
    network = DistillNeRF(**published_settings(variant))
    ours = {published_name(name): parameter for name, parameter in network.named_parameters()}
    assert len(ours) == sum(1 for _ in network.parameters())
    unused = {name for name in shapes if name.startswith('decoder.')} if network.head.renders == 'features' else set()
    frozen = {name for name in shapes if name.startswith('mono_depth_pretained_model.')}
    assert set(ours) == set(shapes) - unused - frozen
    for name, parameter in ours.items():
        assert [n for n in parameter.shape if n > 1] == [n for n in shapes[name] if n > 1], name
    assert sum(p.numel() for p in ours.values()) + sum(math.prod(shapes[name]) for name in unused) == total


def test_weights_of_the_rule_are_the_published_ones():
    """Check values of docs/NETWORK.md#weights-rule."""
    first = rule_weight('coarse_monodepth_estimator.depthnet.2.bias', (286,))
    assert first[:3].tolist() == pytest.approx([-18.0080338, -17.8973560, -18.1572075], abs=1e-6)
    weight = rule_weight(
        'multi_view_pooling_octree_encoder.sparse_voxel_convnet.init_conv.0.conv.weight', (27, 33, 128)
    )
    assert weight.astype('float64').sum() == pytest.approx(-5.587127992, abs=1e-6)


class Frozen:
    """In the place of the frozen depth network: gives ones, and remembers how many images it was asked about."""

    path = 'weights.pth'

    def __init__(self) -> None:
        self.asked: list[int] = []

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        self.asked.append(len(images))
        return torch.ones(len(images), 6, *images.shape[2:], dtype=images.dtype)


def test_the_frozen_network_makes_the_features_that_views_do_not_bring():
    network, frozen = small_network(), Frozen()
    network.frozen_depth = frozen
    given, bare = random_views(2, 0), replace(random_views(3, 1), depth_features=None)
    ready = replace(given, depth_features=torch.zeros(2, 6, 18, 34, dtype=torch.float64))
    features = network._depth_features([ready, bare])
    assert frozen.asked == [3]
    assert features.shape == (5, 6, 18, 34)
    assert not features[:2].any() and (features[2:] == 1).all()
    without = small_network(coarse={**SMALL['coarse'], 'depth_channels': None})
    without.frozen_depth = frozen
    assert without._depth_features([bare]) is None and frozen.asked == [3]


def test_a_scene_has_the_settings_of_its_network():
    network = small_network(downscale=1, sampling={'fine_samples': 7, 'stride': 2}, published_quirks=True)
    scene = network(random_views(1, 0))
    assert scene.downscale == 1 and scene.space is network.space and scene.head is network.head
    assert (scene.sampling.fine_samples, scene.sampling.stride, scene.sampling.published_quirks) == (7, 2, True)
    assert (scene.grid.coarse_level, scene.grid.fine_level) == (3, 5)
    assert scene.coarse.shape[1] == scene.fine.shape[1] == 4 + 1


def test_settings_that_are_not_given_are_the_published_ones():
    small = {'coarse': {'depth_channels': None, 'width': 2, 'channels': 4}, 'fine': {'width': 2, 'hidden': 2}}
    network = DistillNeRF(**small, voxel={'width': 4}, head={'width': 32})
    assert (network.coarse_level, network.fine_level, network.channels, network.downscale) == (7, 9, 32, 2)
    assert not network.published_quirks and not network.sampling.published_quirks and network.head.renders == 'rgb'
    assert network.fine_net.feature_head[-1].out_channels == 64


def test_the_fine_net_reads_the_feature_of_the_coarse_one():
    """One camera: what the encoder makes is what its parts make one after the other."""
    network, views = small_network(), random_views(2, 0)
    edges = network.space.bin_edges(views.images)
    coarse = network.coarse_net(views.images, views.depth_features, edges)
    fine = network.fine_net(views.images, coarse)
    (encoded,) = network.encode([views])
    torch.testing.assert_close(encoded.coarse.weights, coarse.weights)
    torch.testing.assert_close(encoded.fine.logits, fine.logits)
    grid, pooled_coarse, pooled_fine = pool_views(views.cameras, fine, network.space, 3, 5)
    torch.testing.assert_close(encoded.scene.fine, pooled_fine)
    torch.testing.assert_close(encoded.scene.coarse, network.voxel_net(pooled_coarse, pooled_fine, grid))


def test_where_fine_candidates_have_no_density_the_coarse_depth_is_that_of_the_source():
    coarse = SimpleNamespace(depth=torch.tensor([[[7.0, 8.0, 9.0]]]))
    candidates = torch.tensor([6.5, 7.0, 7.5]).expand(1, 1, 3, 3)
    fine = SimpleNamespace(depth=torch.tensor([[[6.8, 0.0, 7.2]]]), candidates=candidates)
    torch.testing.assert_close(_distances(coarse, fine), torch.tensor([[[6.8, 8.0, 7.2]]]))
