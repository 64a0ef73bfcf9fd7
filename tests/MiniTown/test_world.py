"""The town: the same from the same seed, true to its geometry, and free of collisions."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import numpy as np
import pytest

from projects.DistillNeRF.semantics.classes import CLASS_ID, CLASSES, OCC3D_CLASSES, OCC3D_ID, SKY
from projects.MiniTown.town_plan import LANE_OFFSET
from projects.MiniTown.world import _TIMES_KEPT, EGO_CENTER, EGO_SIZE, Town

HEIGHT, WIDTH, FOCAL = 56, 100, 70.0
INTRINSICS = np.array([[FOCAL, 0.0, (WIDTH - 1) / 2], [0.0, FOCAL, (HEIGHT - 1) / 2], [0.0, 0.0, 1.0]])
# A camera 1.5 m above the ground that looks along x of the ego frame: its x is right, its y is down.
CAM2EGO = np.array([[0.0, 0.0, 1.0, 1.5], [-1.0, 0.0, 0.0, 0.0], [0.0, -1.0, 0.0, 1.5], [0.0, 0.0, 0.0, 1.0]])
DURATION = 8.0


@pytest.fixture(scope='module')
def towns() -> list[Town]:
    return [Town(seed, DURATION) for seed in (0, 3, 5)]


@pytest.fixture(scope='module')
def town(towns: list[Town]) -> Town:
    return towns[1]


def looking_at(target: np.ndarray, eye: np.ndarray) -> np.ndarray:
    """Return a level camera at ``eye`` that looks at ``target``."""
    forward = (target - eye) / np.linalg.norm(target - eye)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, :4] = np.stack([right, np.cross(forward, right), forward, eye], axis=-1)
    return pose


def clear_view(town: Town, category: str, time: float) -> tuple[int, np.ndarray]:
    """Return a box of a category and a camera about 8 m from it that sees its middle."""
    for index, box in enumerate(town.boxes(time)):
        if box.category != category:
            continue
        for angle in np.arange(0.0, 2 * np.pi, 0.5):
            eye = box.center + 8.0 * np.array([np.cos(angle), np.sin(angle), 0.12])
            toward = (box.center - eye)[None]
            if town.cast(eye[None], toward, time)[2][0] == index:
                return index, looking_at(box.center, eye)
    raise AssertionError(f'no {category} can be seen')


def rectangle(center: np.ndarray, size: tuple[float, ...], yaw: float) -> np.ndarray:
    """Return ``(20, 2)`` points along the outline of a box seen from above."""
    edge = np.linspace(-0.5, 0.5, 6)[:-1]
    half = np.full(5, 0.5)
    sides = ((edge, half), (edge, -half), (half, edge), (-half, edge))
    scaled = np.concatenate([np.stack(side, axis=-1) for side in sides]) * (size[1], size[0])
    cos, sin = np.cos(yaw), np.sin(yaw)
    return center + scaled @ np.array([[cos, sin], [-sin, cos]])


def test_same_seed_gives_same_pictures_in_another_process(town: Town) -> None:
    code = f"""
import sys, hashlib, numpy as np
sys.path.insert(0, '.')
from projects.MiniTown.world import Town
town = Town(seed=3, duration={DURATION})
pose = town.ego_pose(1.0) @ np.array({CAM2EGO.tolist()})
made = town.render(np.array({INTRINSICS.tolist()}), pose, {HEIGHT}, {WIDTH}, 1.0)
print(*(hashlib.md5(part.tobytes()).hexdigest() for part in (made.rgb, made.depth, made.classes, made.instances)))
"""
    made = town.render(INTRINSICS, town.ego_pose(1.0) @ CAM2EGO, HEIGHT, WIDTH, 1.0)
    here = [hashlib.md5(part.tobytes()).hexdigest() for part in (made.rgb, made.depth, made.classes, made.instances)]
    there = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout.split()
    assert here == there


def test_other_times_in_between_change_no_picture(town: Town) -> None:
    """A town keeps what moves of a few times: more of them, and back again, give the same."""
    origins = town.ego_pose(1.0)[:3, 3] + np.array([0.0, 0.0, 25.0]) + np.zeros((4000, 3))
    generator = np.random.default_rng(0)
    directions = np.concatenate([generator.uniform(-2, 2, (4000, 2)), np.full((4000, 1), -1.0)], axis=1)
    times = np.linspace(0.0, DURATION, _TIMES_KEPT + 3).tolist()
    seen = [town.cast(origins, directions, t) for t in times]
    assert len(town._moving) == _TIMES_KEPT
    assert (seen[0][2] != seen[-1][2]).any(), 'something moves'
    for t, before in [*zip(times, seen, strict=True)][::-1]:
        for one, other in zip(town.cast(origins, directions, t), before, strict=True):
            np.testing.assert_array_equal(one, other)


def test_other_seed_gives_another_town(towns: list[Town]) -> None:
    first, second = towns[:2]
    assert not np.array_equal(first.ego_pose(1.0), second.ego_pose(1.0))
    assert {box.token for box in first.boxes(0.0)}.isdisjoint(box.token for box in second.boxes(0.0))


def test_images_have_their_types_and_stand_upright(town: Town) -> None:
    made = town.render(INTRINSICS, town.ego_pose(0.0) @ CAM2EGO, HEIGHT, WIDTH, 0.0)
    assert made.rgb.shape == (HEIGHT, WIDTH, 3) and made.rgb.dtype == np.uint8
    assert made.depth.dtype == np.float32 and made.classes.dtype == np.uint8 and made.instances.dtype == np.int32
    assert 70 < made.rgb.mean() < 180 and made.rgb.std() > 25
    sky = made.classes == SKY
    np.testing.assert_array_equal(sky, np.isnan(made.depth))
    assert sky[: HEIGHT // 4].any() and not sky[HEIGHT // 2 + 2 :].any()
    assert (made.classes[-5:, 40:60] == CLASS_ID['road']).all()


def test_depth_of_the_road_is_analytic(town: Town) -> None:
    cam2global = town.ego_pose(0.0) @ CAM2EGO
    made = town.render(INTRINSICS, cam2global, HEIGHT, WIDTH, 0.0)
    rows, columns = np.nonzero(made.classes == CLASS_ID['road'])
    assert len(rows) > 500
    # Camera height over (row below the principal point / focal length).
    expected = 1.5 * FOCAL / (rows - INTRINSICS[1, 2])
    np.testing.assert_allclose(made.depth[rows, columns], expected, rtol=1e-5)


@pytest.mark.parametrize('category', ['vehicle.car', 'human.pedestrian.adult'])
@pytest.mark.parametrize('time', [0.0, 2.5])
def test_box_lands_on_its_pixels_at_its_depth(town: Town, category: str, time: float) -> None:
    index, cam2global = clear_view(town, category, time)
    box = town.boxes(time)[index]
    made = town.render(INTRINSICS, cam2global, HEIGHT, WIDTH, time)
    x, y, z = np.linalg.inv(cam2global)[:3] @ [*box.center, 1.0]
    column, row = FOCAL * x / z + INTRINSICS[0, 2], FOCAL * y / z + INTRINSICS[1, 2]
    assert made.instances[round(row), round(column)] == index
    depth = made.depth[round(row), round(column)]
    assert z - np.linalg.norm(box.size[:2]) / 2 - 0.1 < depth < z + 0.1


def test_all_that_belongs_to_an_instance_is_in_its_box(town: Town) -> None:
    time = 1.0
    boxes = town.boxes(time)
    rng = np.random.default_rng(0)
    chosen = rng.integers(len(boxes), size=4000)
    targets = np.array([boxes[i].center for i in chosen]) + rng.normal(0.0, 0.5, (4000, 3))
    origins = targets + rng.uniform(-15.0, 15.0, (4000, 3)) * (1, 1, 0) + (0.0, 0.0, 4.0)
    directions = targets - origins
    distance, classes, instances, intensity = town.cast(origins, directions, time)
    unit = directions / np.linalg.norm(directions, axis=-1, keepdims=True)
    seen = np.flatnonzero(instances >= 0)
    assert len(np.unique(instances[seen])) > 0.8 * len(boxes)
    for ray in seen:
        box = boxes[instances[ray]]
        offset = origins[ray] + distance[ray] * unit[ray] - box.center
        cos, sin = np.cos(box.yaw), np.sin(box.yaw)
        local = np.array([cos * offset[0] + sin * offset[1], cos * offset[1] - sin * offset[0], offset[2]])
        width, length, height = box.size
        assert (np.abs(local) <= np.array([length, width, height]) / 2 + 0.03).all(), box.category
    assert ((intensity >= 0) & (intensity <= 1)).all()
    assert set(classes[seen]) <= {CLASS_ID[name] for name in CLASSES[CLASSES.index('car') :]}


def test_a_meter_aside_moves_pixels_by_focal_length_over_depth(town: Town) -> None:
    index, cam2global = clear_view(town, 'vehicle.car', 0.0)
    to_right = np.eye(4)
    to_right[0, 3] = 1.0
    first = town.render(INTRINSICS, cam2global, HEIGHT, WIDTH, 0.0)
    second = town.render(INTRINSICS, cam2global @ to_right, HEIGHT, WIDTH, 0.0)
    rows, columns = np.nonzero(first.instances == index)
    shift = FOCAL / first.depth[rows, columns]
    moved = np.round(columns - shift).astype(int)
    inside = moved >= 0
    rows, columns, moved = rows[inside], columns[inside], moved[inside]
    same = second.instances[rows, moved] == index
    assert same.mean() > 0.85
    difference = second.depth[rows, moved][same] - first.depth[rows, columns][same]
    assert np.median(np.abs(difference)) < 0.1


def test_rays_into_the_sky_miss(town: Town) -> None:
    origins, directions = np.full((3, 3), 100.0), np.tile([0.0, 0.0, 2.0], (3, 1))
    distance, classes, instances, intensity = town.cast(origins, directions, 0.0)
    assert np.isinf(distance).all() and (classes == SKY).all() and (instances == -1).all() and (intensity == 0).all()
    assert all(len(part) == 0 for part in town.cast(np.zeros((0, 3)), np.zeros((0, 3)), 0.0))
    down = town.cast(origins, -directions, 0.0)[0]
    assert (down < 100.1).all()


def test_pixels_look_along_their_middles(town: Town) -> None:
    cam2global = town.ego_pose(2.0) @ CAM2EGO
    made = town.render(INTRINSICS, cam2global, HEIGHT, WIDTH, 2.0)
    rows, columns = np.nonzero(made.classes != SKY)
    pixels = np.stack([columns, rows, np.ones(len(rows))], axis=-1)
    directions = pixels @ np.linalg.inv(INTRINSICS).T
    origins = np.broadcast_to(cam2global[:3, 3], directions.shape)
    distance, classes, instances, _ = town.cast(origins, directions @ cam2global[:3, :3].T, 2.0)
    z = distance / np.linalg.norm(directions, axis=-1)
    np.testing.assert_allclose(made.depth[rows, columns], z, rtol=1e-4)
    np.testing.assert_array_equal(made.classes[rows, columns], classes)
    np.testing.assert_array_equal(made.instances[rows, columns], instances)


def test_samples_change_colors_only(town: Town) -> None:
    pose = town.ego_pose(0.0) @ CAM2EGO
    plain = town.render(INTRINSICS, pose, HEIGHT, WIDTH, 0.0)
    smooth = town.render(INTRINSICS, pose, HEIGHT, WIDTH, 0.0, samples=2)
    np.testing.assert_array_equal(plain.depth, smooth.depth)
    np.testing.assert_array_equal(plain.instances, smooth.instances)
    difference = np.abs(plain.rgb.astype(int) - smooth.rgb)
    assert 0.2 < difference.mean() < 10.0


@pytest.mark.parametrize('index', range(3))
def test_ego_keeps_to_the_road_and_meets_nobody(towns: list[Town], index: int) -> None:
    town, times = towns[index], np.arange(-0.5, DURATION + 0.5, 0.25)
    poses = np.array([town.ego_pose(t) for t in times])
    yaws = np.arctan2(poses[:, 1, 0], poses[:, 0, 0])
    for pose, yaw, time in zip(poses, yaws, times, strict=True):
        outline = rectangle(pose[:2, 3] + EGO_CENTER * pose[:2, 0], EGO_SIZE, yaw)
        assert town.drivable(outline).all()
        for box in town.boxes(time):
            offset = outline - box.center[:2]
            ahead = offset @ [np.cos(box.yaw), np.sin(box.yaw)]
            aside = offset @ [-np.sin(box.yaw), np.cos(box.yaw)]
            assert not ((np.abs(ahead) < box.size[1] / 2) & (np.abs(aside) < box.size[0] / 2)).any(), box.category
    steps = np.linalg.norm(np.diff(poses[:, :2, 3], axis=0), axis=-1) / 0.25
    assert steps.max() < 12.0 and steps.mean() > 1.0
    assert np.abs(np.diff(steps)).max() / 0.25 < 5.0
    turning = np.abs(np.diff(np.unwrap(yaws))) / 0.25
    assert turning.max() < 1.2


def test_traffic_keeps_to_the_right(town: Town) -> None:
    # Straight ahead between crossings the nearest parallel street has its middle to the left.
    poses = [town.ego_pose(t) for t in np.arange(0.0, DURATION, 0.5)]
    checked = 0
    for pose in poses:
        heading, position = pose[:2, 0], pose[:2, 3]
        across = int(np.argmin(np.abs(heading)))
        if np.abs(heading[across]) > 1e-6:
            continue
        _, offset = town.plan.across(across, position[across : across + 1])
        to_right = np.array([heading[1], -heading[0]])
        assert offset[0] * to_right[across] == pytest.approx(LANE_OFFSET, abs=0.01)
        checked += 1
    assert LANE_OFFSET > 0 and checked >= 5


def test_drives_have_turns_and_stops(towns: list[Town]) -> None:
    turned, stopped = 0, 0
    for town in towns:
        poses = np.array([town.ego_pose(t) for t in np.arange(0.0, DURATION, 0.25)])
        turned += bool(np.ptp(np.unwrap(np.arctan2(poses[:, 1, 0], poses[:, 0, 0]))) > 0.7)
        stopped += bool(np.linalg.norm(np.diff(poses[:, :2, 3], axis=0), axis=-1).min() < 0.05)
    assert turned >= 1 and stopped >= 1


def test_boxes_are_stable_and_move_with_their_velocity(town: Town) -> None:
    before, after = town.boxes(2.0), town.boxes(2.1)
    assert [box.token for box in before] == [box.token for box in after]
    assert len({box.token for box in before}) == len(before)
    moving = 0
    for first, second in zip(before, after, strict=True):
        moved = (second.center - first.center)[:2] / 0.1
        np.testing.assert_allclose(moved, (first.velocity + second.velocity) / 2, atol=0.3)
        moving += bool(np.linalg.norm(first.velocity) > 2.0)
    assert moving >= 3


def test_drivable_agrees_with_the_surface(town: Town) -> None:
    low, high = np.array(town.bounds[:2]), np.array(town.bounds[2:])
    points = np.random.default_rng(1).uniform(low + 1, high - 1, (4000, 2))
    above = np.column_stack([points, np.full(len(points), 60.0)])
    _, classes, instances, _ = town.cast(above, np.tile([0.0, 0.0, -1.0], (len(points), 1)), 0.0)
    ground = np.isin(classes, [CLASS_ID[name] for name in ('road', 'pavement', 'terrain')]) & (instances < 0)
    agree = town.drivable(points[ground]) == (classes[ground] == CLASS_ID['road'])
    # Curbs at corners are polygons, the mask is round: a few points between the two may differ.
    assert ground.sum() > 1000 and agree.mean() > 0.995


def test_every_class_has_an_occupancy_class() -> None:
    assert len(OCC3D_ID) == len(CLASSES)
    assert OCC3D_CLASSES[OCC3D_ID[CLASS_ID['road']]] == 'driveable_surface'
    assert OCC3D_CLASSES[OCC3D_ID[SKY]] == 'free'
