"""A camera that follows a trajectory."""

from __future__ import annotations

import contextlib
import time
from types import SimpleNamespace

import numpy as np
import pytest

from projects.DistillNeRF.viewer.flight import OUTSIDE, Flight, go_to, places
from projects.DistillNeRF.viewer.glances import Glance, ring
from projects.DistillNeRF.viewer.player import Player
from projects.DistillNeRF.viewer.viewpoints import Viewpoint, looking
from projects.DistillNeRF.visualization.trajectories import TRAJECTORIES, trajectory
from tests.viewer.scenes import make_scene

START = looking((1.0, 2.0, 3.0), (1.0, 3.0, 3.0), 1.0)


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
    player, motions = Player(name), trajectory(name).numpy()
    player.start(START.cam2world)
    for index in [*range(1, len(motions)), 0, 1]:
        pose = player.step()
        assert player.index == index
        np.testing.assert_allclose(pose, motions[index] @ START.cam2world)


def test_it_goes_on_from_where_the_camera_was_moved_to_meanwhile():
    player = Player('left_right')
    player.start(START.cam2world)
    for _ in range(3):
        player.step()
    elsewhere = looking((9.0, 9.0, 9.0), (9.0, 8.0, 9.0), 1.0).cam2world
    player.start(elsewhere)
    np.testing.assert_allclose(player.step()[:3, 3], (9.1, 9, 9))


def test_go_to_looks_where_the_pose_looks():
    target = client()
    go_to(target, START.cam2world)
    np.testing.assert_allclose(target.camera.position, (1, 2, 3))
    direction = target.camera.look_at - target.camera.position
    np.testing.assert_allclose(direction / np.linalg.norm(direction), (0, 1, 0), atol=1e-12)
    np.testing.assert_allclose(target.camera.up_direction, (0, 0, 1))


def wait_for(condition) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_the_camera_flies_until_it_is_paused():
    target = client()
    flight = Flight(target, lambda: START, 'left_right')
    flight.speed = 500.0
    assert not flight.playing
    flight.play()
    wait_for(lambda: len(target.camera.positions) >= 5)
    flight.pause()
    assert not flight.playing
    # The first 12 steps of left_right go right by 0.1 m each.
    for index, position in enumerate(target.camera.positions[:5]):
        np.testing.assert_allclose(position, (1 + 0.1 * (index + 1), 2, 3), atol=1e-9)
    time.sleep(0.05)
    count = len(target.camera.positions)
    time.sleep(0.05)
    assert len(target.camera.positions) == count


def test_another_trajectory_begins_from_where_the_camera_is():
    target = client()
    flight = Flight(target, lambda: START, 'left_right')
    flight.speed = 500.0
    flight.choose('translation')
    assert not flight.playing
    flight.play()
    wait_for(lambda: len(target.camera.positions) >= 2)
    flight.pause()
    np.testing.assert_allclose(target.camera.positions[0], (2, 2, 3))
    np.testing.assert_allclose(target.camera.positions[1], (3, 2, 3))


def test_from_outside_all_cameras_are_in_view():
    scene = make_scene()
    glance = Glance('by hand', scene, ring(scene), tuple('abcdef'), None)
    there = places(glance)
    assert list(there) == [*'abcdef', OUTSIDE]
    view: Viewpoint = there[OUTSIDE]
    camera = view.cameras(90, 2, scene.fine)
    pixels, z = camera.project(glance.cameras.cam2world[:, :3, 3])
    assert (z > 0).all()
    assert ((pixels > 0) & (pixels < pixels.new_tensor([camera.width, camera.height]))).all()
    np.testing.assert_allclose(there['a'].cam2world[:3, 2], (0, 1, 0), atol=1e-6)
    np.testing.assert_allclose(glance.front.cam2world, there['a'].cam2world)
