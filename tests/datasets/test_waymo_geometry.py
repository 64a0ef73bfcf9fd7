"""Waymo's files made from MiniTown: points lie on its surfaces and on their pixels, the same from both formats."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from projects.DistillNeRF.datasets.converters.waymo import convert as waymo
from projects.DistillNeRF.datasets.converters.waymo.frames import (
    CAMERAS,
    LASERS,
    CameraCalibration,
    Frame,
    LaserReturns,
)
from projects.DistillNeRF.datasets.converters.waymo.range_images import LASER_COLUMN, TIME_COLUMN, frame_points
from projects.DistillNeRF.datasets.infos import load_infos
from tests.helpers import waymo_parquet
from tests.helpers.waymo_surroundings import TownDrive, pixel_beams
from tests.helpers.waymo_world import OFFSET, START, WaymoWorld
from verification.reference import waymo_records

# Distances that a point may be off, meters: float32 knows places on the map to 4 mm.
ON_SURFACE = 0.02
TOP = LASERS.index('TOP')


@pytest.fixture(scope='module')
def world() -> WaymoWorld:
    return WaymoWorld(rows=32, columns=80, surroundings=TownDrive())


@pytest.fixture(scope='module')
def frames(world) -> list[Frame]:
    return [world.frame(number) for number in range(2)]


@pytest.fixture(scope='module')
def raw(world, frames, tmp_path_factory) -> Path:
    """The same segment in both formats, in folders v1 and v2."""
    root = tmp_path_factory.mktemp('raw')
    waymo_records.write_segment(root / 'v1' / waymo_records.file_name(world.name), frames)
    waymo_parquet.write_segment(root / 'v2', frames)
    return root


@pytest.fixture(scope='module')
def kept(raw, tmp_path_factory) -> Path:
    """With one return, and images as they are."""
    out = tmp_path_factory.mktemp('kept')
    waymo.convert(raw / 'v1', out)
    return out


@pytest.fixture(scope='module')
def undistorted(raw, tmp_path_factory) -> Path:
    """With both returns, and images without distortion."""
    out = tmp_path_factory.mktemp('undistorted')
    waymo.convert(raw / 'v1', out, undistort=True, returns=2)
    return out


def last_record(out: Path) -> dict[str, Any]:
    return load_infos(out / 'waymo_infos_val.pkl')[1][-1]


def points_of(out: Path, info: dict[str, Any]) -> np.ndarray:
    lidar = info['lidar_points']
    return np.fromfile(out / lidar['lidar_path'], np.float32).reshape(-1, lidar['num_pts_feats'])


def bounds(world: WaymoWorld, values: np.ndarray, pose: np.ndarray, timestamp: float) -> np.ndarray:
    """How far points are from the surfaces where these are when each point is measured, meters, or less."""
    on_map = values[:, :3].astype(np.float64) @ pose[:3, :3].T + pose[:3, 3] - OFFSET
    return world.surroundings.distance_bound(on_map, timestamp - START + values[:, TIME_COLUMN])


def test_points_lie_on_the_surfaces_of_the_town(world, kept, undistorted):
    """Of each laser, both returns: the car drives and turns while the top laser does."""
    info = last_record(undistorted)
    values = points_of(undistorted, info)
    away = bounds(world, values, np.array(info['lidar2global']), info['timestamp'])
    for number, name in enumerate(LASERS):
        chosen = values[:, LASER_COLUMN] == number
        assert chosen.sum() > 60, name
        assert away[chosen].mean() < ON_SURFACE / 4 and np.quantile(away[chosen], 0.99) < ON_SURFACE, name
    assert len(values) > len(points_of(kept, last_record(kept))) + 50


def test_the_pose_and_the_time_of_each_pixel_matter(world, frames):
    """Without either, points of the top laser are off; without the time, those of what moves."""
    frame, top = frames[1], frames[1].returns['TOP']
    pose, middle = frame.vehicle2global, frame.timestamp + 0.05
    values = frame_points(replace(frame, returns={'TOP': top}), 1, 'here').values
    still = frame_points(replace(frame, returns={'TOP': LaserReturns(top.range_images)}), 1, 'here').values
    assert bounds(world, values, pose, middle).mean() < ON_SURFACE / 4
    assert bounds(world, still, pose, middle).mean() > ON_SURFACE
    moving = _on_moving_boxes(frame, values)
    assert moving.sum() > 20
    timeless = values[moving].copy()
    timeless[:, TIME_COLUMN] = 0
    assert bounds(world, values[moving], pose, middle).mean() < ON_SURFACE / 4
    assert bounds(world, timeless, pose, middle).mean() > ON_SURFACE


def _on_moving_boxes(frame: Frame, values: np.ndarray) -> np.ndarray:
    """Which points (n, 7) in the frame of the vehicle lie in boxes that move fast."""
    inside = np.zeros(len(values), bool)
    for box in frame.boxes:
        if np.hypot(*box.velocity) > 2:
            cosine, sine = np.cos(box.heading), np.sin(box.heading)
            local = (values[:, :3] - box.center) @ np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])
            inside |= (np.abs(local) < np.array(box.size) / 2 + [0.5, 0.1, 0]).all(1) & (local[:, 2] > -0.5)
    return inside


@pytest.mark.parametrize('kind', ['kept', 'undistorted'])
def test_points_are_on_their_pixels_in_all_cameras(world, kind, kept, request):
    """Their depth is that of the town at the pixel, where it is smooth and nothing moves."""
    out = request.getfixturevalue(kind)
    info = last_record(out)
    # First returns come before second ones, which lie behind what is seen.
    firsts = (points_of(kept, last_record(kept))[:, LASER_COLUMN] == TOP).sum()
    values = points_of(out, info)
    values = values[values[:, LASER_COLUMN] == TOP][:firsts]
    for camera in CAMERAS:
        image = info['images'][camera]
        agree = agreement(world, camera, image, values)
        assert len(agree) > 100, camera
        assert agree.mean() > 0.99, (camera, agree.mean())
        # As a check of the check: a camera that looks 1.5 degrees to the side of where it does.
        turned = {**image, 'lidar2cam': (_turn(np.radians(1.5)) @ np.array(image['lidar2cam'])).tolist()}
        assert agreement(world, camera, turned, values).mean() < 0.7, camera


def agreement(world: WaymoWorld, camera: str, image: dict[str, Any], values: np.ndarray) -> np.ndarray:
    """Whether the depth of points (n, 7) is that of the pixels that they are projected to, away from edges."""
    lidar2cam, matrix = np.array(image['lidar2cam']), np.array(image['cam2img'])
    local = values[:, :3].astype(np.float64) @ lidar2cam[:3, :3].T + lidar2cam[:3, 3]
    # Distortion far outside of the image would lead back into it.
    local = local[(local[:, 2] > 1) & (np.abs(local[:, :2]) < [0.55, 0.4] * local[:, 2:]).all(1)]
    still = np.zeros(3)
    pixels = cv2.projectPoints(local, still, still, matrix, np.array(image['distortion']))[0][:, 0].round().astype(int)
    depth = true_depth(world, camera, image)
    inside = ((pixels >= 1) & (pixels < [image['width'] - 1, image['height'] - 1])).all(1)
    local, (u, v) = local[inside], pixels[inside].T
    around = np.stack([depth[v + dv, u + du] for dv in (-1, 0, 1) for du in (-1, 0, 1)])
    smooth = around.max(0) < 1.1 * around.min(0)
    # Between the centers of the pixels around, and some more, as the point is not in the middle of its own.
    low, high = around.min(0)[smooth], around.max(0)[smooth]
    return (local[smooth, 2] > low - 0.05 - 0.005 * low) & (local[smooth, 2] < high + 0.05 + 0.005 * high)


def true_depth(world: WaymoWorld, camera: str, image: dict[str, Any]) -> np.ndarray:
    """The depth (h, w) of the town at the pixels of an image, meters; NaN where something moves."""
    time, lens = image['timestamp'] - START, lens_of(world, camera, image)
    camera2map = world.camera2map(camera, time)
    beams = pixel_beams(lens) @ camera2map[:3, :3].T
    depths = [world.surroundings.cast(camera2map[:3, 3], beams, time + shift).distance for shift in (0, -0.08, 0.08)]
    depths = np.where(np.isfinite(depths), depths, 1e6)
    still = (depths[0] < 1e6) & (np.ptp(depths, axis=0) < 0.01)
    return np.where(still, depths[0], np.nan).reshape(lens.height, lens.width)


def lens_of(world: WaymoWorld, camera: str, image: dict[str, Any]) -> CameraCalibration:
    """What a record says of the lens, on the place that the camera has in truth."""
    parts = {'intrinsics': np.array(image['cam2img']), 'distortion': np.array(image['distortion'])}
    return replace(world.camera(camera), **parts)


def _turn(angle: float) -> np.ndarray:
    """A turn about y, ``(4, 4)``."""
    matrix = np.eye(4)
    matrix[[0, 0, 2, 2], [0, 2, 0, 2]] = np.cos(angle), np.sin(angle), -np.sin(angle), np.cos(angle)
    return matrix


def test_undistorted_images_show_what_a_pinhole_camera_sees(world, undistorted):
    info = last_record(undistorted)
    for camera in CAMERAS:
        image = info['images'][camera]
        found = cv2.imread(str(undistorted / image['img_path'])).astype(int)
        time = image['timestamp'] - START
        lens = lens_of(world, camera, image)
        expected = world.surroundings.picture(lens, world.camera2map(camera, time), time).astype(int)
        differences = [np.abs(found - np.roll(expected, shift, axis=1))[5:-5, 5:-5].mean() for shift in (0, 2)]
        assert differences[0] < 0.6 * differences[1], (camera, differences)


def test_both_formats_give_the_same_infos_and_files(raw, kept, tmp_path):
    waymo.convert(raw / 'v2', tmp_path)
    for split in ('train', 'val'):
        one, other = (load_infos(out / f'waymo_infos_{split}.pkl') for out in (kept, tmp_path))
        assert one[0] == other[0] and len(one[1]) == 2
        assert [pickle.dumps(info) for info in one[1]] == [pickle.dumps(info) for info in other[1]]
    names = [{path.relative_to(out) for path in out.rglob('*.*') if path.suffix != '.pkl'} for out in (kept, tmp_path)]
    assert names[0] == names[1] and {name.suffix for name in names[0]} == {'.jpg', '.png', '.bin'}
    for name in names[0]:
        assert (kept / name).read_bytes() == (tmp_path / name).read_bytes(), name


def test_boxes_are_around_what_they_are_of(kept):
    """Points above the road that are near things that stand still are in their boxes."""
    info = last_record(kept)
    values, counts = points_of(kept, info), np.zeros(2, int)
    for box in info['instances']:
        *center, length, width, height, yaw = box['bbox_3d']
        cosine, sine = np.cos(yaw), np.sin(yaw)
        local = (values[:, :3] - center) @ np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])
        if np.hypot(*box['velocity']) < 0.1:
            half, above = np.array([length, width, height]) / 2, local[:, 2] > 0.3 - height / 2
            counts += [(above & (np.abs(local) < half + margin).all(1)).sum() for margin in (0.05, 0.4)]
    inside, around = counts
    assert inside > 25 and inside > 0.9 * around
