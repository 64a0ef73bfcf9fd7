"""A camera that follows a trajectory."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest

from projects.DistillNeRF.geometry.trajectories import TRAJECTORIES, trajectory
from projects.DistillNeRF.visualization.viewer import flight as flight_module
from projects.DistillNeRF.visualization.viewer.flight import OUTSIDE, Flight, TrajectoryCursor, go_to, jump_targets
from projects.DistillNeRF.visualization.viewer.scenes import ViewerScene, ring
from projects.DistillNeRF.visualization.viewer.viewpoints import Viewpoint, look_from
from tests.helpers.scenes import street

# Seconds after which a thread that does not come is given up.
PATIENCE = 60.0
START = look_from((1.0, 2.0, 3.0), (1.0, 3.0, 3.0), 1.0)


class Camera:
    """Remembers where it was put."""

    def __init__(self) -> None:
        self.positions: list[np.ndarray] = []
        self.look_at = self.up_direction = None

    def __setattr__(self, name, value) -> None:
        object.__setattr__(self, name, value)
        if name == 'position':
            self.positions.append(np.array(value))


def client() -> SimpleNamespace:
    return SimpleNamespace(camera=Camera(), atomic=contextlib.nullcontext)


@pytest.mark.parametrize('name', sorted(TRAJECTORIES))
def test_all_poses_come_in_order_and_again(name):
    cursor, motions = TrajectoryCursor(name), trajectory(name).numpy()
    cursor.start(START.cam2world)
    for index in [*range(1, len(motions)), 0, 1]:
        pose = cursor.step()
        assert cursor.index == index
        np.testing.assert_allclose(pose, motions[index] @ START.cam2world)


def test_it_goes_on_from_where_the_camera_was_moved_to_meanwhile():
    cursor = TrajectoryCursor('left_right')
    cursor.start(START.cam2world)
    for _ in range(3):
        cursor.step()
    elsewhere = look_from((9.0, 9.0, 9.0), (9.0, 8.0, 9.0), 1.0).cam2world
    cursor.start(elsewhere)
    np.testing.assert_allclose(cursor.step()[:3, 3], (9.1, 9, 9))


def test_go_to_looks_where_the_pose_looks():
    target = client()
    go_to(target, START.cam2world)
    np.testing.assert_allclose(target.camera.position, (1, 2, 3))
    direction = target.camera.look_at - target.camera.position
    np.testing.assert_allclose(direction / np.linalg.norm(direction), (0, 1, 0), atol=1e-12)
    np.testing.assert_allclose(target.camera.up_direction, (0, 0, 1))


class Clock:
    """In the place of a flight's stop event: the test lets time pass, step by step."""

    def __init__(self) -> None:
        self.waits: list[float] = []
        self._stopped = False
        self._turn = threading.Condition()
        self._steps = self._begun = 0

    def is_set(self) -> bool:
        return self._stopped

    def set(self) -> None:
        with self._turn:
            self._stopped = True
            self._turn.notify_all()

    def wait(self, seconds: float) -> bool:
        """What the flight calls before every step; True ends it."""
        with self._turn:
            self.waits.append(seconds)
            self._begun += 1
            self._turn.notify_all()
            assert self._turn.wait_for(lambda: self._stopped or self._steps > 0, PATIENCE)
            self._steps -= 1
            return self._stopped

    def let(self, steps: int) -> None:
        """Let so many steps pass, and wait until the flight waits for the next one."""
        with self._turn:
            assert self._turn.wait_for(lambda: self._begun > 0, PATIENCE)
            goal = self._begun + steps
            self._steps += steps
            self._turn.notify_all()
            assert self._turn.wait_for(lambda: self._begun == goal, PATIENCE)


@pytest.fixture
def clocks(monkeypatch) -> Iterator[list[Clock]]:
    """The clock of every start of a flight, in order; the first belongs to the flight that stands still."""
    made: list[Clock] = []

    def event() -> Clock:
        made.append(Clock())
        return made[-1]

    threads: list[threading.Thread] = []

    def thread(**options) -> threading.Thread:
        threads.append(threading.Thread(**options))
        return threads[-1]

    monkeypatch.setattr(flight_module, 'threading', SimpleNamespace(Event=event, Thread=thread))
    yield made
    for clock in made:
        clock.set()
    for ended in threads:
        ended.join(PATIENCE)
        assert not ended.is_alive()


def test_the_camera_flies_until_it_is_paused(clocks):
    target = client()
    flight = Flight(target, lambda: START, 'left_right')
    flight.speed = 4.0
    assert not flight.playing
    flight.play()
    assert flight.playing
    flight.play()
    assert len(clocks) == 2, 'who plays already goes on'
    clocks[1].let(3)
    flight.speed = 8.0
    clocks[1].let(2)
    # The first 12 steps of left_right go right by 0.1 m each.
    expected = [(1 + 0.1 * (index + 1), 2, 3) for index in range(5)]
    np.testing.assert_allclose(target.camera.positions, expected, atol=1e-9)
    # A step waits for as long as the speed says when it begins.
    assert clocks[1].waits == [0.25] * 4 + [0.125] * 2
    flight.pause()
    assert not flight.playing and len(target.camera.positions) == 5


def test_after_a_pause_it_goes_on_from_where_the_camera_is(clocks):
    target = client()
    where = [START]
    flight = Flight(target, lambda: where[0], 'left_right')
    flight.play()
    clocks[1].let(2)
    flight.pause()
    where[0] = look_from((5.0, 6.0, 7.0), (5.0, 7.0, 7.0), 1.0)
    flight.play()
    assert len(clocks) == 3, 'a thread of an earlier start must not go on'
    clocks[2].let(1)
    np.testing.assert_allclose(target.camera.positions[2:], [(5.1, 6, 7)], atol=1e-9)


def test_another_trajectory_begins_from_where_the_camera_is(clocks):
    target = client()
    flight = Flight(target, lambda: START, 'left_right')
    flight.choose('translation')
    assert not flight.playing
    flight.play()
    clocks[1].let(2)
    np.testing.assert_allclose(target.camera.positions, [(2, 2, 3), (3, 2, 3)])
    # Chosen while it flies: on at once, from the beginning of the other one.
    flight.choose('left_right')
    assert flight.playing
    clocks[2].let(1)
    np.testing.assert_allclose(target.camera.positions[2], (1.1, 2, 3))


def test_ten_poses_a_second_are_usual():
    assert Flight(client(), lambda: START, 'left_right').speed == 10


def test_from_outside_all_cameras_are_in_view():
    scene = street()
    viewed = ViewerScene('by hand', scene, ring(scene), tuple('abcdef'), None)
    there = jump_targets(viewed)
    assert list(there) == [*'abcdef', OUTSIDE]
    view: Viewpoint = there[OUTSIDE]
    camera = view.cameras(90, 2, scene.fine)
    pixels, z = camera.project(viewed.cameras.cam2world[:, :3, 3])
    assert (z > 0).all()
    assert ((pixels > 0) & (pixels < pixels.new_tensor([camera.width, camera.height]))).all()
    np.testing.assert_allclose(there['a'].cam2world[:3, 2], (0, 1, 0), atol=1e-6)
    np.testing.assert_allclose(viewed.front.cam2world, there['a'].cam2world)


def test_the_place_outside_is_behind_and_above_the_front_camera():
    """14 m behind and 8 m above it; it looks at what is 5 m ahead of it, with its field of view."""
    scene = street()
    there = jump_targets(ViewerScene('by hand', scene, ring(scene), tuple('abcdef'), None))[OUTSIDE]
    np.testing.assert_allclose(there.position, (0, -14, 8), atol=1e-6)
    np.testing.assert_allclose(there.cam2world[:3, 2], np.array([0, 19, -8]) / np.hypot(19, 8), atol=1e-6)
    assert there.fov == pytest.approx(np.radians(45), abs=1e-6)


def test_a_cursor_goes_round_and_begins_where_the_camera_is():
    cursor = TrajectoryCursor('translation')
    assert len(cursor) == 3 and cursor.index == 0
    pose = look_from((1, 2, 3), (1, 3, 3), 1.0).cam2world
    cursor.start(pose)
    assert [cursor.step()[0, 3] for _ in range(4)] == pytest.approx([2, 3, 1, 2])
    # Stopped at the second motion: started elsewhere, that motion is where the camera is.
    cursor.start(np.eye(4))
    assert [cursor.step()[0, 3] for _ in range(2)] == pytest.approx([1, -1])
