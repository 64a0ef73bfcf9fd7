"""How source views and voxels are blended."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from projects.DistillNeRF.modules.source_blend import SourceBlend
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
        name: (image - found.colors[:, 0]).abs()[inside.expand(-1, 3, -1, -1)].mean()
        for name, image in (('blended', blended.rgb), ('voxels', rgb))
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
        assert torch.equal(again.rgb[own], shown.rgb[own])
        # The other view sees a part of it.
        assert not torch.equal(again.rgb[1 - own], shown.rgb[1 - own])
        assert not torch.equal(blend(other, cameras, rgb, depth, opacity, FAR).rgb[own], shown.rgb[own])
    farther = dataclasses.replace(sources, distances=2 * sources.distances)
    again = blend(farther, cameras, rgb, depth, opacity, FAR, withhold_own=True)
    assert not torch.allclose(again.depth, shown.depth)


def test_where_no_source_sees_anything_the_voxels_are_left(sources):
    back = level_cameras((180.0,), 12, 20).to(torch.float64)
    rgb, depth, opacity = rendering(back)
    blended = SourceBlend().double()(sources, back, rgb, depth, opacity, FAR)
    torch.testing.assert_close(blended.rgb, rgb)
    torch.testing.assert_close(blended.depth[:, 0, 0], depth[:, 0, 0])
    torch.testing.assert_close(blended.opacity[:, 0, 0], opacity[:, 0, 0])


def test_one_source_is_enough_for_a_network_of_two(sources):
    alone = Sources(sources.images[:1], sources.cameras[[0]], sources.distances[:1])
    target = moved(sources.cameras[[0]], 0.2, 0.0, 0.0)
    blend = randomized(SourceBlend())
    blended = blend(alone, target, *rendering(target), FAR)
    assert blended.rgb.isfinite().all() and blended.depth.isfinite().all() and blended.opacity.isfinite().all()


def test_gradients_of_colors_opacity_and_weights(sources):
    blend = randomized(SourceBlend(channels=4), 0.2)
    target = moved(level_cameras((30.0,), 6, 8).to(torch.float64), 0.2, 0.0, 0.0)
    rgb, depth, opacity = rendering(target)

    def outputs(rgb, opacity, *weights):
        names = [name for name, _ in blend.named_parameters()]
        values = torch.func.functional_call(
            blend, dict(zip(names, weights, strict=True)), (sources, target, rgb, depth, opacity, FAR)
        )
        return values.rgb, values.depth, values.opacity

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
    (blended.rgb.sum() + blended.depth.sum() + blended.opacity.sum()).backward()
    for gradient in (rgb.grad, depth.grad, opacity.grad, *(value.grad for value in blend.parameters())):
        assert gradient.isfinite().all()


def test_rays_that_hit_nothing_are_looked_up_far_away(sources):
    """Their depth is next to 0; a source that sees the wall moves them onto it."""
    target = moved(sources.cameras[[0]], 0.2, 0.0, 0.0)
    rgb, depth, opacity = rendering(target)
    blend = SourceBlend().double()
    nothing = torch.zeros_like(opacity)
    expected = blend(sources, target, rgb, torch.full_like(depth, FAR), nothing, FAR)
    blended = blend(sources, target, rgb, torch.full_like(depth, 1e-5), nothing, FAR)
    assert torch.equal(blended.depth, expected.depth) and torch.equal(blended.rgb, expected.rgb)
    true = distances(target, pillar=True)
    assert (blended.depth / true).log().abs().median() < 0.3
