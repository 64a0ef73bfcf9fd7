"""Options of the depth nets that are off in the published network."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from projects.DistillNeRF.geometry.views import Views, mirror_views
from projects.DistillNeRF.losses.modules import DepthBinsLoss
from projects.DistillNeRF.models.network import DistillNeRF
from projects.DistillNeRF.models.objective import Objective
from projects.DistillNeRF.utils.errors import InputError
from tests.helpers.networks import TINY, lidar_views

BINS = {'number': 12, 'near': 0.5, 'far': 30.0}
ALL = {**TINY, 'coarse': {**TINY['coarse'], 'distribution': 'softmax'}, 'depth_bins': BINS, 'ray_inputs': True}


def network(**changes: object) -> DistillNeRF:
    torch.manual_seed(0)
    return DistillNeRF(**{**TINY, **changes})


def raised(views: Views, meters: float) -> Views:
    poses = views.cameras.cam2world.clone()
    poses[:, 2, 3] += meters
    return replace(views, cameras=replace(views.cameras, cam2world=poses))


def test_off_they_change_neither_names_nor_a_bit():
    """An explicit off is what nothing said: names, weights of a seed, and the published bins."""
    plain = network()
    off = network(coarse={**TINY['coarse'], 'distribution': 'density'}, depth_bins=None, ray_inputs=False)
    assert all(torch.equal(a, b) for a, b in zip(plain.state_dict().values(), off.state_dict().values(), strict=True))
    views = lidar_views(2, 0)
    assert torch.equal(plain.bin_edges(views.images), plain.space.bin_edges(views.images))
    assert torch.equal(plain.depth_inputs([views]), views.images)
    assert plain.coarse_net.pyramid.stem.weight.shape[1] == plain.fine_net.pyramid.stem.weight.shape[1] == 3
    assert set(plain.state_dict()) == set(network(**ALL).state_dict())


def test_all_of_them_together_make_scenes_and_learn():
    made, views = network(**ALL), lidar_views(2, 0)
    (encoded,) = made.encode([views])
    assert encoded.coarse.weights.shape[-1] == 12 and encoded.coarse.edges.shape == (2, 13)
    torch.testing.assert_close(encoded.coarse.weights.sum(-1), torch.ones_like(encoded.coarse.depth))
    assert encoded.coarse.depth.min() > 0.5 and encoded.coarse.depth.max() < 30
    rendering = encoded.scene.render(views.cameras)
    losses = Objective({'lidar_bins': DepthBinsLoss()}, made.space, False)([encoded], [rendering], [views], [views])
    losses['loss_lidar_bins_coarse'].backward()
    for name, parameter in made.coarse_net.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
    assert made.coarse_net.pyramid.stem.weight.grad[:, 3:].any() and made.coarse_net.head[0].weight.grad[:, 8:].any()


def test_samples_of_a_batch_keep_their_own_bins_and_rays():
    made = network(**ALL)
    samples = [lidar_views(2, 0), raised(lidar_views(1, 1), 2.0)]
    together, alone = made.encode(samples), [made.encode([views])[0] for views in samples]
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(one.coarse.depth, other.coarse.depth, rtol=1e-4, atol=1e-4)
        assert torch.equal(one.coarse.edges, other.coarse.edges)


@pytest.mark.parametrize('change', ['height', 'focal length', 'turn'])
def test_depth_follows_the_camera_only_with_its_rays(change):
    views = lidar_views(2, 0)
    if change == 'height':
        other = raised(views, 1.0)
    elif change == 'focal length':
        matrices = views.cameras.intrinsics.clone()
        matrices[:, :2, :2] *= 2
        other = replace(views, cameras=replace(views.cameras, intrinsics=matrices))
    else:
        other = replace(views, cameras=replace(views.cameras, cam2world=views.cameras.cam2world.flip(0)))
    with torch.no_grad():
        for rays in (False, True):
            made = network(ray_inputs=rays)
            first, second = (made.depths([v])[0].depth for v in (views, other))
            assert torch.equal(first, second) != rays


def test_mirrored_views_have_mirrored_inputs():
    made, views = network(**ALL), lidar_views(2, 0)
    plain, mirrored = made.depth_inputs([views]), made.depth_inputs([mirror_views(views)])
    signs = torch.tensor([1.0, 1, 1, -1, 1, 1, 1, 1])[:, None, None]
    torch.testing.assert_close(mirrored, plain.flip(-1) * signs)


def test_bins_that_cannot_be_are_refused():
    with pytest.raises(InputError, match='depth_bins'):
        network(depth_bins={'number': 1})


def test_bins_follow_the_focal_length_of_each_camera():
    """The same images are twice as deep for cameras of twice the focal length, and a batch keeps them apart."""
    made = network(
        **{**ALL, 'depth_bins': {'number': 12, 'near': 0.5, 'far': 1e6, 'focal': 40 / 24}, 'ray_inputs': False}
    )
    views = lidar_views(2, 0)
    matrices = views.cameras.intrinsics.clone()
    matrices[:, :2, :2] *= 2
    longer = replace(views, cameras=replace(views.cameras, intrinsics=matrices))
    with torch.no_grad():
        coarse, _ = made.depths([views, longer])
    torch.testing.assert_close(coarse.edges[2:, :-1], 2 * coarse.edges[:2, :-1])
    # An untrained net spreads its weights evenly: nothing is in the last bin, whose end stays where it is.
    assert coarse.depth[:2].max() < 100
    torch.testing.assert_close(coarse.depth[2:], 2 * coarse.depth[:2], rtol=1e-4, atol=0)
