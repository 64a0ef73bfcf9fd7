"""Rays through grids made by hand, and against a slow version that asks every voxel."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from projects.DistillNeRF.evaluation.occupancy.ray_iou import (
    RayCounts,
    cast_rays,
    drive_origins,
    lidar_directions,
)
from projects.DistillNeRF.semantics.occ3d import FREE, LOWER, VOXEL
from tests.helpers.grids import BUS, CAR, TRUCK, at, block, empty, street

SMALL = (6, 5, 4)
AHEAD = np.array([[1.0, 0.0, 0.0]])


def plain_cast(semantics: np.ndarray, origin: np.ndarray, direction: np.ndarray) -> tuple[float, int]:
    """Intersect the ray with every occupied voxel, and take the nearest."""
    voxels = np.argwhere(semantics != FREE)
    start = (origin - LOWER) / VOXEL
    near, far = np.zeros(len(voxels)), np.full(len(voxels), np.inf)
    for axis in range(3):
        low = voxels[:, axis]
        if direction[axis] == 0:
            far[(start[axis] < low) | (start[axis] >= low + 1)] = -1
        else:
            ends = np.sort((np.stack([low, low + 1]) - start[axis]) / direction[axis], axis=0)
            near, far = np.maximum(near, ends[0]), np.minimum(far, ends[1])
    near[near >= far] = np.inf
    if not np.isfinite(near).any():
        return math.inf, FREE
    first = np.argmin(near)
    return far[first] * VOXEL, semantics[tuple(voxels[first])]


def cast(semantics: np.ndarray, position: tuple[float, float, float], direction: tuple[float, float, float]):
    """Cast one ray from a position in voxels; distances in voxels."""
    unit = np.array([direction]) / np.linalg.norm(direction)
    distance, found = cast_rays(semantics, at(*position), unit)
    return distance[0] / VOXEL, found[0]


def one_voxel(place: tuple[int, int, int], kind: int = CAR) -> np.ndarray:
    grid = empty(SMALL)
    grid[place] = kind
    return grid


@pytest.mark.parametrize('share', [0.0, 0.02, 0.3, 1.0])
def test_random_rays_meet_what_the_slow_version_says(share):
    rng = np.random.default_rng(3)
    grid = np.where(rng.random(SMALL) < share, rng.integers(0, FREE, SMALL), FREE).astype(np.uint8)
    met = 0
    for origin in rng.uniform(-4, 10, (60, 3)):
        directions = rng.normal(size=(6, 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        distances, classes = cast_rays(grid, at(*origin), directions)
        expected = [plain_cast(grid, at(*origin), direction) for direction in directions]
        assert np.allclose(distances, [distance for distance, _ in expected], rtol=1e-9)
        assert classes.tolist() == [found for _, found in expected]
        met += (classes != FREE).sum()
    assert (met > 0) == (share > 0)


@pytest.mark.parametrize('axis', [0, 1, 2])
@pytest.mark.parametrize('sign', [1.0, -1.0])
def test_rays_along_axes_meet_what_the_slow_version_says(axis, sign):
    """Also rays in faces and edges between voxels, which belong to the voxel above."""
    rng, shape = np.random.default_rng(4), (10, 10, 15)
    grid = np.where(rng.random(shape) < 0.1, rng.integers(0, FREE, shape), FREE).astype(np.uint8)
    direction, met = sign * np.eye(3)[axis], 0
    # Whole meters, so that they are exact, also in voxels: 0, 5, 10 and 15 are faces, 2.5 is within.
    across, along = (-2.5, 0, 2.5, 5, 7.5, 10, 12.5, 15), (-2.5, 2.5, 7.5, 15)
    for position in itertools.product(*(along if one == axis else across for one in range(3))):
        origin = at(*position)
        assert ((origin - LOWER) / VOXEL).tolist() == list(position)
        distances, classes = cast_rays(grid, origin, direction[None])
        expected = plain_cast(grid, origin, direction)
        assert (distances[0], classes[0]) == (pytest.approx(expected[0]), expected[1])
        met += classes[0] != FREE
    assert met > 20


@pytest.mark.parametrize(
    ('position', 'direction', 'expected'),
    [
        ((0.5, 2.5, 1.5), (1, 0, 0), 4.5),
        ((5.5, 2.5, 1.5), (-1, 0, 0), 1.5),
        ((4.5, 0.5, 1.5), (0, 1, 0), 2.5),
        ((4.5, 4.5, 1.5), (0, -1, 0), 2.5),
        ((4.5, 2.5, -7.5), (0, 0, 1), 9.5),
        ((4.5, 2.5, 9.5), (0, 0, -1), 8.5),
        ((4.25, 2.5, 1.5), (1, 0, 0), 0.75),
        ((2.5, 0.5, 1.5), (1, 1, 0), 2.5 * math.sqrt(2)),
    ],
)
def test_the_distance_is_where_the_first_occupied_voxel_ends(position, direction, expected):
    """From inside the grid, from outside and from within the voxel (4, 2, 1)."""
    distance, found = cast(one_voxel((4, 2, 1)), position, direction)
    assert distance == pytest.approx(expected) and found == CAR


@pytest.mark.parametrize(
    ('position', 'direction'),
    [
        ((0.5, 2.5, 1.5), (-1, 0, 0)),
        ((0.5, 1.5, 1.5), (1, 0, 0)),
        ((-1.0, 2.5, 1.5), (-1, 0, 0)),
        ((-1.0, 7.5, 1.5), (1, 0, 0)),
        ((7.0, 4.0, 1.5), (-1, 1, 0)),
        ((-5.0, -5.0, -5.0), (1, 0, 0)),
    ],
)
def test_a_ray_that_meets_nothing_ends_nowhere(position, direction):
    assert cast(one_voxel((4, 2, 1)), position, direction) == (math.inf, FREE)
    assert cast(empty(SMALL), position, direction) == (math.inf, FREE)


def test_a_ray_through_an_edge_steps_along_z_then_y_then_x():
    """From the middle of voxel (2, 2, 2), exact in meters, too; what it only touches counts where it steps through."""
    start = (2.5, 2.5, 2.5)
    for direction, touched, passed in (
        ((1, 1, 0), (2, 3, 2), (3, 2, 2)),
        ((1, 0, 1), (2, 2, 3), (3, 2, 2)),
        ((0, 1, 1), (2, 2, 3), (2, 3, 2)),
    ):
        distance, found = cast(one_voxel(touched), start, direction)
        assert found == CAR and distance == pytest.approx(math.sqrt(0.5))
        assert cast(one_voxel(passed), start, direction) == (math.inf, FREE)


def test_the_nearest_of_two_is_met():
    grid = one_voxel((2, 2, 1), TRUCK)
    grid[4, 2, 1] = CAR
    assert cast(grid, (0.5, 2.5, 1.5), (1, 0, 0)) == (pytest.approx(2.5), TRUCK)
    assert cast(grid, (5.5, 2.5, 1.5), (-1, 0, 0)) == (pytest.approx(1.5), CAR)


def test_directions_are_those_of_the_protocol():
    directions = lidar_directions()
    assert directions.shape == (39 * 360, 3)
    assert np.allclose(np.linalg.norm(directions, axis=1), 1)
    beams = directions.reshape(39, 360, 3)
    slopes = beams[:, 0, 2] / beams[:, 0, 0]
    assert np.allclose(-1 / slopes[:10], np.arange(1, 11))
    elevations = np.arctan(slopes)
    assert np.allclose(np.diff(elevations[8:]), elevations[9] - elevations[8])
    assert elevations[-2] < 0.21 <= elevations[-1]
    assert np.allclose(beams[7, 90] / np.linalg.norm(beams[7, 90, :2]), [0, 1, -1 / 8])
    assert not beams[:, [90, 270], 0].any() and not beams[:, [0, 180], 1].any()


def count(prediction: np.ndarray, truth: np.ndarray, *positions: tuple[float, float, float]) -> RayCounts:
    """Rays straight ahead from positions in voxels."""
    counts = RayCounts()
    counts.add(prediction, truth, np.stack([at(*position) for position in positions]), AHEAD)
    return counts


def test_scores_of_four_rays_by_hand():
    """Cars 1 of 3, trucks 1 of 2; what is predicted where the truth is empty, a bus, does not count."""
    truth, prediction = empty(), empty()
    for row, kind in enumerate((CAR, CAR, TRUCK, CAR, FREE)):
        truth[150, row] = kind
    for row, kind in enumerate((CAR, TRUCK, TRUCK, FREE, BUS)):
        prediction[150, row] = kind
    counts = count(prediction, truth, *((100.5, row + 0.5, 3.5) for row in range(5)))
    assert counts.truth.sum() == 4 and counts.predicted.sum() == 3
    ious = counts.ious()
    assert (ious[:, [CAR, TRUCK]] == [1 / 3, 1 / 2]).all() and np.isnan(ious[:, BUS]).all()
    mean = pytest.approx((1 / 3 + 1 / 2) / 2)
    assert counts.scores() == {'ray_iou': mean, 'ray_iou_1m': mean, 'ray_iou_2m': mean, 'ray_iou_4m': mean}
    assert len(counts.absent()) == 15 and 'bus' in counts.absent()


@pytest.mark.parametrize(
    ('voxels', 'expected'),
    [(1, (1, 1, 1)), (2, (1, 1, 1)), (3, (0, 1, 1)), (4, (0, 1, 1)), (6, (0, 0, 1)), (11, (0, 0, 0))],
)
@pytest.mark.parametrize('sign', [1, -1])
def test_a_shift_costs_what_arithmetic_says(voxels, expected, sign):
    """Voxels are 0.4 m: 2 are within 1 m, 4 within 2 m, 9 within 4 m."""
    truth = block((150, 90, 0), (151, 110, 16))
    scores = count(np.roll(truth, sign * voxels, 0), truth, (100.5, 100.5, 8.5), (80.5, 95.5, 2.5)).scores()
    assert scores == {
        'ray_iou': pytest.approx(sum(expected) / 3),
        **dict(zip(('ray_iou_1m', 'ray_iou_2m', 'ray_iou_4m'), expected, strict=True)),
    }


def test_a_mirrored_grid_is_missed():
    """Ahead is empty; the same ray backward meets it."""
    truth = block((150, 90, 0), (151, 110, 16))
    assert count(np.flip(truth, 0), truth, (100.5, 100.5, 8.5)).scores()['ray_iou'] == 0
    assert count(np.flip(truth, 1), truth, (100.5, 100.5, 8.5)).scores()['ray_iou'] == 1


def test_perfect_empty_and_full_predictions():
    """A full grid is met at once, as something else, or too near."""
    origins = np.array([[0.985793, 0.0, 1.84019], [-12.0, 1.0, 1.9]])
    perfect, nothing, everything = RayCounts(), RayCounts(), RayCounts()
    perfect.add(street(), street(), origins)
    assert set(perfect.scores().values()) == {1.0}
    nothing.add(empty(), street(), origins)
    assert set(nothing.scores().values()) == {0.0} and nothing.predicted.sum() == 0
    everything.add(np.full_like(street(), CAR), street(), origins)
    assert everything.scores()['ray_iou_1m'] == 0 and everything.predicted[CAR] == everything.truth.sum()


def test_a_grid_with_nothing_in_it_has_no_scores():
    counts = RayCounts()
    counts.add(street(), empty(), np.array([[0.0, 0.0, 1.8]]))
    assert all(math.isnan(value) for value in counts.scores().values())


def test_parts_of_a_data_set_are_added():
    truth, prediction = street(), np.roll(street(), 3, 0)
    places = [(100.5, 100.5, 2.5), (20.5, 107.5, 4.5), (100.5, 98.5, 3.5)]
    merged = count(prediction, truth, *places[:1]) + count(prediction, truth, *places[1:])
    at_once = count(prediction, truth, *places)
    for name in ('truth', 'predicted', 'correct'):
        assert np.array_equal(getattr(merged, name), getattr(at_once, name))
    assert merged.truth.sum() > 1


def test_grids_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match='the truth'):
        RayCounts().add(empty(), empty(SMALL), np.zeros((1, 3)))


def pose(x: float, y: float, yaw: float) -> np.ndarray:
    cos, sin = math.cos(yaw), math.sin(yaw)
    return np.array([[cos, -sin, 0, x], [sin, cos, 0, y], [0, 0, 1, 0], [0, 0, 0, 1]], np.float64)


def test_origins_along_a_drive_are_in_the_ego_frame():
    """The car drives north, 10 m a frame, so that places of other frames are straight ahead and behind."""
    mount = np.eye(4)
    mount[:3, 3] = (0.9, 0.1, 1.8)
    ego = np.stack([pose(500, 10 * step, math.pi / 2) for step in range(12)])
    origins = drive_origins(ego @ mount, ego[3])
    # From -30 to 30 m; 40.9 m is too far.
    assert np.allclose(origins, [(0.9 + 10 * step, 0.1, 1.8) for step in range(-3, 4)])


def test_of_many_origins_eight_remain_with_the_first_and_the_last():
    ego = np.stack([pose(0.5 * step, 0, 0) for step in range(30)])
    origins = drive_origins(ego, ego[0])
    assert origins[:, 0].tolist() == [0.5 * step for step in (0, 4, 8, 12, 17, 21, 25, 29)]


def test_rays_of_the_protocol_are_counted_by_their_azimuth():
    """In a hollow block of cars ahead and trucks behind, 181 of 360 azimuths meet cars: 90 to both sides and between.

    All of them are predicted as cars: of cars 181 of 360 are right, of trucks none.
    """
    truth = np.full(empty().shape, TRUCK, np.uint8)
    truth[100:] = CAR
    truth[95:106, 95:106, 4:11] = FREE
    counts = RayCounts()
    counts.add(np.where(truth == FREE, FREE, CAR).astype(np.uint8), truth, at(100, 100.5, 7.5)[None])
    assert counts.truth[CAR] == 181 * 39 and counts.truth[TRUCK] == 179 * 39
    assert counts.scores()['ray_iou'] == pytest.approx((181 / 360 + 0) / 2)
