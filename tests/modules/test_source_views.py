"""What source views show at the ends of rays, in a world of a wall and a pillar whose every point has its color."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import Tensor

from projects.DistillNeRF.geometry.cameras import NEAREST, Cameras
from projects.DistillNeRF.modules.source_views import Sources, _resized, sample_sources
from tests.helpers.cameras import level_cameras, random_cameras

FAR = 100.0
WALL, PILLAR = 10.0, 4.0
YAWS = (0.0, 50.0, 180.0)


def moved(cameras: Cameras, *offset: float) -> Cameras:
    poses = cameras.cam2world.clone()
    poses[:, :3, 3] += torch.tensor(offset, dtype=poses.dtype)
    return dataclasses.replace(cameras, cam2world=poses)


def distances(cameras: Cameras, pillar: bool = False) -> Tensor:
    """Return how far the wall at y = 10 m, the pillar before it or else the end of the world is, ``(V, H, W)``."""
    origins, directions = cameras.rays(cameras.height, cameras.width)
    origins = origins[:, None, None]
    hit = (WALL - origins[..., 1]) / directions[..., 1]
    far = torch.where((hit > 0) & (hit < FAR), hit, FAR)
    if pillar:
        before = (PILLAR - origins[..., 1]) / directions[..., 1]
        across = (origins[..., 0] + before * directions[..., 0]).abs()
        far = torch.where((before > 0) & (across < 0.5), before, far)
    return far


def colors_at(points: Tensor) -> Tensor:
    x, y, z = points.unbind(-1)
    return torch.stack([0.5 + 0.4 * torch.sin(x / 2), 0.5 + 0.4 * torch.cos(z), torch.where(y < 7, 1.0, 0.2)], -1)


def ends(cameras: Cameras, along: Tensor) -> Tensor:
    origins, directions = cameras.rays(*along.shape[1:])
    return origins[:, None, None] + along[..., None] * directions


def sources_of(cameras: Cameras, pillar: bool = False) -> Sources:
    along = distances(cameras, pillar)
    return Sources(colors_at(ends(cameras, along)).movedim(-1, 1), cameras, along)


@pytest.fixture(scope='module')
def cameras() -> Cameras:
    level = level_cameras(YAWS, 40, 60).to(torch.float64)
    level.cam2world[:, 0, 3] = torch.tensor([0.0, 0.4, 0.1])
    return level


def look(sources: Sources, target: Cameras, guess: Tensor, count: int = 2, steps: int = 2):
    return sample_sources(sources, target, guess[:, ::2, ::2], guess, count, FAR, steps)


def test_a_wall_that_is_guessed_wrong_is_found_with_its_colors(cameras):
    target = moved(level_cameras((10.0,), 40, 60).to(torch.float64), 0.5, 0.3, 0.2)
    true = distances(target)
    sources = sources_of(cameras)
    found = look(sources, target, true * 1.4, steps=3)
    solid = (true < 30)[:, None] & found.inside
    assert solid[:, 0].float().mean() > 0.8
    error = (found.distances / true[:, None] - 1).abs()[solid]
    assert error.mean() < 0.01  # the source's depth is that of its nearest pixel
    shown = found.read(sources.images).movedim(2, -1)
    expected = colors_at(ends(target, true))[:, None].expand_as(shown)
    assert (shown - expected).abs()[solid].mean() < 0.02
    assert found.misfit.abs()[solid].mean() < 0.01
    # Without moving, the guess stays, and the misfit tells by how much it is wrong.
    still = look(sources_of(cameras), target, true * 1.4, steps=0)
    assert torch.equal(still.distances, (true * 1.4)[:, None].expand_as(still.distances))
    assert still.misfit[solid].mean() < -0.2


def test_the_view_itself_shows_itself_whatever_is_guessed(cameras):
    sources = sources_of(cameras, pillar=True)
    for factor in (0.5, 1.0, 1.5):
        found = look(sources, cameras, (sources.distances * factor).clamp(NEAREST, FAR))
        assert torch.equal(found.numbers[:, 0], torch.arange(3)[:, None, None].expand(-1, 40, 60))
        assert found.inside[:, 0].all()
        torch.testing.assert_close(found.read(sources.images)[:, 0], sources.images, atol=1e-9, rtol=0)
        torch.testing.assert_close(found.distances[:, 0], sources.distances, atol=1e-9, rtol=1e-9)
        assert found.angles[:, 0].abs().max() < 1e-9


def test_what_is_hidden_is_nearer_in_the_source(cameras):
    """Behind the pillar the source sees the pillar: its distance is less than that of the wall."""
    target = moved(cameras[[0]], 3.0, 0.0, 0.0)
    true = distances(target, pillar=True)
    points = ends(target, true)
    found = look(sources_of(cameras, pillar=True), target, true, count=1, steps=0)
    hidden = (points[..., 1] > 9) & (points[..., 0].abs() < 1.0)
    visible = (points[..., 1] > 9) & (points[..., 0] > 2.0)
    assert hidden.any() and visible.any()
    assert (found.misfit[:, 0][hidden & found.inside[:, 0]] < -0.5).all()
    assert found.misfit[:, 0][visible & found.inside[:, 0]].abs().max() < 0.1


def slowly(sources: Sources, target: Cameras, guess: Tensor, view: int, row: int, column: int, number: int, steps: int):
    """Do for one pixel and one source what the function does for all, by the plain geometry of cameras."""
    origins, directions = target.rays(target.height, target.width)
    origin, direction = origins[view], directions[view, row, column]
    camera = sources.cameras[[number]]
    center, t = camera.cam2world[0, :3, 3], guess[view, row, column]
    height, width = sources.distances.shape[1:]
    for step in range(steps + 1):
        point = origin + t * direction
        (pixel,), z = (value[0] for value in camera.project(point[None]))
        u, v = pixel.tolist()
        if not (z.item() > NEAREST and -0.5 < u < width - 0.5 and -0.5 < v < height - 0.5):
            return None
        seen = sources.distances[number, min(max(round(v), 0), height - 1), min(max(round(u), 0), width - 1)]
        length = (point - center).norm()
        if step < steps:
            moved = center + (point - center) * seen / length
            t = t + ((moved - point) * direction).sum()
            t = t.clamp(NEAREST, FAR)
    u, v = min(max(u, 0), width - 1), min(max(v, 0), height - 1)
    left, top = min(int(u), width - 2), min(int(v), height - 2)
    a, b = u - left, v - top
    image = sources.images[number]
    rows = [(1 - a) * image[:, y, left] + a * image[:, y, left + 1] for y in (top, top + 1)]
    angle = 1 - ((point - center) * direction).sum() / length
    return (1 - b) * rows[0] + b * rows[1], t, math.log(seen / length), angle


def test_against_one_pixel_after_the_other():
    generator = torch.Generator().manual_seed(0)
    cameras = random_cameras(4, 8, 12, generator, focal=5.0)
    target = random_cameras(3, 6, 10, generator, focal=4.0)
    images = torch.rand(4, 3, 8, 12, generator=generator, dtype=torch.float64)
    along = 2 + 5 * torch.rand(4, 8, 12, generator=generator, dtype=torch.float64)
    sources, guess = Sources(images, cameras, along), 2 + 3 * torch.rand(3, 6, 10, generator=generator).double()
    found = sample_sources(sources, target, guess, guess, 3, FAR)
    colors, compared = found.read(images), 0
    for place in found.inside.nonzero().tolist():
        view, k, row, column = place
        number = int(found.numbers[view, k, row, column])
        expected = slowly(sources, target, guess, view, row, column, number, 2)
        if expected is None:  # it was outside on the way, where it is not moved
            continue
        color, t, misfit, angle = expected
        compared += 1
        torch.testing.assert_close(colors[view, k, :, row, column], color)
        for name, value in (('distances', t), ('misfit', misfit), ('angles', angle)):
            torch.testing.assert_close(getattr(found, name)[view, k, row, column].item(), float(value))
    assert compared > 0.9 * found.inside.sum()


def test_outside_all_images_nothing_is_shown(cameras):
    sources = sources_of(cameras[[0]])
    back = level_cameras((180.0,), 40, 60).to(torch.float64)
    guess = torch.full((1, 40, 60), 5.0, dtype=torch.float64)
    found = look(sources, back, guess)
    assert found.inside.shape == (1, 2, 40, 60) and not found.inside.any()
    assert not found.read(sources.images).any() and not found.misfit.any() and not found.angles.any()
    assert torch.equal(found.distances, guess[:, None].expand(-1, 2, -1, -1))


def test_the_nearest_directions_come_first_and_no_view_gives_empty_maps(cameras):
    target = moved(level_cameras((40.0,), 40, 60).to(torch.float64), 0.1, 0.0, 0.0)
    guess = distances(target)
    sources = sources_of(cameras)
    found = look(sources, target, guess)
    both = found.inside.all(1)
    assert both.any() and (found.angles[:, 0] <= found.angles[:, 1] + 1e-6)[both].float().mean() > 0.99
    nothing = look(sources, target[[]], guess[:0])
    assert nothing.read(sources.images).shape == (0, 2, 3, 40, 60)
    none = look(Sources(sources.images[:0], cameras[[]], sources.distances[:0]), target, guess)
    assert not none.inside.any() and torch.equal(none.read(sources.images[:0]), torch.zeros(1, 2, 3, 40, 60).double())


def test_maps_that_are_read_get_gradients(cameras):
    sources = sources_of(cameras[[0, 1]])
    target = moved(level_cameras((30.0,), 6, 8).to(torch.float64), 0.1, 0.0, 0.0)
    found = look(sources, target, distances(target))
    assert found.inside.any() and not found.inside.all()
    maps = torch.rand(2, 5, 40, 60, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert torch.autograd.gradcheck(found.read, (maps,), fast_mode=True)


def test_the_chosen_sources_are_those_of_the_nearest_pixel_of_the_small_map():
    numbers = torch.arange(2 * 3 * 4 * 5).view(2, 3, 4, 5)
    large = _resized(numbers, torch.Size([7, 9]))
    for row, column in ((0, 0), (6, 8), (1, 2), (5, 3), (3, 4)):
        nearest = round(row * 3 / 6 + 1e-9), round(column * 4 / 8 + 1e-9)
        if row * 3 % 6 != 3 and column * 4 % 8 != 4:  # halves may go either way
            assert torch.equal(large[:, :, row, column], numbers[:, :, nearest[0], nearest[1]])
    assert large.shape == (2, 3, 7, 9) and torch.equal(_resized(numbers, torch.Size([4, 5])), numbers)


def test_cameras_are_the_same_to_rounding(cameras):
    sources = sources_of(cameras)
    assert torch.equal(sources.same_cameras(cameras.to(torch.float32).to(torch.float64)), torch.eye(3).bool())
    assert not sources.same_cameras(moved(cameras, 0.0, 0.01, 0.0)).any()
    assert not sources.same_cameras(level_cameras((0.1,), 40, 60).to(torch.float64)).any()
