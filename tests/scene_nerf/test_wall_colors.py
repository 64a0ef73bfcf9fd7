"""Upper storeys have the colors of the wall below them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from projects.DistillNeRF.scene_nerf.beams import collect_beams
from projects.DistillNeRF.scene_nerf.sky_labels import CERTAIN, label_sky
from projects.DistillNeRF.scene_nerf.wall_colors import (
    ALIKE,
    FIRST,
    LAST,
    LEAST,
    SHARE,
    SHARED,
    SQUARE,
    WallColors,
    _evenly,
    find_walls,
)
from tests.helpers.lidar_world import GROUND, PARKED, Street, drive_through, true_depth

# A house by the road whose upper storeys no beam reaches and no image shows the roof of, a lower and wider one on the
# other side, and a parked car.
HOUSE, OTHER = ((6.0, 8.0, GROUND), (9.0, 16.0, 60.0)), ((-20.0, 16.0, GROUND), (-6.0, 50.0, 5.0))
BOXES = (HOUSE, OTHER, PARKED)
BLUE, GRAY = (120, 160, 230), (128, 120, 110)


@pytest.fixture(scope='module')
def street(tmp_path_factory) -> tuple:
    """A drive, its cameras, its beams, and what its images show, -1 for the sky."""
    street = Street(lambda time: BOXES)
    drive = drive_through(street, tmp_path_factory.mktemp('street'), 8)
    what = np.stack([true_depth(street, image)[1] for image in drive.images])
    cameras = [image.camera_at(*what.shape[1:]) for image in drive.images]
    return drive, cameras, collect_beams(drive), what


def painted(what: np.ndarray) -> np.ndarray:
    """Paint the sky and the house in the same blue, all else gray."""
    colors = np.where(((what == -1) | (what == 1))[..., None], BLUE, GRAY)
    noise = np.random.default_rng(0).normal(0, 1.5, colors.shape)
    return (colors + noise).clip(0, 255).astype(np.uint8)


def test_a_house_as_blue_as_the_sky_is_not_called_sky(street, monkeypatch):
    _, cameras, beams, what = street
    pixels = torch.from_numpy(painted(what))
    found = label_sky(cameras, pixels, beams).numpy()
    monkeypatch.setattr(WallColors, 'tell', lambda self, camera, image, chosen: np.zeros_like(chosen))
    without = label_sky(cameras, pixels, beams).numpy()
    house, sky = what == 1, what == -1
    assert (without[house] > 0).sum() > 1000, 'color alone knows the house'
    assert (found[house] > 0).sum() < 0.05 * (without[house] > 0).sum()
    # Sky that is seen close beside the house, over nothing else that is tall, is in doubt, too.
    assert (found[sky] > 0).mean() > 0.98 * (without[sky] > 0).mean()
    np.testing.assert_array_equal(found == CERTAIN, without == CERTAIN)


def test_walls_stand_where_houses_do_and_cars_are_none(street):
    _, _, beams, _ = street
    corner, walls = find_walls(beams.ends)
    middles = corner + (np.argwhere(walls) + 0.5) * SQUARE
    low, high = (np.array(bound[:2]) for bound in HOUSE)
    house = ((middles > low - SQUARE) & (middles < high + SQUARE)).all(1)
    low, high = (np.array(bound[:2]) for bound in OTHER)
    other = ((middles > low - SQUARE) & (middles < high + SQUARE)).all(1)
    assert house.sum() > 15 and other.sum() > 15 and (house | other).all()


def test_ground_is_that_around_a_wall():
    """A wall of 4 m on a hill of 50 m, and a slope that is no wall."""
    x, y = np.meshgrid(np.arange(0, 60, 0.2), np.arange(0, 20, 0.2))
    ground = np.stack([x.ravel(), y.ravel(), x.ravel() * 0.2], 1)
    along, up = np.meshgrid(np.arange(5, 15, 0.2), np.arange(0, 4, 0.2))
    wall = np.stack([np.full(along.size, 50.1), along.ravel(), 10 + up.ravel()], 1)
    corner, walls = find_walls(np.concatenate([ground, wall]).astype(np.float32))
    middles = corner + (np.argwhere(walls) + 0.5) * SQUARE
    assert len(middles) >= 20
    assert (np.abs(middles[:, 0] - 50.1) < SQUARE).all() and (np.abs(middles[:, 1] - 10) < 5.5).all()


def test_a_group_keeps_some_of_its_members_evenly():
    groups = np.array([2, 0, 2, 2, 0, 2, 5, 2, 2])
    kept = _evenly(groups, 3)
    np.testing.assert_array_equal(groups[kept], [0, 0, 2, 2, 2, 5])
    np.testing.assert_array_equal(kept, [1, 4, 2, 5, 8, 6])
    np.testing.assert_array_equal(np.sort(_evenly(groups, 6)), np.arange(9))
    assert len(_evenly(groups[:0], 3)) == 0


def test_pixels_are_compared_with_what_was_hit_on_the_first_wall_around(street):
    """Against plain loops over pixels, and steps through the squares."""
    _, cameras, beams, what = street
    images = np.random.default_rng(1).integers(100, 130, (*what.shape, 3)).astype(np.uint8)
    points = np.random.default_rng(2).random(what.shape) < 0.1
    walls = WallColors.of(cameras, images, points, beams)
    chosen = np.random.default_rng(3).random(what.shape[1:]) < 0.1
    found = walls.tell(cameras[3], images[3], chosen)

    columns = walls.walls.shape[1] // SHARED + 3
    pieces = [walls.colors[a:b].astype(int) for a, b in zip(walls.firsts[:-1], walls.firsts[1:], strict=True)]
    origin = cameras[3].cam2world[0, :2, 3].double().numpy()
    directions = cameras[3].rays(*what.shape[1:])[1].reshape(-1, 3).double().numpy()
    expected = np.zeros(chosen.size, bool)
    for pixel in np.flatnonzero(chosen.ravel()):
        x, y, z = directions[pixel]
        if z <= 0:
            continue
        steps = np.arange(FIRST / SQUARE, LAST / SQUARE, 0.5)[:, None] * np.array([x, y]) / np.hypot(x, y)
        squares = np.floor((origin - walls.corner) / SQUARE + steps).astype(int)
        squares = squares[((squares >= 0) & (squares < walls.walls.shape)).all(1)]
        squares = squares[walls.walls[tuple(squares.T)]]
        if len(squares):
            row, column = squares[0] // SHARED + 1
            near = [pieces[(row + i) * columns + column + j] for i in (-1, 0, 1) for j in (-1, 0, 1)]
            colors = np.concatenate(near)
            same = (np.abs(colors - images[3].reshape(-1, 3)[pixel]) <= ALIKE).all(1).sum()
            expected[pixel] = same >= max(LEAST, SHARE * len(colors))
    assert 100 < expected.sum() < 0.9 * chosen.sum()
    np.testing.assert_array_equal(found.ravel(), expected)
