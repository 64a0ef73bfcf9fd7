"""Each loss is given what its description says, in the units that it says."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from projects.DistillNeRF.geometry.cameras import Cameras
from projects.DistillNeRF.geometry.contraction import ParameterizedSpace
from projects.DistillNeRF.geometry.views import Views
from projects.DistillNeRF.losses.modules import DepthClampLoss, OpacityLoss, RGBL1Loss, WeightEntropyLoss
from projects.DistillNeRF.models.objective import (
    MIN_TARGET_DEPTH,
    Objective,
    feature_target,
    resize_depth,
    stored_depth,
)
from projects.DistillNeRF.utils.errors import InputError
from tests.helpers.cameras import pinhole
from tests.helpers.views import make_views

FAR = 60.0
SKY = FAR - 5
HEIGHT, WIDTH = 8, 12
SIZE = (4, 6)
SPACE = ParameterizedSpace(inner_range=20, far=FAR)
NAN = float('nan')


class Recorder(nn.Module):
    """A loss that remembers what it was given and returns its number."""

    def __init__(self, value: float = 1.0) -> None:
        super().__init__()
        self.value = value
        self.calls: list[tuple[Tensor, ...]] = []

    def forward(self, *arguments: Tensor) -> Tensor:
        self.calls.append(arguments)
        return torch.tensor(self.value)


def wide_views(count: int = 2, **maps: Tensor) -> Views:
    """Make views of wide-angle cameras, so that distance and z differ much."""
    cameras = Cameras(pinhole(6.0, (5, 4), count), torch.eye(4).repeat(count, 1, 1), HEIGHT, WIDTH)
    images = torch.linspace(0, 1, count * 3 * HEIGHT * WIDTH).view(count, 3, HEIGHT, WIDTH)
    return make_views(cameras, images, **maps)


def made(count: int = 2) -> tuple[SimpleNamespace, SimpleNamespace]:
    """Draw what the network could have made of the views: leaves of a graph."""
    generator = torch.Generator().manual_seed(0)

    def leaf(*shape: int) -> Tensor:
        return torch.rand(count, *shape, generator=generator).requires_grad_()

    coarse = SimpleNamespace(depth=leaf(HEIGHT, WIDTH), weights=leaf(HEIGHT, WIDTH, 5))
    fine = SimpleNamespace(weights=leaf(HEIGHT, WIDTH, 3))
    rendering = SimpleNamespace(rgb=leaf(3, HEIGHT, WIDTH), depth=leaf(*SIZE), weights=leaf(*SIZE, 7))
    rendering.voxel_depth = None
    return SimpleNamespace(coarse=coarse, fine=fine), rendering


def given(name: str, inputs: Views, targets: Views, quirks: bool = False) -> list[tuple[Tensor, ...]]:
    """Return the arguments of every call of one loss."""
    loss = Recorder()
    encoded, rendering = made()
    Objective({name: loss}, SPACE, quirks)([encoded], [rendering], [inputs], [targets])
    return loss.calls


def test_rgb_compares_the_rendered_with_the_target_images():
    loss = Recorder()
    (encoded, rendering), targets = made(), wide_views()
    result = Objective({'rgb': loss}, SPACE, False)([encoded], [rendering], [wide_views()], [targets])
    assert list(result) == ['loss_rgb']
    assert loss.calls[0][0] is rendering.rgb
    assert loss.calls[0][1] is targets.images


@pytest.mark.parametrize(('name', 'field'), [('lidar_depth', 'lidar_depth'), ('teacher_depth', 'teacher_depth')])
def test_depths_are_compared_as_distances(name, field):
    inputs = wide_views(**{field: torch.full((2, *SIZE), 7.0)})
    targets = wide_views(**{field: torch.full((2, *SIZE), 9.0)})
    (_, coarse), (_, rendered) = given(name, inputs, targets)
    torch.testing.assert_close(coarse, 7 * inputs.cameras.ray_lengths(HEIGHT, WIDTH))
    torch.testing.assert_close(rendered, 9 * targets.cameras.ray_lengths(*SIZE))
    assert coarse.max() > 1.2 * coarse.min()


def test_the_depth_of_voxels_is_compared_where_sources_are_blended_in():
    loss, (encoded, rendering) = Recorder(), made()
    rendering.depth, rendering.voxel_depth = torch.rand(2, HEIGHT, WIDTH), rendering.depth
    views = wide_views(lidar_depth=torch.full((2, *SIZE), 7.0))
    result = Objective({'lidar_depth': loss}, SPACE, False)([encoded], [rendering], [views], [views])
    assert list(result) == ['loss_lidar_depth_coarse', 'loss_lidar_depth', 'loss_lidar_depth_voxels']
    assert loss.calls[1][0] is rendering.depth and loss.calls[2][0] is rendering.voxel_depth
    torch.testing.assert_close(loss.calls[2][1], 7 * views.cameras.ray_lengths(*SIZE))
    assert loss.calls[1][1].shape == (2, HEIGHT, WIDTH)


def test_published_quirks_compare_distance_with_z():
    views = wide_views(lidar_depth=torch.full((2, *SIZE), 7.0))
    (_, coarse), (_, rendered) = given('lidar_depth', views, views, quirks=True)
    assert (coarse == 7).all()
    assert (rendered == 7).all()


def test_lidar_is_enlarged_by_the_nearest_return_and_published_by_a_blend():
    depth = torch.full((2, *SIZE), 8.0)
    depth[:, 3, 5] = NAN
    # The blend of (8, 12) pixels from (4, 6) reads the unknown corner at 3 x 3 pixels, the nearest at 2 x 2.
    unknown = [resize_depth(depth, (HEIGHT, WIDTH), nearest).isnan().sum().item() for nearest in (True, False)]
    assert unknown == [2 * 4, 2 * 9]
    views = wide_views(lidar_depth=depth, teacher_depth=depth)
    for name, expected in (('lidar_depth', unknown), ('teacher_depth', [unknown[1]] * 2)):
        assert [given(name, views, views, q)[0][1].isnan().sum().item() for q in (False, True)] == expected


def test_the_sky_is_far_away():
    teacher, lidar = torch.full((2, *SIZE), 6.0), torch.full((2, *SIZE), NAN)
    lidar[:, 0, 0] = 6.0
    sky = torch.zeros(2, *SIZE)
    sky[:, 0] = 1
    views = wide_views(teacher_depth=teacher, lidar_depth=lidar, sky_mask=sky)
    rendered = given('teacher_depth', views, views)[1][1]
    assert (rendered[:, 0] == SKY).all()
    assert (rendered[:, 1:] < 12).all()
    rendered = given('lidar_depth', views, views)[1][1]
    # A return is a return, whatever the mask says; unknown pixels outside the sky stay unknown.
    assert (rendered[:, 0, 0] < 12).all()
    assert (rendered[:, 0, 1:] == SKY).all()
    assert rendered[:, 1:].isnan().all()


def test_target_depths_are_clamped_between_the_least_and_the_sky():
    depth = torch.full((2, *SIZE), 1000.0)
    depth[:, 0] = 0.0
    views = wide_views(teacher_depth=depth)
    rendered = given('teacher_depth', views, views)[1][1]
    assert (rendered[:, 0] == MIN_TARGET_DEPTH).all()
    assert (rendered[:, 1:] == SKY).all()


@pytest.mark.parametrize(
    ('name', 'stages'),
    [('weight_entropy', {'_coarse': 5, '': 7}), ('opacity', {'_coarse': 5, '_fine': 3, '': 7})],
)
def test_weights_have_their_samples_along_the_second_axis(name, stages):
    loss = Recorder()
    encoded, rendering = made()
    result = Objective({name: loss}, SPACE, False)([encoded], [rendering], [wide_views()], [wide_views()])
    assert list(result) == [f'loss_{name}{stage}' for stage in stages]
    assert [weights.shape[1] for (weights,) in loss.calls] == list(stages.values())
    assert torch.equal(loss.calls[-1][0], rendering.weights.movedim(-1, 1))


def test_a_batch_is_the_mean_of_its_samples_however_many_cameras_they_have():
    objective = Objective({'rgb': RGBL1Loss(), 'opacity': OpacityLoss()}, SPACE, False)
    parts = [(*made(count), wide_views(count), wide_views(count)) for count in (1, 3)]
    together = objective(*zip(*parts, strict=True))
    alone = [objective(*([x] for x in part)) for part in parts]
    for name, value in together.items():
        torch.testing.assert_close(value, (alone[0][name] + alone[1][name]) / 2)


def test_a_sample_without_lidar_costs_nothing_and_has_finite_gradients():
    losses = {'rgb': RGBL1Loss(), 'lidar_depth': DepthClampLoss(), 'weight_entropy': WeightEntropyLoss()}
    views = wide_views(lidar_depth=torch.full((2, *SIZE), NAN))
    encoded, rendering = made()
    result = Objective(losses, SPACE, False)([encoded], [rendering], [views], [views])
    assert result['loss_lidar_depth'] == result['loss_lidar_depth_coarse'] == 0
    sum(result.values()).backward()
    for leaf in (encoded.coarse.depth, encoded.coarse.weights, rendering.depth, rendering.rgb, rendering.weights):
        assert leaf.grad.isfinite().all()
    assert not rendering.depth.grad.any()


def test_unknown_pixels_get_no_gradient_and_known_ones_do():
    depth = torch.full((2, *SIZE), NAN)
    depth[:, 2, 3] = 20.0
    views = wide_views(lidar_depth=depth)
    encoded, rendering = made()
    Objective({'lidar_depth': DepthClampLoss()}, SPACE, False)([encoded], [rendering], [views], [views])[
        'loss_lidar_depth'
    ].backward()
    assert torch.equal(rendering.depth.grad != 0, depth.isfinite())


def test_a_loss_on_depth_that_was_not_loaded_is_refused():
    with pytest.raises(InputError, match='load_teacher=True'):
        given('teacher_depth', wide_views(), wide_views())


def test_losses_that_do_not_say_what_they_compare_are_refused():
    with pytest.raises(ValueError, match=r"\['color'\]"):
        Objective({'color': Recorder()}, SPACE, False)


@pytest.mark.parametrize('name', ['lidar_depth', 'teacher_depth'])
def test_edge_losses_get_the_same_depths_and_the_iteration(name):
    views = wide_views(**{name: torch.full((2, *SIZE), 7.0)})
    plain, edges = Recorder(), Recorder()
    encoded, rendering = made()
    objective = Objective({name: plain, f'{name}_edges': edges}, SPACE, False)
    result = objective([encoded], [rendering], [views], [views], iteration=5)
    assert list(result) == [f'loss_{name}_coarse', f'loss_{name}_edges_coarse', f'loss_{name}', f'loss_{name}_edges']
    for call, edge_call in zip(plain.calls, edges.calls, strict=True):
        assert edge_call[2] == 5
        assert all(torch.equal(a, b) for a, b in zip(call, edge_call[:2], strict=True))


class Walls:
    """A scene whose density tells where it is asked."""

    def __init__(self) -> None:
        self.asked: list[Tensor] = []

    def query(self, points: Tensor) -> tuple[Tensor, Tensor]:
        self.asked.append(points)
        return points[:, 2], points[:, 2] > 0


@pytest.mark.parametrize('quirks', [False, True])
def test_density_is_asked_before_and_at_the_surfaces_of_the_teacher(quirks):
    """A wall at z = 20 in front of cameras at the origin, with a row of sky and an unknown pixel."""
    sky = torch.zeros(2, *SIZE)
    sky[:, 0] = 1
    depth = torch.full((2, *SIZE), 20.0)
    depth[:, 0] = NAN
    depth[:, 3, 3] = NAN
    views = wide_views(teacher_depth=depth, sky_mask=sky)
    loss = Recorder()
    loss.margin = 1.0
    encoded, rendering = made()
    encoded.scene = Walls()
    Objective({'density': loss}, SPACE, quirks)([encoded], [rendering], [views], [views])
    free, surface = encoded.scene.asked
    torch.testing.assert_close(surface[:, 2], torch.full((2 * (3 * 6 - 1),), 20.0))
    assert len(free) == 2 * (4 * 6 - 1)
    in_sky = free[:, 1] / free[:, 2] < -0.5  # the upper row looks up steeply
    assert (free[~in_sky][:, 2] < 20).all() and (free[:, 2] >= 0).all()
    assert free[in_sky].norm(dim=1).max() > 30
    assert free[:, 2].min() < 5 < 12 < free[~in_sky][:, 2].max()


def test_surfaces_are_asked_up_to_some_meters_behind_them(monkeypatch):
    views = wide_views(teacher_depth=torch.full((2, *SIZE), 20.0))
    rays = views.cameras.ray_lengths(*SIZE)
    for share in (0.0, 0.25, 1.0):
        monkeypatch.setattr(torch, 'rand_like', lambda like, share=share: torch.full_like(like, share))
        loss = Recorder()
        loss.behind = 2.0
        encoded, rendering = made()
        encoded.scene = Walls()
        Objective({'density': loss}, SPACE, False)([encoded], [rendering], [views], [views])
        distance = encoded.scene.asked[1].norm(dim=1).view(2, *SIZE)
        torch.testing.assert_close(distance, 20 * rays + 2 * share)


def test_lidar_density_is_asked_along_the_rays_of_its_returns():
    """A return in the sky mask is a return; sky without one is free to its end."""
    lidar, sky = torch.full((2, *SIZE), NAN), torch.zeros(2, *SIZE)
    lidar[:, 0, 1] = lidar[:, 2, 2:4] = 10.0
    sky[:, 0] = 1
    teacher = torch.full((2, *SIZE), 20.0)
    for maps, free_points in (({}, 2 * 3), ({'sky_mask': sky}, 2 * (3 + 5))):
        views = wide_views(lidar_depth=lidar, teacher_depth=teacher, **maps)
        loss = Recorder()
        encoded, rendering = made()
        encoded.scene = Walls()
        result = Objective({'lidar_density': loss}, SPACE, False)([encoded], [rendering], [views], [views])
        free, surface = encoded.scene.asked
        assert list(result) == ['loss_lidar_density'] and len(free) == free_points
        torch.testing.assert_close(surface[:, 2], torch.full((2 * 3,), 10.0))


def test_features_that_are_unknown_do_not_count():
    encoded, rendering = made()
    rendering.features = rendering.rgb
    features = torch.rand(2, 3, HEIGHT, WIDTH)
    features[0, :, :5] = NAN
    features[1, 1, 0, 0] = NAN
    known = features.isfinite().all(1)
    views = wide_views(features=features)
    objective = Objective({'features': RGBL1Loss(2.0)}, SPACE, published_quirks=False)
    loss = objective([encoded], [rendering], [views], [views])['loss_features']
    expected = 2 * (rendering.features - features).abs().movedim(1, -1)[known].mean()
    assert torch.allclose(loss, expected)
    (gradient,) = torch.autograd.grad(loss, rendering.features)
    assert torch.equal((gradient != 0).any(1), known)
    nothing = wide_views(features=torch.full_like(features, NAN))
    assert objective([encoded], [rendering], [nothing], [nothing])['loss_features'] == 0


def test_line_of_sight_sees_the_weights_of_each_stage_with_the_lidar_of_its_own_views():
    """Coarse weights between the edges of the bins against the inputs, rendered ones against the targets."""
    inputs = wide_views(lidar_depth=torch.full((2, HEIGHT, WIDTH), 7.0))
    targets = wide_views(lidar_depth=torch.full((2, *SIZE), 9.0))
    encoded, rendering = made()
    edges = SPACE.bin_edges(torch.empty(()))
    encoded.coarse.weights = torch.rand(2, HEIGHT, WIDTH, len(edges) - 1)
    encoded.coarse.edges = edges.expand(2, -1)
    rendering.depths = torch.rand(2, *SIZE, 8).cumsum(-1)
    loss = Recorder()
    objective = Objective({'line_of_sight': loss}, SPACE, False)
    result = objective([encoded], [rendering], [inputs], [targets], iteration=17)
    assert list(result) == ['loss_line_of_sight_coarse', 'loss_line_of_sight']
    (weights, mids, known, iteration), (rendered, depths, seen, again) = loss.calls
    assert iteration == again == 17
    torch.testing.assert_close(weights, encoded.coarse.weights.permute(0, 3, 1, 2))
    middle = (edges[1:] + edges[:-1]) / 2
    torch.testing.assert_close(mids, middle[None, :, None, None].expand_as(weights))
    torch.testing.assert_close(known, 7 * inputs.cameras.ray_lengths(HEIGHT, WIDTH))
    torch.testing.assert_close(rendered, rendering.weights.permute(0, 3, 1, 2))
    ends = rendering.depths
    torch.testing.assert_close(depths, ((ends[..., 1:] + ends[..., :-1]) / 2).permute(0, 3, 1, 2))
    torch.testing.assert_close(seen, 9 * targets.cameras.ray_lengths(*SIZE))


@pytest.mark.parametrize('source', ['lidar', 'teacher'])
def test_bins_are_compared_with_depth_as_it_is_stored(source):
    """Coarse weights of the inputs alone; distances, sky far away, unknown pixels unknown."""
    depth, sky = torch.full((2, *SIZE), 7.0), torch.zeros(2, *SIZE)
    depth[:, 0], depth[:, 3, 3], sky[:, 0] = NAN, NAN, 1
    views = wide_views(**{f'{source}_depth': depth}, sky_mask=sky)
    encoded, rendering = made()
    encoded.coarse.edges = torch.rand(2, 6)
    loss = Recorder()
    result = Objective({f'{source}_bins': loss}, SPACE, False)([encoded], [rendering], [views], [wide_views()])
    assert list(result) == [f'loss_{source}_bins_coarse']
    ((weights, edges, target),) = loss.calls
    assert torch.equal(weights, encoded.coarse.weights.movedim(-1, 1)) and edges is encoded.coarse.edges
    expected = 7 * views.cameras.ray_lengths(*SIZE)
    expected[:, 0], expected[:, 3, 3] = SKY, NAN
    torch.testing.assert_close(target, expected, equal_nan=True)


def test_line_of_sight_knows_no_sky():
    """What LiDAR does not return from stays unknown, whatever the mask says."""
    views = wide_views(lidar_depth=torch.full((2, *SIZE), NAN), sky_mask=torch.ones(2, *SIZE))
    encoded, rendering = made()
    encoded.coarse.edges = SPACE.bin_edges(torch.empty(())).expand(2, -1)
    encoded.coarse.weights = torch.rand(2, HEIGHT, WIDTH, encoded.coarse.edges.shape[1] - 1)
    rendering.depths = torch.rand(2, *SIZE, 8).cumsum(-1)
    loss = Recorder()
    Objective({'line_of_sight': loss}, SPACE, False)([encoded], [rendering], [views], [views])
    assert all(known.isnan().all() for _, _, known, _ in loss.calls)


def test_free_points_end_a_margin_before_the_surface(monkeypatch):
    """With the largest random number they lie a meter before it, 59 - 5 - 1 m away in the sky; never behind the eye."""
    monkeypatch.setattr(torch, 'rand_like', torch.ones_like)
    sky, depth = torch.zeros(2, *SIZE), torch.full((2, *SIZE), 20.0)
    sky[:, 0] = 1
    depth[:, 1] = 0.3
    views = wide_views(teacher_depth=depth, sky_mask=sky)
    loss = Recorder()
    loss.margin = 1.0
    encoded, rendering = made()
    encoded.scene = Walls()
    result = Objective({'density': loss}, SPACE, False)([encoded], [rendering], [views], [views])
    assert list(result) == ['loss_density']
    distance = encoded.scene.asked[0].norm(dim=1).view(2, *SIZE)
    rays = views.cameras.ray_lengths(*SIZE)
    torch.testing.assert_close(distance[:, 0], torch.full((2, 6), FAR - 5 - 1))
    torch.testing.assert_close(distance[:, 1], (0.3 * rays[:, 1] - 1).clamp_min(0))
    torch.testing.assert_close(distance[:, 2:], 20 * rays[:, 2:] - 1)
    # The loss is given the densities of the free points first.
    ((free, surface),) = loss.calls
    torch.testing.assert_close(free, encoded.scene.asked[0][:, 2])
    torch.testing.assert_close(surface, encoded.scene.asked[1][:, 2])


def test_features_of_another_size_are_resized_to_those_rendered():
    """Half-pixel centers: four columns from two lie at -0.25, 0.25, 0.75 and 1.25."""
    views = wide_views(features=torch.tensor([0.0, 4.0]).view(1, 1, 1, 2).expand(2, 3, 1, 2))
    target = feature_target(views, torch.empty(2, 3, 1, 4))
    torch.testing.assert_close(target, torch.tensor([0.0, 1, 3, 4]).expand(2, 3, 1, 4))
    assert feature_target(views, torch.empty(2, 3, 1, 2)) is views.features
    with pytest.raises(InputError, match='load_features=True'):
        feature_target(wide_views(), torch.empty(1))


@pytest.mark.parametrize(('name', 'option'), [('lidar_depth', 'load_lidar'), ('teacher_depth', 'load_teacher')])
def test_what_was_not_loaded_is_named(name, option):
    with pytest.raises(InputError, match=f'needs {name} that the dataset does not load; set its {option}=True'):
        stored_depth(name, wide_views())


def test_every_image_loss_gets_rendered_and_target_images():
    losses = {name: Recorder(value) for name, value in (('rgb', 1.0), ('lpips', 2.0), ('dssim', 3.0))}
    (encoded, rendering), targets = made(), wide_views()
    result = Objective(losses, SPACE, False)([encoded], [rendering], [wide_views()], [targets])
    assert {name: value.item() for name, value in result.items()} == {'loss_rgb': 1, 'loss_lpips': 2, 'loss_dssim': 3}
    for loss in losses.values():
        assert loss.calls[0][0] is rendering.rgb and loss.calls[0][1] is targets.images


def test_features_with_other_channels_are_refused():
    views = wide_views(features=torch.zeros(2, 32, 4, 6))
    with pytest.raises(InputError, match='have 32 channels, the network renders 64: extract them again'):
        feature_target(views, torch.zeros(2, 64, 4, 6))
    # One unknown pixel where all are missing.
    missing = wide_views(features=torch.full((2, 1, 1, 1), torch.nan))
    assert feature_target(missing, torch.zeros(2, 64, 4, 6)).isnan().all()
