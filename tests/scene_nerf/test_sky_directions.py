"""What is open in one image is told by the same direction in others."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from projects.DistillNeRF.geometry.cameras import Cameras
from projects.DistillNeRF.scene_nerf.sky_directions import (
    APART,
    PLACES,
    DirectionColors,
    Directions,
    _bins,
    _num_bins,
    _places,
    contradicted,
    tell_by_direction,
)
from tests.helpers.lidar_world import GROUND, Street, camera_ahead, true_depth

LIKELY, SURE, CERTAIN = 64, 100, 127
SIZE = (48, 80)
# A tower that is passed at some distance, and a house far ahead.
TOWER, FAR = ((6.0, 22.0, GROUND), (9.0, 26.0, 30.0)), ((-30.0, 70.0, GROUND), (-5.0, 75.0, 20.0))


def drive(places: int, apart: float = 1.5) -> tuple[list[Cameras], np.ndarray, np.ndarray]:
    """Return cameras that look ahead, what they show (-1: sky), and the elevation of rays, of a drive along y."""
    cameras, what, degrees = [], [], []
    for number in range(places):
        pose = np.eye(4)
        pose[1, 3] = apart * number
        image = camera_ahead(pose, 0.0, number, *SIZE)
        cameras.append(image.camera_at(*SIZE))
        what.append(true_depth(Street(lambda time: (TOWER, FAR)), image)[1])
        directions = cameras[-1].rays(*SIZE)[1].reshape(*SIZE, 3)
        degrees.append(torch.rad2deg(torch.asin(directions[..., 2] / directions.norm(dim=-1))).numpy())
    return cameras, np.stack(what), np.stack(degrees)


def painted(what: np.ndarray, degrees: np.ndarray, house: tuple[int, int, int]) -> np.ndarray:
    """Return images of a sky that is darker higher up."""
    sky = np.array([150, 180, 240]) - degrees[..., None] * [2.0, 1.5, 0.5]
    return np.where((what == -1)[..., None], sky, house).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope='module')
def seen() -> tuple:
    return drive(14)


def tell(labels: np.ndarray, images: np.ndarray, cameras: list[Cameras], points: np.ndarray | None = None) -> None:
    points = np.zeros(labels.shape, bool) if points is None else points
    tell_by_direction(labels, points, images, Directions.of(cameras), LIKELY, SURE)


def test_what_differs_from_the_sky_of_its_direction_is_solid_and_what_does_not_is_sky(seen):
    cameras, what, degrees = seen
    images = painted(what, degrees, (190, 200, 205))
    above, sky = degrees > 3, what == -1
    # Of every second image it is known where the sky is; the others are open.
    labels = np.where(sky, 110, -110).astype(np.int8)
    labels[1::2] = 0
    tell(labels, images, cameras)
    told, sky, above = labels[1::2], sky[1::2], above[1::2]
    assert (told[sky & above] == LIKELY).mean() > 0.95 and (told[sky] < 0).mean() < 0.02
    # Where the tower stands now, the sky was seen from elsewhere; the far house always hides the same.
    tower = (what[1::2] == 1) & above
    assert tower.sum() > 400 and (told[tower] == -LIKELY).mean() > 0.6 and (told[tower] > 0).mean() < 0.02
    assert (told[what[1::2] == 2] <= 0).mean() > 0.95
    assert set(np.unique(labels)) <= {-110, -LIKELY, 0, LIKELY, 110}


def test_a_wrong_guess_by_color_is_taken_back(seen):
    cameras, what, degrees = seen
    images = painted(what, degrees, (190, 200, 205))
    labels = np.where(what == -1, 110, 0).astype(np.int8)
    tower = (what == 1) & (degrees > 3)
    guessed = tower & (np.arange(len(what)) == 5)[:, None, None]
    labels[guessed] = 90
    assert guessed.sum() > 30
    tell(labels, images, cameras)
    assert (labels[guessed] <= 0).mean() > 0.9


def test_sky_of_another_color_than_from_elsewhere_is_contradicted(seen):
    cameras, what, degrees = seen
    images = painted(what, degrees, (190, 200, 205))
    labels = np.where(what == -1, CERTAIN, -CERTAIN).astype(np.int8)
    # A tower is taken for the sky in one image.
    tower = (what == 1) & (degrees > 3) & (np.arange(len(what)) == 5)[:, None, None]
    labels[tower] = CERTAIN
    found = contradicted(labels, images, Directions.of(cameras))
    assert tower.sum() > 30 and found[tower].mean() > 0.6
    assert found[what == -1].mean() < 0.02 and not found[labels < 0].any()
    # From two places nobody knows which one is right, and a drive that stands tells nothing.
    assert not contradicted(labels[4:6], images[4:6], Directions.of(cameras[4:6])).any()
    assert not contradicted(labels, images, Directions.of([cameras[5]] * len(cameras))).any()


def test_one_color_of_a_direction_from_many_places_is_the_sky(seen):
    """A cloud that nothing is known of; a drive that stands tells nothing."""
    cameras, what, degrees = seen
    images = painted(what, degrees, (110, 60, 50))
    points = np.zeros(what.shape, bool)
    points[:, :, ::7] = True
    for chosen, told in ((slice(None), True), ([3] * len(cameras), False)):
        here = [cameras[3]] * len(cameras) if isinstance(chosen, list) else cameras
        pictures, truth, high = images[chosen], what[chosen] == -1, degrees[chosen] > 3
        # Most of what is solid is known to be.
        labels = np.where(~truth & (np.random.default_rng(2).random(truth.shape) < 0.9), -110, 0).astype(np.int8)
        before = labels.copy()
        tell(labels, pictures, here, points)
        if not told:
            np.testing.assert_array_equal(labels, before)
            continue
        np.testing.assert_array_equal(labels[points], before[points])
        assert (labels[truth & high & ~points] == LIKELY).mean() > 0.7
        left = ~truth & (before == 0) & high & ~points
        assert left.sum() > 30 and (labels[left] > 0).mean() < 0.05


def test_what_is_certain_or_below_the_horizon_stays(seen):
    cameras, what, degrees = seen
    images = np.random.default_rng(0).integers(0, 256, (*what.shape, 3), dtype=np.uint8)
    for value in (CERTAIN, -CERTAIN, -SURE):
        labels = np.full(what.shape, value, np.int8)
        labels[degrees < 0] = 0
        before = labels.copy()
        tell(labels, images, cameras)
        np.testing.assert_array_equal(labels, before)


def test_colors_of_directions_are_means_of_places():
    rng = np.random.default_rng(1)
    cameras, _, _ = drive(5)
    images = rng.integers(0, 256, (5, *SIZE, 3), dtype=np.uint8)
    bins, places = [_bins(camera) for camera in cameras], np.array([0, 1, 1, 2, 0])
    used = rng.random((5, *SIZE)) < 0.5
    used[3] = False  # nothing of a place
    found = DirectionColors.of(images, bins, places, lambda number: used[number])
    assert found.mean.shape == (_num_bins(), 3) and found.places[0] == 0
    for wanted in rng.choice(np.unique(np.stack(bins)[used])[1:], 20):
        means = []
        for place in range(3):
            pixels = [images[n][used[n] & (bins[n] == wanted)] for n in np.flatnonzero(places == place)]
            pixels = np.concatenate(pixels).astype(float)
            means += [pixels.mean(0)] if len(pixels) else []
        assert found.places[wanted] == len(means)
        np.testing.assert_allclose(found.mean[wanted], np.mean(means, 0), rtol=1e-9)
        np.testing.assert_allclose(found.spread[wanted], np.std(means, 0).max(), atol=1e-4)
    where = bins[1]
    off = np.abs(images[1][3, 4] - found.mean[where[3, 4]]).max()
    np.testing.assert_allclose(found.distance(images[1], where)[3, 4], off)


def test_bins_and_places():
    cameras, _, degrees = drive(3)
    bins = np.stack([_bins(camera) for camera in cameras])
    assert ((bins == 0) == (degrees <= 0)).all() and bins.max() < _num_bins()
    np.testing.assert_array_equal(bins[0], bins[2])  # the direction counts, not the place
    turned = cameras[0].cam2world.clone()
    turned[:, :3, :3] = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]).double() @ turned[:, :3, :3].double()
    around = _bins(Cameras(cameras[0].intrinsics, turned.to(cameras[0].cam2world), *SIZE))
    assert not set(around[around > 0]) & set(bins[bins > 0])
    steps = np.outer([0, 0.4, 0.8, 1.7, 3.0, 0.1], [0.0, APART, 0])
    assert _places(steps).tolist() == [0, 0, 0, 1, 2, 0] and _places(np.zeros((0, 3))).tolist() == []
    assert PLACES > 2
