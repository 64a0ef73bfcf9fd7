"""Current images warped by true depth, where what comes out is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from projects.DistillNeRF.engine.warped_baseline import WarpedImages, fill, share_lines, warp_views
from projects.DistillNeRF.geometry.cameras import Cameras
from projects.DistillNeRF.geometry.views import Views
from tests.helpers.cameras import pinhole

HEIGHT, WIDTH, FOCAL, WALL = 24, 40, 20.0, 10.0
CENTER = (WIDTH - 1) / 2, (HEIGHT - 1) / 2


def cameras(x: float, backwards: bool = False) -> Cameras:
    """Make a camera that looks along z, or against it, from a place on the x axis, meters."""
    pose = torch.eye(4)
    pose[0, 3] = x
    if backwards:
        pose[0, 0] = pose[2, 2] = -1
    return Cameras(pinhole(FOCAL, CENTER), pose[None], HEIGHT, WIDTH)


def wall(x: Tensor, y: Tensor) -> Tensor:
    """Return the smooth colors ``(3, ...)`` of a wall at z = 10 m."""
    return torch.stack([0.5 + 0.4 * torch.sin(0.7 * x), 0.5 + 0.4 * torch.cos(0.5 * y), 0.5 + 0.03 * x])


def seen_from(x: float, name: str = 'A', frame: int = 0, box: float | None = None, **options: bool) -> Views:
    """Return what a camera sees of the wall, and, with a box, a black one 2 m away, from this x on."""
    rows, columns = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing='ij')
    right, down = (columns - CENTER[0]) / FOCAL, (rows - CENTER[1]) / FOCAL
    image, depth = wall(x + WALL * right, WALL * down), torch.full((HEIGHT, WIDTH), WALL)
    if box is not None:
        hidden = x + 2 * right >= box
        image, depth = image.masked_fill(hidden, 0), depth.masked_fill(hidden, 2.0)
    return Views(image[None], cameras(x, **options), (name,), (frame,), true_depth=depth[None])


def test_a_wall_seen_from_a_meter_beside():
    """A meter at 10 m is two pixels: so many columns are in no image."""
    inputs, targets = seen_from(0.0), seen_from(1.0, frame=1)
    images, seen = warp_views(inputs, targets)
    assert seen[0, :, : WIDTH - 2].all() and not seen[0, :, WIDTH - 2 :].any()
    torch.testing.assert_close(images[0][:, seen[0]], targets.images[0][:, seen[0]], atol=1e-5, rtol=0)
    warped = WarpedImages()
    guess = warped.guess(inputs, targets, {})
    assert guess is not None and guess.name == 'warped' and list(guess.positions) == [0]
    torch.testing.assert_close(guess.rgb[0, :, :, WIDTH - 1], images[0, :, :, WIDTH - 3])
    figures = warped.figures('config')
    assert figures['warped_visible/next/share'] == pytest.approx(1 - 2 / WIDTH)
    assert figures['warped_visible/next/psnr'] > 90
    [line] = share_lines(figures)
    assert line.startswith('warped_visible: 95.0% of the pixels of next ')


def test_half_pixels_are_mixed():
    inputs, targets = seen_from(0.0), seen_from(0.25, frame=1)
    images, _ = warp_views(inputs, targets)
    inside = images[0, :, :, : WIDTH - 1]
    between = (inputs.images[0, :, :, 1:] + inputs.images[0, :, :, :-1]) / 2
    torch.testing.assert_close(inside, between, atol=1e-5, rtol=0)


def test_what_a_box_hides_from_the_input_is_not_seen_there():
    """The target stands 1 m to the left: the box, from x = .5 m on, hides less of the wall from it."""
    inputs, targets = seen_from(0.0, box=0.5), seen_from(-1.0, frame=1, box=0.5)
    images, seen = warp_views(inputs, targets)
    columns = np.arange(WIDTH)
    x = -1.0 + WALL * (columns - CENTER[0]) / FOCAL
    on_wall = -1.0 + 2 * (columns - CENTER[0]) / FOCAL < 0.5
    # From x = 0 the ray to a place of the wall passes the plane of the box at a fifth of its x.
    free = on_wall & (x / 5 < 0.4) & (FOCAL * x / WALL + CENTER[0] > 0.5)
    hidden = on_wall & (x / 5 > 0.6)
    assert free.sum() > 15 and hidden.sum() > 3
    assert seen[0][:, free].all() and not seen[0][:, hidden].any()
    torch.testing.assert_close(images[0][:, :, free], targets.images[0][:, :, free], atol=1e-4, rtol=0)


def test_a_view_that_no_input_overlaps_has_their_mean_color():
    inputs, targets = seen_from(0.0), seen_from(0.0, frame=1, backwards=True)
    warped = WarpedImages()
    guess = warped.guess(inputs, targets, {})
    assert guess is not None
    mean = inputs.images.mean((0, 2, 3))[:, None, None].expand(3, HEIGHT, WIDTH)
    torch.testing.assert_close(guess.rgb[0], mean)
    assert warped.figures('config') == {'warped_visible/next/share': 0.0}


def test_the_views_of_now_are_not_warped_and_those_without_depth_are_told(capsys):
    assert WarpedImages().guess(seen_from(0.0), seen_from(0.0), {}) is None
    warped, blind = WarpedImages(), seen_from(1.0, frame=1)
    blind.true_depth[:] = math.nan
    assert warped.guess(seen_from(0.0), blind, {}) is None
    assert warped.figures('CONFIG') == {}
    assert capsys.readouterr().err.startswith('warning: CONFIG: 1 of 1 novel views')


def test_filling_takes_the_nearest_seen_pixel():
    image = torch.arange(24.0).view(1, 4, 6).repeat(3, 1, 1)
    seen = torch.zeros(4, 6, dtype=torch.bool)
    seen[1, 1] = seen[3, 5] = True
    filled = fill(image, seen, image[None])
    for row in range(4):
        for column in range(6):
            near = (row - 1) ** 2 + (column - 1) ** 2
            far = (row - 3) ** 2 + (column - 5) ** 2
            assert filled[0, row, column].item() in ({7.0, 23.0} if near == far else {7.0 if near < far else 23.0})
