"""How source views and voxels are blended."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from projects.DistillNeRF.modules.source_blend import SourceBlend, fill_transparent
from projects.DistillNeRF.modules.source_views import Sources, sample_sources
from tests.helpers.arrays import randomized
from tests.helpers.cameras import level_cameras
from tests.modules.test_source_views import FAR, distances, moved, sources_of


@pytest.fixture(scope='module')
def sources() -> Sources:
    return sources_of(level_cameras((0.0, 60.0), 12, 20).to(torch.float64), pillar=True)


def rendering(cameras, scale: int = 2):
    """Return what voxels could have rendered for cameras: noise, and a depth that is 20 % too far."""
    torch.manual_seed(0)
    depth = 1.2 * distances(cameras, pillar=True)[:, ::scale, ::scale].contiguous()
    shape = (len(cameras), 3, cameras.height, cameras.width)
    return torch.rand(shape, dtype=torch.float64), depth.clamp(max=FAR), 0.5 + torch.rand_like(depth) / 2


def test_without_training_what_agrees_counts_most(sources):
    target = moved(sources.cameras[[0]], 0.2, 0.0, 0.0)
    rgb, depth, opacity = rendering(target)
    blended = SourceBlend().double()(sources, target, rgb, depth, opacity, FAR)
    found = sample_sources(sources, target, depth, blended.depth.detach(), 2, FAR)
    inside = found.inside[:, :1]
    error = {
        name: (image - found.read(sources.images)[:, 0]).abs()[inside.expand(-1, 3, -1, -1)].mean()
        for name, image in (('blended', blended.values), ('voxels', rgb))
    }
    assert error['blended'] < 0.75 * error['voxels']
    true = distances(target, pillar=True)
    assert (blended.depth / true).log().abs().mean() < 0.75 * abs(torch.tensor(1.2).log())
    assert (blended.opacity >= 0).all() and (blended.opacity <= 1 + 1e-9).all()


@pytest.mark.parametrize('trained', [False, True])
def test_a_view_that_is_withheld_leaves_no_trace_in_its_colors(sources, trained):
    """Its colors, changed, change nothing; its depth is taken."""
    torch.manual_seed(0)
    blend = randomized(SourceBlend()) if trained else SourceBlend().double()
    cameras = sources.cameras
    rgb, depth, opacity = rendering(cameras)
    shown = blend(sources, cameras, rgb, depth, opacity, FAR, withhold_own=True)
    for own in range(2):
        images = sources.images.clone()
        images[own] = torch.rand_like(images[own])
        other = dataclasses.replace(sources, images=images)
        again = blend(other, cameras, rgb, depth, opacity, FAR, withhold_own=True)
        assert torch.equal(again.values[own], shown.values[own])
        # The other view sees a part of it.
        assert not torch.equal(again.values[1 - own], shown.values[1 - own])
        assert not torch.equal(blend(other, cameras, rgb, depth, opacity, FAR).values[own], shown.values[own])
    farther = dataclasses.replace(sources, distances=2 * sources.distances)
    again = blend(farther, cameras, rgb, depth, opacity, FAR, withhold_own=True)
    assert not torch.allclose(again.depth, shown.depth)


def test_where_no_source_sees_anything_the_voxels_are_left(sources):
    back = level_cameras((180.0,), 12, 20).to(torch.float64)
    rgb, depth, opacity = rendering(back)
    blended = SourceBlend().double()(sources, back, rgb, depth, opacity, FAR)
    torch.testing.assert_close(blended.values, rgb)
    torch.testing.assert_close(blended.depth[:, 0, 0], depth[:, 0, 0])
    torch.testing.assert_close(blended.opacity[:, 0, 0], opacity[:, 0, 0])


def test_one_source_is_enough_for_a_network_of_two(sources):
    alone = Sources(sources.images[:1], sources.cameras[[0]], sources.distances[:1])
    target = moved(sources.cameras[[0]], 0.2, 0.0, 0.0)
    blend = randomized(SourceBlend())
    blended = blend(alone, target, *rendering(target), FAR)
    assert blended.values.isfinite().all() and blended.depth.isfinite().all() and blended.opacity.isfinite().all()


def test_gradients_of_colors_opacity_and_weights(sources):
    blend = randomized(SourceBlend(channels=4), 0.2)
    target = moved(level_cameras((30.0,), 6, 8).to(torch.float64), 0.2, 0.0, 0.0)
    rgb, depth, opacity = rendering(target)
    # Of one depth, so that it stays where opacities change: what is looked up elsewhere has no gradient.
    depth = torch.full_like(depth, 9.0)

    def outputs(rgb, opacity, *weights):
        names = [name for name, _ in blend.named_parameters()]
        values = torch.func.functional_call(
            blend, dict(zip(names, weights, strict=True)), (sources, target, rgb, depth, opacity, FAR)
        )
        return values.values, values.depth, values.opacity

    leaves = [value.detach().clone().requires_grad_() for value in (rgb, opacity, *blend.parameters())]
    # The leaky ReLUs have a kink at 0, which no random input lies at; leaves are many, so a random direction is taken.
    assert torch.autograd.gradcheck(outputs, leaves, fast_mode=True)


def test_the_depth_of_the_voxels_gets_its_share_of_the_gradient(sources):
    """Points are looked up where the voxels say, without a gradient: what is left is their share of the depth."""
    target = moved(sources.cameras[[0]], 0.2, 0.0, 0.0)
    rgb, _, _ = rendering(target)
    depth = (1.2 * distances(target)).requires_grad_()
    opacity = torch.ones_like(depth)
    blend = SourceBlend().double()
    blended = blend(sources, target, rgb, depth, opacity, FAR)
    blended.depth.sum().backward()
    found = sample_sources(sources, target, depth, depth, 2, FAR)
    prior = -blend.misfit_scale * found.misfit.abs() - blend.angle_scale * found.angles
    shares = torch.cat([prior.masked_fill(~found.inside, -torch.inf), torch.zeros_like(prior[:, :1])], 1).softmax(1)
    torch.testing.assert_close(depth.grad, shares[:, -1] * blended.depth / depth)


@pytest.mark.parametrize('value', [0.0, 1e-30, 1e6])
def test_distances_that_cannot_be_leave_gradients_finite(sources, value):
    distances_ = torch.full_like(sources.distances, value)
    target = moved(sources.cameras[[0]], 0.2, 0.0, 0.0)
    rgb, depth, opacity = (part.requires_grad_() for part in rendering(target))
    blend = SourceBlend().double()
    blended = blend(dataclasses.replace(sources, distances=distances_), target, rgb, depth, opacity, FAR)
    (blended.values.sum() + blended.depth.sum() + blended.opacity.sum()).backward()
    for gradient in (rgb.grad, depth.grad, opacity.grad, *(value.grad for value in blend.parameters())):
        assert gradient.isfinite().all()


# Features.

FEATURES = (5, 6)


def with_features(sources: Sources) -> Sources:
    shape = (len(sources.images), FEATURES[0], *sources.images.shape[2:])
    features = torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return dataclasses.replace(sources, features=features)


def rendered_features(cameras, scale: int = 2):
    _, depth, opacity = rendering(cameras, scale)
    return torch.rand(len(cameras), FEATURES[0], *depth.shape[1:], dtype=torch.float64), depth, opacity


def test_features_of_sources_are_blended_as_colors_are(sources):
    """Before training, the weights are those of colors: what the images show, were they images, comes out."""
    images = with_features(sources).features[:, :3]
    target = moved(sources.cameras[[0]], 0.2, 0.0, 0.0)
    values, depth, opacity = rendered_features(target, 1)
    given = dataclasses.replace(sources, images=images)
    colors = SourceBlend().double()(given, target, values[:, :3], depth, opacity, FAR)
    blend = SourceBlend(features=FEATURES).double()
    shown = blend(with_features(sources), target, values, depth, opacity, FAR)
    assert shown.values.shape == (1, 5, 12, 20)
    torch.testing.assert_close(shown.values[:, :3], colors.values)
    torch.testing.assert_close(shown.depth, colors.depth)
    torch.testing.assert_close(shown.opacity, colors.opacity)


def test_features_and_their_depth_have_the_size_of_the_rendering(sources):
    given = with_features(sources), sources.cameras, *rendered_features(sources.cameras), FAR
    shown = SourceBlend(features=FEATURES).double()(*given)
    assert shown.values.shape == (2, 5, 6, 10) and shown.depth.shape == shown.opacity.shape == (2, 6, 10)


def test_features_of_the_own_view_are_not_withheld(sources):
    """They are predicted, not given: there is nothing to copy."""
    blend = randomized(SourceBlend(features=FEATURES))
    given = (with_features(sources), sources.cameras, *rendered_features(sources.cameras), FAR)
    assert torch.equal(blend(*given, withhold_own=True).values, blend(*given).values)


def test_gradients_of_features_and_weights(sources):
    blend = randomized(SourceBlend(channels=4, features=FEATURES), 0.2)
    target = moved(level_cameras((30.0,), 6, 8).to(torch.float64), 0.2, 0.0, 0.0)
    values, depth, opacity = rendered_features(target)
    depth = torch.full_like(depth, 9.0)
    shape = (len(sources.images), FEATURES[1], *sources.images.shape[2:])
    lifted = torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    weights = {name: value.detach().clone().requires_grad_() for name, value in blend.named_parameters()}

    class Lifted(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.blend = blend

        def forward(self, values, opacity, lifted):
            described = dataclasses.replace(sources, features=self.blend.of_images(lifted))
            shown = self.blend(described, target, values, depth, opacity, FAR)
            return shown.values, shown.depth, shown.opacity

    def outputs(values, opacity, lifted, *others):
        named = {f'blend.{name}': value for name, value in zip(weights, others, strict=True)}
        return torch.func.functional_call(Lifted(), named, (values, opacity, lifted))

    leaves = [value.detach().clone().requires_grad_() for value in (values, opacity, lifted)]
    assert torch.autograd.gradcheck(outputs, [*leaves, *weights.values()], fast_mode=True)


def test_depth_of_rays_that_hit_nothing_comes_from_around():
    """A plane in logarithmic depth is found again where it has holes; what is known stays."""
    rows, columns = torch.meshgrid(torch.arange(28.0), torch.arange(50.0), indexing='ij')
    true = (1 + rows / 28 + columns / 100).double().exp()[None].repeat(2, 1, 1)
    opacity = torch.ones_like(true)
    opacity[0, 8:14, 20:30] = 0
    opacity[1] = 0
    depth = torch.where(opacity > 0, true, 1e-5)
    filled = fill_transparent(depth, opacity, FAR)
    torch.testing.assert_close(filled[0][opacity[0] > 0], true[0][opacity[0] > 0])
    assert (filled[0] / true[0]).log().abs().max() < 0.15
    torch.testing.assert_close(filled[1], torch.full_like(true[1], FAR))
    assert fill_transparent(true[:0], opacity[:0], FAR).shape == (0, 28, 50)
    torch.testing.assert_close(fill_transparent(true[:, :1, :1], torch.ones(2, 1, 1).double(), FAR), true[:, :1, :1])


def test_gradients_of_filled_depth():
    generator = torch.Generator().manual_seed(0)
    depth = (1 + torch.rand(2, 5, 7, generator=generator, dtype=torch.float64)).requires_grad_()
    opacity = (0.2 + 0.6 * torch.rand(2, 5, 7, generator=generator, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(lambda d, o: fill_transparent(d, o, FAR), (depth, opacity), fast_mode=True)


def test_a_view_that_is_withheld_leaves_its_share_to_the_others(sources):
    """Where it alone sees a place, the color is that of the voxels, and no darker."""
    alone = Sources(sources.images[:1], sources.cameras[[0]], sources.distances[:1])
    rgb, depth, opacity = rendering(alone.cameras)
    blend = SourceBlend().double()
    torch.testing.assert_close(blend(alone, alone.cameras, rgb, depth, opacity, FAR, withhold_own=True).values, rgb)
    shown = blend(alone, alone.cameras, rgb, depth, opacity, FAR, withhold_own=[False])
    assert (shown.values - rgb).abs().mean() > 0.05


def test_depth_is_looked_up_from_around_where_rays_are_transparent(sources):
    back = level_cameras((180.0,), 12, 20).to(torch.float64)
    rgb, _, _ = rendering(back)
    depth, opacity = torch.full((1, 6, 10), 9.0, dtype=torch.float64), torch.ones(1, 6, 10, dtype=torch.float64)
    depth[:, 2:4, 3:5], opacity[:, 2:4, 3:5] = 1e-5, 0.0
    blended = SourceBlend().double()(sources, back, rgb, depth, opacity, FAR)
    assert (blended.depth / 9 - 1).abs().max() < 0.05
    assert blended.opacity.min() < 0.5
