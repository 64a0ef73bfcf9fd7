"""A turn of the LiDAR in a world that answers with known numbers."""

from __future__ import annotations

import numpy as np

from projects.MiniTown.lidar import in_town, scan
from projects.MiniTown.rig import Lidar, rigid

LIDAR = Lidar(beams=3, azimuths=4, lowest=-30.0, highest=30.0, reach=50.0, noise=0.0)


class Answers:
    """A town in which ray number i is i + 1 meters long, hits object i and returns i hundredths of the light."""

    def __init__(self) -> None:
        self.asked: tuple[np.ndarray, np.ndarray, float] | None = None

    def cast(self, origins: np.ndarray, directions: np.ndarray, time: float):
        self.asked = origins, directions, time
        number = np.arange(len(directions))
        distance = np.where(number == 5, np.inf, number + 1.0)
        return distance, None, number, number / 100


def test_points_come_ring_by_ring_from_the_lowest_up():
    sweep = scan(Answers(), LIDAR, np.eye(4), 0.0, np.random.default_rng(0))
    # Ray 5, the second of the middle ring, came back from nowhere.
    assert sweep.points[:, 4].tolist() == [0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 2]
    height = sweep.points[:, 2]
    assert (height[:4] < 0).all() and (np.abs(height[4:7]) < 1e-6).all() and (height[7:] > 0).all()
    assert sweep.instances.tolist() == [0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11]
    np.testing.assert_allclose(sweep.points[:, 3], 2.55 * sweep.instances, rtol=1e-6)


def test_a_turn_goes_from_the_front_to_the_right():
    """Clockwise from above, x right and y forward: front, right, back, left."""
    middle = LIDAR.directions()[4:8]
    np.testing.assert_allclose(middle, [[0, 1, 0], [1, 0, 0], [0, -1, 0], [-1, 0, 0]], atol=1e-12)
    lowest = LIDAR.directions()[0]
    np.testing.assert_allclose(lowest, [0, np.cos(np.pi / 6), -0.5], atol=1e-12)


def test_points_are_distances_along_the_rays_in_the_lidar_frame():
    town, pose = Answers(), rigid(np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]), (7.0, 8.0, 2.0))
    sweep = scan(town, LIDAR, pose, 3.5, np.random.default_rng(0))
    origins, directions, time = town.asked
    assert time == 3.5 and (origins == [7, 8, 2]).all()
    # What looks to the front of the LiDAR looks to the left in the town.
    np.testing.assert_allclose(directions[4], [-1, 0, 0], atol=1e-12)
    np.testing.assert_allclose(sweep.points[4, :3], [0, 5, 0], atol=1e-5)
    np.testing.assert_allclose(in_town(sweep, pose)[4], [2, 8, 2], atol=1e-5)


def test_what_is_out_of_reach_does_not_come_back_and_noise_does_not_decide():
    near = Lidar(beams=3, azimuths=4, lowest=-30.0, highest=30.0, reach=4.5, noise=1e3)
    assert scan(Answers(), near, np.eye(4), 0.0, np.random.default_rng(0)).instances.tolist() == [0, 1, 2, 3]
