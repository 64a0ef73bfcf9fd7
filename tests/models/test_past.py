"""The network with one past glance: a world of a wall and boxes that come and go, gradients, batches, colors."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from unittest import mock

import pytest
import torch
from torch import Tensor

from projects.DistillNeRF.apis import reconstruct
from projects.DistillNeRF.geometry.cameras import Cameras
from projects.DistillNeRF.geometry.views import Views
from projects.DistillNeRF.models.network import DistillNeRF
from projects.DistillNeRF.models.scene import Scene
from projects.DistillNeRF.modules.coarse_depth import CoarseDepth
from projects.DistillNeRF.modules.fine_depth import FineDepth
from projects.DistillNeRF.modules.source_views import Sources
from projects.DistillNeRF.utils.errors import InputError
from tests.helpers.cameras import level_cameras
from tests.helpers.networks import TINY, small_network, tiny_model
from tests.helpers.views import make_views, random_views
from tests.models.test_network import assert_same

# Feature and occupancy of everything that the stand-ins of the depth nets lift.
NOW, THEN, OCCUPANCY = 1.0, 3.0, 0.9


def with_past(views: Views, past: Views) -> Views:
    return replace(views, past=replace(past, frames=(-1,) * len(past)))


def pair(count: int, seed: int) -> Views:
    return with_past(random_views(count, seed), random_views(count + 1, seed + 50))


# What is in the voxels.


def distances(cameras: Cameras, box: tuple[float, float, float]) -> Tensor:
    """Return how far walls at y = 10 and y = -8 m and a box (left, right, front; 2 m high) are, ``(V, H, W)``."""
    origins, directions = cameras.rays(cameras.height, cameras.width)
    origins = origins[:, None, None]
    ahead, behind = ((y - origins[..., 1]) / directions[..., 1] for y in (10.0, -8.0))
    far = torch.where(ahead > 0, ahead, behind)
    left, right, front = box
    before = (front - origins[..., 1]) / directions[..., 1]
    hit = origins + before[..., None] * directions
    on_box = (before > 0) & (hit[..., 0] > left) & (hit[..., 0] < right) & (hit[..., 2].abs() < 1)
    return torch.where(on_box, before, far)


def lifted(known: Tensor, feature: float, channels: int) -> tuple[CoarseDepth, FineDepth]:
    """Return what the depth nets would say if they knew distances ``(V, H, W)``."""
    count, *size = known.shape
    candidates = known[..., None] * known.new_tensor([0.99, 1.0, 1.01])
    occupancy = torch.full_like(candidates, OCCUPANCY)
    features = known.new_full((count, channels, *size), feature)
    fine = FineDepth(known, candidates[..., 1:] * 0, candidates, occupancy, (2 * occupancy - 1) * 30, features)
    weights = known.new_zeros(count, *size, 1)
    return CoarseDepth(known, weights, features, known.new_zeros(count, 2)), fine


@pytest.fixture(scope='module')
def town() -> Scene:
    """Then a box stood ahead, which is gone; now another one hides a part of the wall; a camera looked back then."""
    space = {'inner_range': 20, 'inner_range_z': 6, 'step': 1.0, 'far': 60}
    network = DistillNeRF(**{**TINY, 'levels': (5, 7), 'space': space}, num_past=1).double()
    present, before = (level_cameras(yaws, 96, 160).to(torch.float64) for yaws in ((0.0,), (0.0, 180.0)))
    before.cam2world[0, 1, 3] = -2.0
    views = with_past(make_views(present, 0.5), make_views(before, 0.5))
    depths = {
        1: lifted(distances(present, (-4.0, -2.0, 4.0)), NOW, 2 * network.channels),
        2: lifted(distances(before, (-1.0, 1.0, 5.0)), THEN, 2 * network.channels),
    }
    with mock.patch.object(network, 'depths', lambda batch, others: depths[len(batch[0])]), torch.no_grad():
        return network.encode([views])[0].scene


def cell(scene: Scene, x: float, y: float, z: float) -> tuple[float, float] | None:
    """Return feature and density logit of the fine cell at a point; None if it is not occupied."""
    row = scene.grid.rows(scene.space.contract(torch.tensor([[x, y, z]], dtype=torch.float64))).item()
    return None if row >= scene.grid.num_fine else (scene.fine[row, 0].item(), scene.fine[row, -1].item())


def test_a_wall_that_stands_is_averaged(town):
    feature, logit = cell(town, 2.0, 10.0, 0.1)
    assert OCCUPANCY * NOW < feature < OCCUPANCY * THEN and logit == pytest.approx(24, abs=1)


def test_a_box_that_is_gone_is_gone(town):
    assert cell(town, 0.1, 5.0, 0.1) is None and cell(town, -0.6, 5.0, -0.4) is None


def test_a_box_that_has_come_is_there(town):
    assert cell(town, -3.0, 4.0, 0.1) == pytest.approx((OCCUPANCY * NOW, 24.0))


def test_the_wall_that_is_hidden_now_is_that_of_the_past(town):
    assert cell(town, -7.5, 10.0, 0.1) == pytest.approx((OCCUPANCY * THEN, 24.0), rel=1e-3)


def test_what_no_image_sees_now_is_that_of_the_past(town):
    assert cell(town, 1.0, -8.0, 0.1) == pytest.approx((OCCUPANCY * THEN, 24.0), rel=1e-12)


# Off, and on without a past, nothing changes.


def test_without_the_option_a_past_is_ignored_bit_by_bit():
    network, views = small_network(), pair(2, 0)
    assert not any('agreement' in name for name in network.state_dict())
    assert_equal(network(views), network(replace(views, past=None)))


def test_a_sample_without_a_past_is_as_without_the_option_bit_by_bit():
    network, plain, views = small_network(num_past=1), small_network(), random_views(2, 0)
    own = {'agreement.log_tolerance', 'agreement.log_temperature'}
    assert set(network.state_dict()) - set(plain.state_dict()) == own
    assert_equal(network(views), plain(views))


def assert_equal(one: Scene, other: Scene) -> None:
    assert torch.equal(one.grid.fine_codes, other.grid.fine_codes)
    assert torch.equal(one.fine, other.fine) and torch.equal(one.coarse, other.coarse)


def test_a_batch_with_and_without_past_equals_its_samples_one_by_one():
    network = small_network(num_past=1, rows_per_pixel=3)
    batch = [pair(2, 0), random_views(1, 1), pair(1, 2)]
    for views, encoded in zip(batch, network.encode(batch), strict=True):
        assert len(encoded.coarse.depth) == len(views)
        assert_same(encoded, network.encode([views])[0], views.cameras)
    plain = network(replace(batch[0], past=None))
    assert network(batch[0]).grid.num_fine > plain.grid.num_fine


def test_numbers_of_past_frames_that_are_not_known_are_refused():
    with pytest.raises(ValueError, match='num_past is 2: give 1'):
        small_network(num_past=2)
    with pytest.raises(ValueError, match='set num_past=1, too'):
        small_network(source_blend={'past': True})


# Gradients.


@pytest.mark.parametrize('trained', [False, True])
def test_the_nets_are_trained_through_the_past_only_if_that_is_asked_for(trained):
    network, views = small_network(num_past=1, past_gradient=trained), pair(2, 0)
    for part in (views, views.past):
        part.images.requires_grad_()
    rendering = network(views).render(views.cameras)
    (rendering.rgb.square().sum() + rendering.depth.sum()).backward()
    assert views.images.grad.abs().sum() > 0
    through_past = views.past.images.grad
    assert (through_past.abs().sum() > 0) if trained else through_past is None
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
    assert network.agreement.log_temperature.grad != 0 and network.agreement.log_tolerance.grad != 0


def test_under_autocast_weights_that_the_past_was_computed_with_keep_their_gradient():
    network, views = small_network(num_past=1).float(), pair(2, 0).to(torch.float32)
    with torch.autocast('cpu', torch.bfloat16):
        scenes = [encoded.scene for encoded in network.encode([views, random_views(1, 1, 20, 24).to(torch.float32)])]
    (scenes[0].fine.square().sum() + scenes[1].coarse.square().sum()).backward()
    for name, parameter in network.named_parameters():
        if name.startswith(('coarse_net', 'fine_net')):
            assert parameter.grad is not None and parameter.grad.isfinite().all(), name


# Plane sweep: depth from what the past shows.


def sweeping(**changes: object) -> DistillNeRF:
    """The small network with a plane sweep of random weights."""
    network = small_network(plane_sweep={'channels': 4, 'groups': 2}, **changes)
    generator = torch.Generator().manual_seed(3)
    for parameter in network.plane_sweep.parameters():
        parameter.data = 0.5 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return network


def overlapping(seed: int) -> Views:
    """Views to all sides, and as many from two meters behind."""
    cameras = level_cameras((0.0, 60.0), 18, 34).to(torch.float64)
    before = replace(cameras, cam2world=cameras.cam2world.clone())
    before.cam2world[:, 1, 3] -= 2.0
    now, then = (random_views(2, seed + k) for k in (0, 50))
    return with_past(replace(now, cameras=cameras), replace(then, cameras=before))


def test_a_plane_sweep_adds_nothing_at_first_bit_by_bit():
    network, plain = (small_network(num_past=1, **own) for own in ({'plane_sweep': {}}, {}))
    own = set(network.state_dict()) - set(plain.state_dict())
    assert own and all(name.startswith('plane_sweep.') for name in own)
    views = overlapping(0)
    assert_equal(network(views), plain(views))


def test_with_a_plane_sweep_depth_depends_on_the_past_images():
    views = overlapping(0)
    brighter = replace(views, past=replace(views.past, images=views.past.images.flip(-1)))
    for network, depends in ((small_network(num_past=1), False), (sweeping(num_past=1), True), (sweeping(), False)):
        one, other = (network.encode([sample])[0].coarse.depth for sample in (views, brighter))
        assert torch.equal(one, other) != depends
    # The past views see the present ones, too.
    changed = replace(views, images=views.images.flip(-1))
    past = [sweeping(num_past=1)._past_depths([sample])[0][0].depth for sample in (views, changed)]
    assert not torch.equal(*past)


def test_a_sweep_of_a_batch_is_that_of_its_samples_and_trains_all_its_weights():
    network = sweeping(num_past=1)
    batch = [overlapping(0), replace(overlapping(1), past=None), overlapping(2)[[0]]]
    batch = [replace(views, depth_features=batch[0].depth_features[: len(views)]) for views in batch]
    together = network.encode(batch)
    for views, encoded in zip(batch, together, strict=True):
        assert_same(encoded, network.encode([views])[0], views.cameras)
    sum(encoded.coarse.depth.log().sum() for encoded in together).backward()
    for name, parameter in network.plane_sweep.named_parameters():
        assert parameter.grad.isfinite().all() and parameter.grad.any(), name


# What is wrong with a past.


def test_pasts_that_cannot_be_are_refused():
    views = random_views(2, 0)
    for past, message in (
        (random_views(2, 1, height=20), r'past images are \(20, 34\), the others \(18, 34\)'),
        (pair(1, 3), 'past has a past of its own'),
        (views[:0], 'past has no views'),
    ):
        with pytest.raises(ValueError, match=message):
            replace(views, past=past)


def test_the_past_is_checked_as_the_present_is():
    network, views = small_network(num_past=1), pair(2, 0)
    assert reconstruct(network, views).grid.num_fine
    views.past.images[0, 0, 0, 0] = math.nan
    with pytest.raises(ValueError, match='holds NaN'):
        reconstruct(network, views)


# Colors of the past.


def seen_twice() -> Views:
    """Two cameras that go on by half a meter."""
    present = level_cameras((0.0, 50.0), 16, 24)
    before = present.to(torch.float32)
    poses = before.cam2world.clone()
    poses[:, 1, 3] -= 0.5
    before = replace(before, cam2world=poses)
    generator = torch.Generator().manual_seed(4)
    images = torch.rand(2, 2, 3, 16, 24, generator=generator)
    return with_past(make_views(present, images[0]), make_views(before, images[1]))


def shown(model, views: Views, targets: Views, changed: slice) -> bool:
    """Tell whether the colors of targets change with those of some sources, where these are looked up alone."""
    images = []
    for change in (False, True):

        def sources(image: Tensor, *rest, change: bool = change, **others) -> Sources:
            image = image.clone()
            if change and len(image) > 2:
                image[changed] = 1 - image[changed]
            return Sources(image, *rest, **others)

        batch = {'input_views': [views], 'target_views': [targets]}
        with mock.patch('projects.DistillNeRF.models.network.Sources', sources), torch.no_grad():
            images.append(model(batch, mode='tensor')[1][0].rgb)
    return not torch.equal(*images)


def test_the_past_gives_colors_but_not_to_the_view_that_it_is():
    torch.manual_seed(0)
    model, views = tiny_model(source_blend={'count': 4, 'channels': 8, 'past': True}, num_past=1), seen_twice()
    before, first, second = replace(views.past, past=None), slice(2, 3), slice(3, 4)
    # As views of the keyframe before, and, from the same place, of one that is no input.
    assert not shown(model, views, before[:1], first) and shown(model, views, before[:1], second)
    assert shown(model, views, replace(before, frames=(-2, -2))[:1], first)
    # The present is seen by the past, and withheld from itself alone.
    present = replace(views, past=None)[:1]
    assert shown(model, views, present, first) and not shown(model, views, present, slice(0, 1))
    plain = tiny_model(source_blend={'count': 4, 'channels': 8}, num_past=1)
    assert not shown(plain, views, present, slice(None))


@pytest.mark.parametrize('past', [False, True])
def test_features_are_those_of_the_sources_too_and_are_learned_through_them(past):
    """Voxels and sources both get a gradient; with the past, its views have features as well."""
    blend = {'count': 2, 'channels': 8, 'past': past}
    head = {'type': 'feature', 'out_channels': 5}
    model = tiny_model({'features': {'type': 'FeatureL2Loss'}}, head=head, source_blend=blend, num_past=int(past))
    views = replace(seen_twice(), features=torch.rand(2, 5, 4, 6))
    encoded, renderings = model({'input_views': [views], 'target_views': [replace(views, past=None)]}, mode='tensor')
    sources = encoded[0].scene.sources
    assert sources.features.shape == (4 if past else 2, 5, 16, 24) and sources.features.isfinite().all()
    assert renderings[0].features.shape == (2, 5, 8, 12)
    losses = model({'input_views': [views], 'target_views': [replace(views, past=None)]}, mode='loss')
    losses['loss_features'].backward()
    network = model.network
    for part in (network.blend.project[0], network.blend.last, network.head.net[0]):
        assert part.weight.grad.abs().sum() > 0
    with pytest.raises(ValueError, match='follows from the head'):
        tiny_model(source_blend={'features': (5, 8)})


def test_a_past_source_counts_less_where_it_is_not_where_the_voxels_are():
    """At first: both sources see the same colors, of which those of the past are 30 % farther than the voxels."""
    model, views = tiny_model(source_blend={'count': 2, 'channels': 8, 'past': True}, num_past=1), seen_twice()
    blend, camera = model.network.blend, views.cameras[[0]]
    images = torch.stack([torch.full((3, 16, 24), 0.0), torch.full((3, 16, 24), 1.0)])
    twice = camera.joined(camera)
    near = torch.full((1, 16, 24), 10.0)
    rendered = torch.full((1, 3, 16, 24), 0.5), near, torch.ones(1, 16, 24)
    weights = {}
    for factor in (1.0, 1.3):
        sources = Sources(images, twice, torch.cat([near, factor * near]), torch.tensor([False, True]))
        blended = blend(sources, camera, *rendered, 60.0)
        weights[factor] = (blended.values.mean() - 0.5).item()
    assert abs(weights[1.0]) < 1e-3 and weights[1.3] < -0.1


@torch.no_grad()
def test_a_scene_with_a_past_is_saved_and_renders_alone(tmp_path):
    for blend in (None, {'count': 3, 'channels': 8, 'past': True}):
        network = DistillNeRF(**TINY, num_past=1, source_blend=blend).eval()
        views = seen_twice()
        scene = network(views)
        scene.save(tmp_path / 'scene.pt')
        loaded = Scene.load(tmp_path / 'scene.pt')
        expected, found = scene.render(views.cameras), loaded.render(views.cameras)
        assert all(
            torch.equal(getattr(expected, field.name), getattr(found, field.name))
            for field in fields(expected)
            if getattr(expected, field.name) is not None
        )
        version = torch.load(tmp_path / 'scene.pt')['format_version']
        assert version == (1 if blend is None else 3)
    assert loaded.sources.past.tolist() == [False, False, True, True] and len(loaded.sources.images) == 4
    assert network(replace(views, past=None)).sources.past.tolist() == [False, False]
    state = torch.load(tmp_path / 'scene.pt')
    del state['sources']['past']
    torch.save(state, tmp_path / 'scene.pt')
    with pytest.raises(InputError, match='do not say which are of the past'):
        Scene.load(tmp_path / 'scene.pt')
