"""Which images are chosen for a view."""

from __future__ import annotations

import dataclasses

import numpy as np

from projects.DistillNeRF.scene_nerf.drive import DriveImage
from projects.DistillNeRF.scene_nerf.source_choice import choose_sources


def image(camera: str, timestamp: float, place: tuple[float, float, float], yaw: float = 0.0) -> DriveImage:
    """An image of 20 x 30 pixels; the camera looks ``yaw`` degrees to the right of +z."""
    pose = np.eye(4)
    sine, cosine = np.sin(np.radians(yaw)), np.cos(np.radians(yaw))
    pose[:3, :3] = [[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]]
    pose[:3, 3] = place
    intrinsics = np.array([[15.0, 0, 15], [0, 15, 10], [0, 0, 1]])
    return DriveImage(f'{camera}_{timestamp}', camera, None, timestamp, 20, 30, intrinsics, pose, {}, {})


DRIVE = [
    image(camera, t / 10, (0, 0, 0.8 * t), yaw)
    for t in range(20)
    for camera, yaw in (('front', 0.0), ('right', 60.0), ('back', 180.0))
]


def named(images: list[DriveImage]) -> list[tuple[str, float]]:
    return [(chosen.camera, chosen.timestamp) for chosen in images]


def test_the_image_itself_then_its_neighbors():
    target = DRIVE[30]
    assert named(choose_sources(DRIVE, target, 1)) == [('front', 1.0)]
    others = [one for one in DRIVE if one is not target]
    first = named(choose_sources(others, target, 2))
    assert all(camera == 'front' and abs(time - 1.0) < 0.25 for camera, time in first), first


def test_none_twice_and_none_that_sees_nothing():
    chosen = choose_sources(DRIVE, DRIVE[30], 100)
    assert len({one.path for one in chosen}) == len(chosen) < len(DRIVE)
    assert all(one.timestamp > 1.0 for one in chosen if one.camera == 'back')
    assert choose_sources([], DRIVE[30], 4) == choose_sources(DRIVE, DRIVE[30], 0) == []


def test_neighboring_cameras_are_among_a_few():
    chosen = choose_sources(DRIVE, DRIVE[30], 8)
    assert {'front', 'right'} == {one.camera for one in chosen}


def test_a_car_that_stands_takes_the_nearest_in_time():
    standing = [dataclasses.replace(one, cam2scene=DRIVE[0].cam2scene) for one in DRIVE if one.camera == 'front']
    times = [one.timestamp for one in choose_sources(standing, standing[10], 3)]
    assert times[0] == 1.0 and set(times[1:]) == {0.9, 1.1}
