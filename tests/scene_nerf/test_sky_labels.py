"""What is sky is told by LiDAR where it can be, and by color elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import maximum_filter

from projects.DistillNeRF.scene_nerf import sky_labels
from projects.DistillNeRF.scene_nerf.beams import Beams, collect_beams
from projects.DistillNeRF.scene_nerf.sky_labels import (
    CERTAIN,
    HIGHEST,
    LIKELY,
    NEAREST,
    NONE,
    _drop_doubtful,
    _islands,
    _Lidar,
    _ray_degrees,
    _tell_by_color,
    label_sky,
)
from tests.helpers.lidar_world import GROUND, Street, drive_through, true_depth

# A house by the road whose upper storeys no beam reaches, and one far ahead, below the highest beams.
BOXES = (((4.0, 2.0, GROUND), (9.0, 30.0, 40.0)), ((-20.0, 40.0, GROUND), (-2.0, 45.0, 4.0)))
BLUE, GRAY = (120, 160, 230), (128, 120, 110)


@pytest.fixture(scope='module')
def street(tmp_path_factory) -> tuple:
    """A drive, its beams, its images and what they show, -1 for the sky."""
    street = Street(lambda time: BOXES)
    drive = drive_through(street, tmp_path_factory.mktemp('street'), 8)
    what = np.stack([true_depth(street, image)[1] for image in drive.images])
    noise = np.random.default_rng(0).normal(0, 6, (*what.shape, 3))
    pixels = np.where((what == -1)[..., None], BLUE, GRAY) + noise
    return drive, collect_beams(drive), torch.from_numpy(pixels.clip(0, 255).astype(np.uint8)), what


def labels(drive, pixels: torch.Tensor, beams: Beams) -> np.ndarray:
    size = pixels.shape[1:3]
    return label_sky([image.camera_at(*size) for image in drive.images], pixels, beams).numpy()


def test_upper_storeys_and_the_sky_beside_them_are_told_by_color(street):
    drive, beams, pixels, what = street
    found, sky = labels(drive, pixels, beams), what == -1
    assert found.dtype == np.int8 and found.shape == what.shape
    assert sky[found == CERTAIN].mean() > 0.999 and (~sky)[found == -CERTAIN].mean() > 0.99
    assert 0.05 < (found[sky] == CERTAIN).mean() < 0.95  # beside the house LiDAR cannot tell
    assert (found[sky] > 100).mean() > 0.97 and (found[~sky] < -100).mean() > 0.97


def test_a_color_of_both_or_of_none_says_nothing(street):
    drive, beams, pixels, what = street
    same = torch.full_like(pixels, 130)
    found = labels(drive, same, beams)
    # Where another place shows the sky in that direction, it has that color, too.
    assert set(np.unique(found)) <= {-CERTAIN, *range(-2, 3), LIKELY, CERTAIN}
    depth = np.stack([true_depth(Street(lambda time: BOXES), image)[0] for image in drive.images])
    height = depth * (np.arange(96)[:, None] - 47.5) / -80
    upper = (what == 1) & (height > 9)  # what only color can tell
    strange = pixels.clone()
    strange[torch.from_numpy(upper)] = torch.tensor([255, 0, 255], dtype=torch.uint8)
    # A few pixels of the house at the height of the LiDAR, which are certain, have the color by chance.
    image, row, column = np.argwhere((what == 1) & (np.arange(96)[:, None] == 46))[:3].T
    strange[image, row, column] = torch.tensor([255, 0, 255], dtype=torch.uint8)
    found = labels(drive, strange, beams)[upper]
    assert upper.sum() > 500 and (found > -CERTAIN).mean() > 0.9 and np.abs(found[found > -CERTAIN]).max() < 40


def test_a_pixel_of_a_point_that_looks_like_the_sky_beside_it_is_unknown(street):
    """Points at an edge fall on pixels that show what is beside it; blue houses stay solid."""
    drive, beams, pixels, _ = street
    found = labels(drive, pixels, beams)
    solid, beside = found == -CERTAIN, maximum_filter(found > 100, (1, 3, 3))
    edge, inner = np.argwhere(solid & beside)[::5], np.argwhere(solid & ~maximum_filter(found > 100, (1, 9, 9)))[::50]
    odd = pixels.clone()
    odd[tuple(torch.from_numpy(np.concatenate([edge, inner]).T))] = torch.tensor(BLUE, dtype=torch.uint8)
    again = labels(drive, odd, beams)
    assert len(edge) > 20 and len(inner) > 20
    # Some of the inner ones are told by their color alone.
    assert (again[tuple(edge.T)] >= 0).mean() > 0.9 and (again[tuple(inner.T)] == -CERTAIN).mean() > 0.8


def test_what_is_below_a_surface_is_no_sky_whatever_its_color(street):
    drive, beams, pixels, _ = street
    mirror = pixels.clone()
    mirror[:, -30:] = torch.tensor(BLUE, dtype=torch.uint8)
    assert (labels(drive, mirror, beams)[:, -20:] <= 0).all()


def test_without_certain_sky_its_color_is_unknown(street, tmp_path):
    """A tunnel: all that can be told is where it is solid."""
    walls = tuple(((x, -50.0, GROUND), (x + 1, 200.0, 30.0)) for x in (-5.0, 4.0))
    drive = drive_through(Street(lambda time: (*walls, ((-9.0, -50.0, 4.0), (9.0, 200.0, 9.0)))), tmp_path, 3)
    pixels = torch.full((3, 96, 160, 3), 200, dtype=torch.uint8)
    found = labels(drive, pixels, collect_beams(drive))
    assert set(np.unique(found)) == {-CERTAIN, 0}


def test_masks_are_believed_and_teach_the_colors_of_other_images(street):
    drive, beams, pixels, what = street
    masks: list[np.ndarray | None] = [None] * len(what)
    masks[2] = np.repeat(np.repeat(what[2] == -1, 2, 0), 2, 1).astype(np.float32)
    cameras = [image.camera_at(96, 160) for image in drive.images]
    for lidar in (None, beams):
        found = label_sky(cameras, pixels, lidar, masks).numpy()
        np.testing.assert_array_equal(found[2], np.where(what[2] == -1, CERTAIN, -CERTAIN))
        rest = np.arange(len(what)) != 2
        sky = what[rest] == -1
        assert (found[rest][sky] > 100).mean() > 0.97 and (found[rest][~sky] < -100).mean() > 0.9
    assert (label_sky(cameras, pixels, None).numpy() == 0).all()


def test_a_cloud_of_the_color_of_houses_is_not_called_solid(street):
    """No edge parts it from the sky around it, as its color changes slowly."""
    drive, beams, _, what = street
    rows, columns = np.mgrid[: what.shape[1], : what.shape[2]]
    share = np.exp(-(((rows - 29) / 7) ** 2 + ((columns - 60) / 22) ** 2))[None, ..., None]
    cloud = (what == -1) & (share[..., 0] > 0.8)
    smooth = np.where((what == -1)[..., None], BLUE, GRAY).astype(float)
    cloudy = np.where((what == -1)[..., None], (1 - share) * BLUE + share * np.array(GRAY), smooth)
    found = labels(drive, torch.from_numpy(cloudy.astype(np.uint8)), beams)
    assert cloud.sum() > 200 and (found[cloud] >= 0).mean() > 0.9
    assert (found[what >= 0] < 0).mean() > 0.9


def test_a_house_as_blue_as_the_sky_is_likely_solid_below_its_roof(street):
    drive, beams, pixels, what = street
    blue = torch.from_numpy((what == 1) & (np.arange(what.shape[1])[:, None] >= 8))
    noise = torch.randint(-9, 10, (int(blue.sum()), 3), generator=torch.Generator().manual_seed(0))
    painted = pixels.clone()
    painted[blue] = (torch.tensor(BLUE) + noise).to(torch.uint8)
    found = labels(drive, painted, beams)
    upper = blue.numpy() & (found > -CERTAIN)
    assert upper.sum() > 500 and (found[upper] == -64).mean() > 0.8
    # Unpainted sky beside it is no worse for it.
    assert (found[what == -1] >= 0).mean() > 0.97


def test_a_tower_beyond_the_reach_of_the_lidar_is_not_called_sky(tmp_path):
    """No beam came back from it, but it has the color of houses; a third of it was sky by LiDAR alone."""
    boxes = (*BOXES, ((-60.0, 150.0, GROUND), (-25.0, 160.0, 70.0)))
    drive = drive_through(Street(lambda time: boxes), tmp_path, 8)
    what = np.stack([true_depth(Street(lambda time: boxes), image)[1] for image in drive.images])
    noise = np.random.default_rng(0).normal(0, 6, (*what.shape, 3))
    pixels = (np.where((what == -1)[..., None], BLUE, GRAY) + noise).clip(0, 255).astype(np.uint8)
    beams = collect_beams(drive)
    found = labels(drive, torch.from_numpy(pixels), beams)
    camera = drive.images[0].camera_at(*what.shape[1:])
    tower, taken = what == 3, _Lidar.of(beams).certain(camera, _ray_degrees(camera))[0]
    assert (taken & tower[0]).sum() > 100, 'LiDAR does not take the tower for the sky'
    assert (found[tower] > 0).mean() < 0.1
    assert (found[what == -1] > 0).mean() > 0.97


@pytest.mark.parametrize('number', [0, 3])
def test_a_wall_of_the_color_of_the_sky_is_not_called_so_where_a_roof_cuts_it_off(street, number):
    """The roof has a color that nothing is known of; there is no other image whose directions would tell."""
    drive, beams, pixels, what = street
    camera, painted = drive.images[number].camera_at(*what.shape[1:]), pixels[number].clone()
    upper = (what[number] == 1) & (_ray_degrees(camera) > 20)
    wall = upper & np.roll(upper, 4, 0) & np.roll(upper, 4, 1)
    painted[torch.from_numpy(upper)] = torch.tensor([250, 20, 250], dtype=torch.uint8)
    noise = np.random.default_rng(1).normal(0, 6, (wall.sum(), 3))
    painted[torch.from_numpy(wall)] = torch.from_numpy((np.array(BLUE) + noise).astype(np.uint8))
    found = label_sky([camera], painted[None], beams).numpy()[0]
    assert wall.sum() > 500 and not (found[wall] > 0).any()
    assert (found[what[number] == -1] > 0).mean() > 0.97


def test_low_sky_of_lidar_is_believed_where_no_other_place_contradicts(street, monkeypatch):
    drive, beams, pixels, what = street
    degrees = np.stack([_ray_degrees(image.camera_at(*what.shape[1:])) for image in drive.images])
    low = degrees < np.degrees(np.arctan(HIGHEST / np.percentile(beams.lengths, 99.9)))
    certain = labels(drive, pixels, beams) == CERTAIN
    assert (certain & low).sum() > 5000 and (certain & ~low).sum() > 200
    monkeypatch.setattr(sky_labels, 'contradicted', lambda labels, images, directions: np.ones(labels.shape, bool))
    found = labels(drive, pixels, beams) == CERTAIN
    assert not (found & low).any()
    np.testing.assert_array_equal(found & ~low, certain & ~low)


def test_islands_are_beside_neither_certain_sky_nor_the_top():
    labels = np.full((9, 12), -50, np.int8)
    labels[0:3, 1:3] = 60  # reaches the top
    labels[4:6, 1:4] = 60
    labels[2:6, 6:8], labels[5, 7] = 60, CERTAIN
    labels[6, 8] = 60  # touches it by a corner
    labels[3, 10:] = 60
    expected = np.zeros(labels.shape, bool)
    expected[4:6, 1:4] = expected[6, 8] = expected[3, 10:] = True
    np.testing.assert_array_equal(_islands(labels), expected)
    for value in (-50, 0, 60, CERTAIN):
        assert not _islands(np.full((5, 7), value, np.int8)).any()


def test_what_may_be_sky_by_color_is_not_where_a_flood_from_points_comes_first():
    image = np.full((12, 24, 3), 200, np.uint8)
    image[:, :12] = BLUE
    labels, points = np.zeros(image.shape[:2], np.int8), np.zeros(image.shape[:2], bool)
    labels[:, :6] = CERTAIN
    points[10:, 15:] = True
    labels[points] = -CERTAIN
    _tell_by_color(labels, points, np.full(labels.shape, 50, np.int8), image)
    # The border of a flood belongs to none.
    assert (labels[1:9, 14:23] == 0).all() and (labels[1:9, 6:11] == 50).all()


def test_a_roof_that_lidar_takes_for_the_sky_is_in_doubt_and_a_cloud_of_its_color_is_not():
    image = np.full((24, 40, 3), BLUE, np.uint8)
    image[12:] = GRAY  # a house; its roof, down to row 15, returns no beam
    cloud = (slice(3, 6), slice(15, 25))
    image[cloud] = GRAY
    labels, points = np.full(image.shape[:2], CERTAIN, np.int8), np.zeros(image.shape[:2], bool)
    points[16:], labels[16:] = True, -CERTAIN
    by_color = np.where((image == GRAY).all(-1), -50, 50).astype(np.int8)
    unsure = labels.copy()
    _drop_doubtful(unsure, points, by_color, image)
    doubt = unsure != labels
    assert not unsure[doubt].any()
    # The border of a flood belongs to none.
    assert doubt[13:16].mean() > 0.9 and not doubt[:12].any() and not doubt[16:].any()
    assert not doubt[cloud].any()
    unsure = labels.copy()
    _drop_doubtful(unsure, points, np.full_like(by_color, 50), image)
    assert (unsure == labels).all()


def test_each_pixel_has_the_highest_beam_that_ended_there(street):
    drive, beams, _, _ = street
    camera = drive.images[3].camera_at(48, 80)
    (pixels,), (z,) = camera.project(torch.from_numpy(beams.ends).double())
    rising = np.degrees(np.arcsin(((beams.ends - beams.origins) / beams.lengths[:, None])[:, 2]))
    expected = np.full((48, 80), NONE)
    for (u, v), depth, degrees in zip(pixels.numpy(), z.numpy(), rising, strict=True):
        if depth > NEAREST and -0.5 <= u < 79.5 and -0.5 <= v < 47.5:
            row, column = int(np.floor(v + 0.5)), int(np.floor(u + 0.5))
            expected[row, column] = max(expected[row, column], degrees)
    found = _Lidar.of(beams)._highest_beams(camera)
    assert (expected > NONE).mean() > 0.2
    np.testing.assert_allclose(found, expected, atol=1e-3)
