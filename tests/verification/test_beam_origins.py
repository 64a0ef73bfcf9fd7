"""Where LiDAR beams begin, from points alone: of LiDARs that are known, and of PandaSet's."""

from __future__ import annotations

import numpy as np
import pytest

from projects.DistillNeRF.datasets.converters.pandaset_points import BEAM_ORIGINS
from tests.helpers.boxworld import BoxWorld, rotation_z, shift
from verification import beam_origins
from verification.beam_origins import forward_origin, turning_origin, written_errors

# In the vehicle frame, meters.
PLACE = np.array([0.05, 0.8, 1.75])


def test_the_place_of_a_turning_lidar_is_found():
    """The box world's LiDAR has elevations 1.5 degrees apart; it is turned by half a degree about y."""
    world = BoxWorld()
    tilt = np.eye(4)
    tilt[:3, :3] = beam_origins.Rotation.from_euler('y', 0.5, degrees=True).as_matrix()
    vehicle = shift(400, -200, 0) @ rotation_z(20)
    lidar2vehicle = shift(*PLACE) @ tilt
    points = world.points(vehicle @ lidar2vehicle)[:, :3] @ lidar2vehicle[:3, :3].T + lidar2vehicle[:3, 3]
    found, sharpness = turning_origin(points, [PLACE + 0.05])
    np.testing.assert_allclose(found, [*PLACE, 0, 0.5], atol=0.02)
    assert sharpness > 30
    _, elsewhere = turning_origin(points + np.random.default_rng(0).normal(0, 0.1, points.shape), [PLACE])
    assert elsewhere < 10


def test_the_place_of_a_forward_lidar_is_found():
    """Lines of even steps over boxes at many ranges."""
    azimuth, elevation = np.meshgrid(np.radians(np.arange(-30, 30, 0.1)), np.radians(np.arange(-12, 2, 0.5)))
    ranges = np.random.default_rng(1).uniform(5, 60, (len(azimuth), 60)).repeat(10, axis=1)
    flat = np.cos(elevation)
    rays = np.stack([flat * np.sin(azimuth), flat * np.cos(azimuth), np.sin(elevation)], axis=-1)
    points = (ranges[..., None] * rays).reshape(-1, 3) + PLACE
    found, left = forward_origin(points)
    np.testing.assert_allclose(found, PLACE, atol=1e-3)
    assert left < 1e-4


@pytest.mark.parametrize('sensor', [0, 1])
def test_pandaset_origins_are_those_that_its_points_show(shared_dir, sensor):
    """And points are compensated for motion: with the pose of their frame, origins move against the car."""
    folder, frames = shared_dir / 'data/pandaset/002', (25, 50, 70)
    origins, left = beam_origins.measure(folder, frames, sensor)
    np.testing.assert_allclose(np.median(origins, 0), BEAM_ORIGINS[sensor], atol=0.02)
    fixed, worse = beam_origins.measure(folder, frames, sensor, own_time=False)
    # From standing still to 0.5 m per frame.
    if sensor == 0:
        assert left[-1] > 1.3 * worse[-1]
    else:
        assert np.ptp(origins[:, 1]) < 0.05 < 0.3 < np.ptp(fixed[:, 1])


@pytest.mark.parametrize('sensor', [0, 1])
def test_converted_origins_follow_the_sensors(shared_dir, sensor):
    """At 5 m/s one origin for all beams is a quarter of a meter off."""
    delays, fixed, moving = written_errors(shared_dir / 'data/pandaset/002', 70, sensor)
    assert -0.15 < delays.min() < -0.1 and -0.03 < delays.max() < 0.002
    assert fixed.max() > 0.2 and moving.max() < 0.03
