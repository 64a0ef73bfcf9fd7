"""Warped images are moved onto each other, to where the view has what they show."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from projects.DistillNeRF.scene_nerf import alignment
from projects.DistillNeRF.scene_nerf.alignment import align

HEIGHT, WIDTH = 48, 64
MARGIN = 8
OWN = torch.tensor([True, True])


@pytest.fixture(scope='module')
def texture() -> Tensor:
    """Return a picture ``(3, h, w)`` that is the same over some pixels, with a margin around the view."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 3, 10, 12, generator=generator)
    return F.interpolate(coarse, (HEIGHT + 2 * MARGIN, WIDTH + 2 * MARGIN), mode='bicubic')[0].clamp(0, 1)


def shifted(texture: Tensor, right: float, down: float = 0.0) -> Tensor:
    """Return the view of a texture ``(3, h, w)``, moved by some pixels."""
    rows, columns = torch.arange(HEIGHT) + float(MARGIN - down), torch.arange(WIDTH) + float(MARGIN - right)
    grid = torch.stack(torch.meshgrid(columns, rows, indexing='xy'), -1)
    grid = grid * 2 / torch.tensor([texture.shape[2] - 1, texture.shape[1] - 1]) - 1
    return F.grid_sample(texture[None], grid[None], mode='bilinear', align_corners=True)[0]


def error(image: Tensor, truth: Tensor) -> float:
    """Return the mean difference away from the border."""
    return (image - truth)[:, MARGIN:-MARGIN, MARGIN:-MARGIN].abs().mean().item()


def mean(weights: Tensor, colors: Tensor) -> Tensor:
    return (weights[:, None] * colors).sum(0) / weights.sum(0)


@pytest.mark.parametrize(('before', 'after'), [(0.1, 0.1), (0.1, 0.2), (0.3, 0.1)])
def test_images_before_and_after_meet_at_the_time_of_the_view(texture, before, after):
    """What moves steadily through both is where it has to be, whichever of them is nearer."""
    truth, speed = shifted(texture, 0, 0), 15.0
    colors = torch.stack([shifted(texture, -speed * before, before * 5), shifted(texture, speed * after, -after * 5)])
    weights = torch.ones(2, HEIGHT, WIDTH)
    seconds = torch.tensor([-before, after])
    new_weights, aligned = align(colors, weights, seconds, OWN, mean(weights, colors))
    assert error(mean(weights, colors), truth) > 0.015
    for image in aligned:
        assert error(image, truth) < 0.012
    torch.testing.assert_close(new_weights, weights)


def test_order_does_not_matter(texture):
    colors = torch.stack([shifted(texture, -1.5), shifted(texture, 3)])
    seconds, weights = torch.tensor([-0.1, 0.2]), torch.ones(2, HEIGHT, WIDTH)
    base = mean(weights, colors)
    _, aligned = align(colors, weights, seconds, OWN, base)
    _, reverse = align(colors.flip(0), weights, seconds.flip(0), OWN, base)
    torch.testing.assert_close(aligned, reverse.flip(0), atol=1e-4, rtol=0)


def test_a_ghost_becomes_one_thing(texture):
    """A square moves 6 pixels between two images of what stands still."""
    ground = shifted(texture, 0) / 2

    def with_square(place: int) -> Tensor:
        image = ground.clone()
        image[:, 16:32, place : place + 16] = shifted(texture, place - 24)[:, 16:32, place : place + 16] / 2 + 0.5
        return image

    colors = torch.stack([with_square(21), with_square(27)])
    weights = torch.ones(2, HEIGHT, WIDTH)
    base = mean(weights, colors)
    _, aligned = align(colors, weights, torch.tensor([-0.1, 0.1]), OWN, base)
    truth = with_square(24)
    inside = (slice(None), slice(18, 30), slice(26, 38))
    assert (mean(weights, aligned) - truth)[inside].abs().mean() < (base - truth)[inside].abs().mean() / 3
    torch.testing.assert_close(aligned[:, :, :, :10], colors[:, :, :, :10], atol=0.02, rtol=0)


def test_other_images_are_moved_onto_these(texture):
    """Of the same camera at other times, or of another one, whose time says nothing."""
    colors = torch.stack([shifted(texture, -1), shifted(texture, 1), shifted(texture, 2, -2), shifted(texture, -3, 1)])
    weights = torch.ones(4, HEIGHT, WIDTH)
    own = torch.tensor([True, True, True, False])
    _, aligned = align(colors, weights, torch.tensor([-0.1, 0.1, 0.2, 0.01]), own, mean(weights, colors))
    for image, before in zip(aligned, colors, strict=True):
        assert error(image, shifted(texture, 0)) < min(0.015, error(before, shifted(texture, 0)) / 2)


@pytest.mark.parametrize(
    ('seconds', 'own'),
    [
        ((-0.1, -0.2), (True, True)),
        ((0.1, 0.2), (True, True)),
        ((-0.1, 0.1), (True, False)),
        ((-0.1, 0.1), (False, False)),
        ((0.0, 0.1), (True, True)),
        ((-0.1, 0.1, 0.0), (True, True, True)),
    ],
)
def test_nothing_moves_without_two_sides(texture, seconds, own):
    colors = torch.stack([shifted(texture, number) for number in range(len(seconds))])
    weights = torch.ones(len(seconds), HEIGHT, WIDTH)
    same = align(colors, weights, torch.tensor(seconds), torch.tensor(own), colors.mean(0))
    assert same[0] is weights and same[1] is colors


def test_an_image_that_sees_nothing_of_the_view_is_no_side(texture):
    colors = torch.stack([shifted(texture, -2), shifted(texture, 2), shifted(texture, 4)])
    weights = torch.stack([torch.ones(HEIGHT, WIDTH), torch.zeros(HEIGHT, WIDTH), torch.ones(HEIGHT, WIDTH)])
    _, aligned = align(colors, weights, torch.tensor([-0.1, 0.1, 0.2]), torch.ones(3, dtype=torch.bool), colors[0])
    assert error(aligned[0], shifted(texture, 0)) < 0.012


@pytest.mark.parametrize('size', [(31, 64), (48, 31), (1, 1)])
def test_small_images_stay(size):
    colors, weights = torch.rand(2, 3, *size), torch.ones(2, *size)
    same = align(colors, weights, torch.tensor([-0.1, 0.1]), OWN, colors.mean(0))
    assert same[0] is weights and same[1] is colors


def test_the_smallest_images_that_are_moved():
    colors, weights = torch.rand(2, 3, 32, 32), torch.ones(2, 32, 32)
    _, aligned = align(colors, weights, torch.tensor([-0.1, 0.1]), OWN, colors.mean(0))
    assert aligned.isfinite().all()


def test_what_is_alike_stays(texture):
    colors = shifted(texture, 0).expand(2, -1, -1, -1)
    weights = torch.rand(2, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0)) + 0.1
    new_weights, aligned = align(colors, weights, torch.tensor([-0.1, 0.1]), OWN, colors[0])
    torch.testing.assert_close(aligned, colors, atol=1e-5, rtol=0)
    torch.testing.assert_close(new_weights, weights, atol=1e-5, rtol=0)


def test_a_flow_that_makes_images_less_alike_is_not_used(texture, monkeypatch):
    monkeypatch.setattr(alignment, '_flow', lambda *images: torch.tensor([3.0, 0.0]).expand(HEIGHT, WIDTH, 2))
    colors = shifted(texture, 0).expand(3, -1, -1, -1)
    own, seconds = torch.tensor([True, True, False]), torch.tensor([-0.1, 0.1, 0.0])
    _, aligned = align(colors, torch.ones(3, HEIGHT, WIDTH), seconds, own, colors[0])
    torch.testing.assert_close(aligned, colors, atol=1e-5, rtol=0)


def test_what_no_image_sees_stays_unseen(texture):
    """Its colors count nothing there, whatever they are, and nothing spreads."""
    colors = torch.stack([shifted(texture, -1), shifted(texture, 1)])
    weights = torch.ones(2, HEIGHT, WIDTH)
    weights[:, :, :20] = 0
    colors[:, :, :, :20] = torch.nan
    base = shifted(texture, 0)
    base[:, :, :20] = torch.nan
    new_weights, aligned = align(colors, weights, torch.tensor([-0.1, 0.1]), OWN, base)
    assert aligned.isfinite().all()
    assert (new_weights[:, :, :16] == 0).all() and (new_weights[:, :, 24:] > 0.99).all()


def test_precision_and_input_are_kept(texture):
    colors = torch.stack([shifted(texture, -2), shifted(texture, 2)]).double()
    weights = torch.ones(2, HEIGHT, WIDTH, dtype=torch.float64)
    before = colors.clone()
    new_weights, aligned = align(colors, weights, torch.tensor([-0.1, 0.1]), OWN, colors.mean(0))
    assert aligned.dtype == new_weights.dtype == torch.float64
    torch.testing.assert_close(colors, before, atol=0, rtol=0)
    single = align(colors.float(), weights.float(), torch.tensor([-0.1, 0.1]), OWN, colors.float().mean(0))
    torch.testing.assert_close(aligned.float(), single[1], atol=1e-4, rtol=0)
