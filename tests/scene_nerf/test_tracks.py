"""Rigid things from moving points, against boxes that move exactly as told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from projects.DistillNeRF.scene_nerf import registration, trajectories
from projects.DistillNeRF.scene_nerf.beams import Beams
from projects.DistillNeRF.scene_nerf.tracks import Thing, track_things

CAR, PERSON = (1.8, 4.4, 1.5), (0.6, 0.6, 1.7)
# From time to x, y and the angle that y of the box makes with y of the scene.
Motion = Callable[[float], tuple[float, float, float]]


def _pose(motion: Motion, time: float) -> np.ndarray:
    x, y, angle = motion(time)
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, -sin, 0, x], [sin, cos, 0, y], [0, 0, 1, 0], [0, 0, 0, 1]])


def _seen_points(size: Sequence[float], pose: np.ndarray, rng: np.random.Generator, per_meter: float) -> np.ndarray:
    """Return noisy points in the scene on the sides of a box that a LiDAR in the origin sees."""
    half = np.array(size) / 2
    to_lidar = pose[:3, :3].T @ -pose[:3, 3]
    sides = []
    for axis in range(2):
        if abs(to_lidar[axis]) > half[axis]:
            points = rng.uniform(-half, half, (int(per_meter * size[1 - axis] * size[2]), 3))
            points[:, axis] = np.sign(to_lidar[axis]) * half[axis]
            sides.append(points)
    points = np.concatenate(sides) + rng.normal(0, 0.01, (sum(map(len, sides)), 3))
    return points @ pose[:3, :3].T + pose[:3, 3]


def _drive(things: Sequence[tuple[Sequence[float], Motion]], times: Sequence[float], per_meter: float = 30.0):
    """Return beams in order of time that end on things, and of which one each is."""
    rng = np.random.default_rng(0)
    ends, owners, sweeps = [], [], []
    for sweep, time in enumerate(times):
        for owner, (size, motion) in enumerate(things):
            points = _seen_points(size, _pose(motion, time), rng, per_meter)
            ends.append(points)
            owners += [owner] * len(points)
            sweeps += [sweep] * len(points)
    together = np.concatenate(ends).astype(np.float32)
    beams = Beams(np.zeros_like(together), together, np.array(sweeps, np.int32), np.array(times, np.float64))
    return beams, np.array(owners)


def _track(things: Sequence[tuple[Sequence[float], Motion]], times: Sequence[float], per_meter: float = 30.0):
    beams, owners = _drive(things, times, per_meter)
    return beams, owners, track_things(beams, np.ones(len(beams), bool))


def _errors(thing: Thing, motion: Motion) -> tuple[float, float]:
    """Return by how much a thing shifts, meters, and turns, degrees, against what is true, at most."""
    offset = np.linalg.inv(_pose(motion, thing.times[0])) @ thing.poses[0]
    shifts, turns = [], []
    for time, pose in zip(thing.times, thing.poses, strict=True):
        # The middle of the true box, as the thing has it.
        error = pose @ np.linalg.inv(offset) @ np.linalg.inv(_pose(motion, time))
        middle = _pose(motion, time)[:, 3]
        shifts.append(np.linalg.norm((error @ middle - middle)[:3]))
        turns.append(abs(np.degrees(np.arctan2(error[1, 0], error[0, 0]))))
    return max(shifts), max(turns)


def _straight(time: float) -> tuple[float, float, float]:
    return 6.0, -8.0 + 9.0 * time, 0.0


def _turning(time: float) -> tuple[float, float, float]:
    angle = 0.6 * time
    return -8.0 + 10.0 * np.cos(angle), 4.0 + 10.0 * np.sin(angle), angle


def _stop_and_go(time: float) -> tuple[float, float, float]:
    """Brake from 6 m/s to a stop in 1.5 s, stand for .8 s, and speed up again."""
    braked = min(time, 1.5)
    way = 6.0 * braked - 2.0 * braked**2 + 1.5 * max(time - 2.3, 0.0) ** 2
    return 3.0 + way, 7.0, -np.pi / 2


TENTHS = np.arange(12) * 0.1


@pytest.mark.parametrize(
    'motion, times',
    [
        (_straight, TENTHS),
        (_straight, [0.0, 0.1, 0.15, 0.35, 0.4, 0.55, 0.8, 0.9]),
        (_straight, np.arange(4) * 1.0),
        (_turning, np.arange(15) * 0.1),
        (_turning, np.arange(4) * 0.5),
        (_stop_and_go, np.arange(30) * 0.1),
    ],
    ids=['straight', 'uneven times', 'a second apart', 'turning', 'turning, half a second apart', 'stop and go'],
)
def test_a_car_is_one_thing(motion: Motion, times: Sequence[float]):
    beams, _, things = _track([(CAR, motion)], times)
    assert len(things) == 1
    (thing,) = things
    np.testing.assert_allclose(thing.times, times)
    np.testing.assert_array_equal(np.sort(thing.beams), np.arange(len(beams)))
    shift, turned = _errors(thing, motion)
    assert shift < (0.1 if times[1] < 0.4 else 0.35) and turned < 1.5, (shift, turned)
    # Forward is where it goes.
    ahead = [pose[:3, 1] @ _pose(motion, time)[:3, 1] for time, pose in zip(thing.times, thing.poses, strict=True)]
    assert min(ahead) > np.cos(np.radians(12))
    # Points and poses belong together.
    poses = thing.poses[np.searchsorted(thing.times, beams.times[beams.sweeps[thing.beams]])]
    ends = np.einsum('nij,nj->ni', poses[:, :3, :3], thing.points) + poses[:, :3, 3]
    np.testing.assert_allclose(ends, beams.ends[thing.beams], atol=1e-4)
    inside = ((thing.points >= thing.lower) & (thing.points <= thing.upper)).all(1)
    assert inside.mean() > 0.98
    assert ((thing.upper - thing.lower) < np.array(CAR) + 0.6).all()
    assert thing.poses.dtype == np.float64 and thing.points.dtype == np.float32 and thing.beams.dtype == np.int64


def test_few_points_per_time_are_enough():
    _, _, things = _track([(CAR, _straight)], np.arange(20) * 0.1, per_meter=8.0)
    assert len(things[0].times) >= 17
    shift, turned = _errors(things[0], _straight)
    assert shift < 0.4 and turned < 3, (shift, turned)


def test_cars_that_pass_each_other_are_two_things():
    def against(time: float) -> tuple[float, float, float]:
        return 9.2, 9.0 - 10.0 * time, np.pi

    beams, owners, things = _track([(CAR, _straight), (CAR, against)], np.arange(18) * 0.1)
    assert len(things) == 2
    for thing in things:
        (owner,) = np.unique(owners[thing.beams])
        motion = (_straight, against)[owner]
        assert _errors(thing, motion)[0] < 0.15
        assert len(thing.times) == 18
    assert sum(len(thing.beams) for thing in things) == len(beams)


def test_a_row_of_cars_a_second_apart_is_not_mixed():
    def at(start: float) -> Motion:
        return lambda time: (6.0, start + 11.0 * time, 0.0)

    row = [(CAR, at(-30.0)), ((1.9, 5.2, 1.9), at(-21.0)), (CAR, at(-7.0))]
    _, owners, things = _track(row, np.arange(4) * 1.0)
    linked = [thing for thing in things if len(thing.times) > 1]
    assert sum(len(thing.times) for thing in linked) >= 9
    assert all(len(np.unique(owners[thing.beams])) == 1 for thing in linked)


def test_one_sweep_gives_things_of_one_time():
    _, owners, things = _track([(CAR, _straight), (PERSON, lambda time: (-5.0, 3.0, 0.0))], [5.0])
    assert [len(thing.times) for thing in things] == [1, 1]
    assert sorted(len(thing.beams) for thing in things) == sorted(np.bincount(owners))
    assert things[0].pose_at(5.0) is not None and things[0].pose_at(5.2) is None


def test_far_from_each_other_nothing_is_linked():
    def jumps(time: float) -> tuple[float, float, float]:
        return 5.0, 5.0 + 12.0 * round(time), 0.0

    _, _, things = _track([(PERSON, jumps)], [0.0, 1.0])
    assert [len(thing.times) for thing in things] == [1, 1]


def test_sweeps_of_one_time_are_one():
    """Two sensors may have a sweep each."""
    beams, _ = _drive([(CAR, _straight)], TENTHS)
    order = np.argsort(2 * beams.sweeps + np.arange(len(beams)) % 2, kind='stable')
    sweeps = (2 * beams.sweeps + np.arange(len(beams)) % 2)[order].astype(np.int32)
    twice = Beams(beams.origins, beams.ends[order], sweeps, np.repeat(TENTHS, 2))
    (thing,) = track_things(twice, np.ones(len(beams), bool))
    np.testing.assert_allclose(thing.times, TENTHS)
    assert len(thing.beams) == len(beams) and _errors(thing, _straight)[0] < 0.1


def test_nothing_moves_nothing_is_found():
    beams, _ = _drive([(CAR, _straight)], TENTHS)
    assert track_things(beams, np.zeros(len(beams), bool)) == []


def test_two_points_are_dropped():
    ends = np.array([[5.0, 5, 0], [5.1, 5, 0.1]], np.float32)
    beams = Beams(np.zeros_like(ends), ends, np.zeros(2, np.int32), np.zeros(1))
    assert track_things(beams, np.ones(2, bool)) == []


def test_points_that_nobody_took_for_moving_are_claimed():
    beams, _ = _drive([(CAR, _straight)], TENTHS)
    rng = np.random.default_rng(1)
    moving = (rng.random(len(beams)) < 0.7) & (beams.sweeps != 6)
    # What stands beside is not.
    wall = rng.uniform([7.5, -10, -1], [7.6, 10, 2], (3000, 3)).astype(np.float32)
    ends = np.concatenate([beams.ends, wall])
    sweeps = np.concatenate([beams.sweeps, rng.integers(0, 12, 3000).astype(np.int32)])
    order = np.argsort(sweeps, kind='stable')
    more = Beams(np.zeros_like(ends), ends[order], sweeps[order], beams.times)
    is_car = order < len(beams)
    told = np.concatenate([moving, np.zeros(3000, bool)])[order]
    (thing,) = track_things(more, told)
    assert is_car[thing.beams].all() and len(np.unique(thing.beams)) == len(thing.beams)
    assert len(thing.beams) > 0.9 * is_car.sum() and len(thing.times) == 12
    assert np.isin(np.flatnonzero(told), thing.beams).all()


def test_pieces_of_a_car_are_one_thing():
    beams, _ = _drive([(CAR, _straight)], TENTHS)
    middles = np.array([_straight(time)[1] for time in beams.times])[beams.sweeps]
    # A gap of 1.6 m in some sweeps, to the last one.
    hidden = (np.abs(beams.ends[:, 1] - middles - 0.3) < 0.8) & np.isin(beams.sweeps, [3, 4, 7, 9, 10, 11])
    seen = beams[~hidden]
    (thing,) = track_things(seen, np.ones(len(seen), bool))
    np.testing.assert_array_equal(np.sort(thing.beams), np.arange(len(seen)))
    np.testing.assert_allclose(thing.times, TENTHS)
    assert _errors(thing, _straight)[0] < 0.15


def test_poses_between_and_beyond_times():
    _, _, (thing,) = _track([(CAR, _straight)], TENTHS)
    first, second = thing.poses[3], thing.poses[4]
    between = thing.pose_at(0.325)
    np.testing.assert_allclose(between[:3, 3], 0.75 * first[:3, 3] + 0.25 * second[:3, 3], atol=1e-6)
    np.testing.assert_allclose(between[:3, :3] @ between[:3, :3].T, np.eye(3), atol=1e-9)
    np.testing.assert_allclose(thing.pose_at(0.3), first, atol=1e-9)
    after = thing.pose_at(1.14)
    np.testing.assert_allclose(after[1, 3] - thing.poses[-1, 1, 3], 9.0 * 0.04, atol=0.06)
    before = thing.pose_at(-0.04)
    np.testing.assert_allclose(before[1, 3] - thing.poses[0, 1, 3], -9.0 * 0.04, atol=0.06)
    assert thing.pose_at(1.2) is None and thing.pose_at(-0.1) is None


def test_turns_are_interpolated_the_short_way():
    poses = np.stack([_pose(lambda _, a=angle: (0.0, 0.0, a), 0.0) for angle in np.radians([170, -170])])
    thing = Thing(np.array([0.0, 1.0]), poses, *np.zeros((2, 3)), np.zeros((0, 3), np.float32), np.zeros(0, np.int64))
    middle = thing.pose_at(0.5)
    np.testing.assert_allclose(middle, _pose(lambda _: (0.0, 0.0, np.pi), 0.0), atol=1e-9)


def test_equations_of_points_are_those_of_differences():
    rng = np.random.default_rng(0)
    count, width = 4, 0.3
    poses = rng.normal(size=(count, 4))
    owners = np.repeat(np.arange(count), 30)
    turns = np.stack([trajectories.turn(angle) for angle in poses[:, 3]])
    points = np.einsum('nij,nj->ni', turns[owners], rng.uniform(-1, 1, (len(owners), 3))) + poses[owners, :3]
    system, right = np.zeros((4 * count, 4 * count)), np.zeros(4 * count)
    trajectories._add_points(system, right, points, owners, poses, width)

    local = trajectories.to_thing(points, poses[owners])
    first, second, weights = trajectories._partners(local, owners, width)
    assert (weights > 0).all() and (owners[first] != owners[second]).all()
    # Here no time has so many points that they count less.
    assert np.bincount(owners[first], weights).max() < trajectories.MOST_WEIGHT
    weights = np.repeat(weights / width**2, 3)

    def misses(changed: np.ndarray) -> np.ndarray:
        moved = trajectories.to_thing(points, changed.reshape(-1, 4)[owners])
        return (moved[first] - moved[second]).reshape(-1)

    flat, step = poses.reshape(-1), 1e-5
    slopes = np.stack([(misses(flat + e) - misses(flat - e)) / (2 * step) for e in step * np.eye(4 * count)], axis=1)
    np.testing.assert_allclose(system, (slopes.T * weights) @ slopes, atol=1e-5)
    np.testing.assert_allclose(right, -(slopes.T * weights) @ misses(flat), atol=1e-5)


def test_equations_of_steady_motion_are_those_of_differences():
    rng = np.random.default_rng(1)
    count = 24
    times = np.cumsum(rng.uniform(0.05, 0.2, count))
    # It drives, and stands at the end.
    poses = np.column_stack([np.minimum(5 * times, 5.0), 0.1 * times, 0 * times, np.full(count, 0.2)])
    poses += rng.normal(scale=0.01, size=poses.shape)
    given = np.diff(poses, axis=0) + rng.normal(scale=0.1, size=(count - 1, 4))
    system, right = trajectories._Smoothness.of(times, given).equations(poses)

    directions, speeds = trajectories._directions(poses, times)
    drives = speeds > trajectories.DRIVES
    assert 2 < drives.sum() < count - 1
    off = np.angle(np.exp(1j * (directions - trajectories.forward(poses, times) - poses[:, 3])))
    passed = np.diff(times)

    def misses(flat: np.ndarray) -> np.ndarray:
        changed = flat.reshape(-1, 4)
        speeds = np.diff(changed, axis=0) / passed[:, None]
        parts = [
            (np.diff(changed, axis=0) - given) / trajectories.STEP_ERROR,
            np.diff(speeds, axis=0) * 2 / (passed[1:] + passed[:-1])[:, None] / trajectories.ACCELERATION,
            (changed[:, 3] - poses[:, 3] - off)[drives] / trajectories.DRIFT,
            (speeds[:, 3] / trajectories.SLOW_TURN)[~drives[1:]],
        ]
        return np.concatenate([part.reshape(-1) for part in parts])

    flat, step = poses.reshape(-1), 1e-5
    slopes = np.stack([(misses(flat + e) - misses(flat - e)) / (2 * step) for e in step * np.eye(4 * count)], axis=1)
    np.testing.assert_allclose(system, slopes.T @ slopes, rtol=1e-6, atol=1e-4)
    np.testing.assert_allclose(right, -slopes.T @ misses(flat), rtol=1e-6, atol=1e-4)


def test_a_thing_is_where_it_was_when_its_beams_ended_on_it():
    """Time stamps are those of the ends of the turns, .06 s later on average."""
    beams, _ = _drive([(CAR, _straight)], TENTHS)
    delays = np.where(np.arange(len(beams)) % 2, -0.05, -0.07).astype(np.float32)
    (thing,) = track_things(replace(beams, delays=delays), np.ones(len(beams), bool))
    np.testing.assert_allclose(thing.times, TENTHS - 0.06, atol=1e-3)


@pytest.mark.parametrize('count', [0, 1, 2, 40])
def test_normal_equations_are_the_derivatives_of_the_squared_misses(count: int):
    """Against plain sums over points of slope^T metric slope, and slope^T metric miss."""
    rng = np.random.default_rng(count)
    levers, misses, normals = rng.normal(size=(3, count, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    normals[::3] = 0
    for weights in (2.5, rng.random(count)):
        system, right = np.zeros((4, 4)), np.zeros(4)
        for lever, miss, normal, weight in zip(levers, misses, normals, np.broadcast_to(weights, count), strict=True):
            slope = np.array([[1, 0, 0, -lever[1]], [0, 1, 0, lever[0]], [0, 0, 1, 0]])
            along = registration.ALONG if normal.any() else 0.5
            metric = weight * (along * np.eye(3) + (1 - along) * np.outer(normal, normal))
            system += slope.T @ metric @ slope
            right += slope.T @ metric @ miss
        found = registration.normal_equations(levers, misses, normals, weights)
        np.testing.assert_allclose(found[0], system, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(found[1], right, rtol=1e-10, atol=1e-12)
