"""A data set of the sizes of nuScenes, from random numbers alone: the cost of loading depends on sizes."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.random import Generator

from projects.DistillNeRF.datasets.converters.common import camera_record, link_frames, sweep_record
from projects.DistillNeRF.datasets.infos import save_infos
from projects.DistillNeRF.utils.files import save_npy

# Degrees to the left of the front, in ring order.
CAMERAS = {
    'CAM_FRONT_LEFT': 55.0,
    'CAM_FRONT': 0.0,
    'CAM_FRONT_RIGHT': -55.0,
    'CAM_BACK_RIGHT': -110.0,
    'CAM_BACK': 180.0,
    'CAM_BACK_LEFT': 110.0,
}
HEIGHT, WIDTH = 900, 1600
# Pixels; the camera to the back sees twice as much.
FOCAL, FOCAL_BACK = 1260.0, 810.0
# Beams, and points of each, as in a file of nuScenes of 34,688 points; elevations in degrees.
BEAMS, AROUND, ELEVATIONS = 32, 1084, (-30.0, 10.0)
COLUMNS = 5
LIDAR_HEIGHT, CAMERA_HEIGHT = 1.84, 1.5
# Meters from keyframe to keyframe, which are 0.5 s apart, and seconds between sweeps.
STEP, SWEEP = 4.0, 0.05
# The LiDAR's y is the vehicle's x.
LIDAR2EGO = np.array([[0, 1, 0, 0.9], [-1, 0, 0, 0], [0, 0, 1, LIDAR_HEIGHT], [0, 0, 0, 1.0]])
# Standard deviation of the noise that makes a JPEG about as large as those of nuScenes: 30 of them have 134 kB.
NOISE, QUALITY = 2.4, 85


def make(root: Path, keyframes: int = 3, sweeps: int = 9, teacher_size: tuple[int, int] = (450, 800)) -> Path:
    """Write images, LiDAR, sweeps and teacher maps below ``root/nuscenes``; return this folder.

    Args:
        root: of everything.
        keyframes: in one scene.
        sweeps: before each keyframe.
        teacher_size: (height, width) of the teacher's depth and sky.
    """
    rng, folder = np.random.default_rng(0), root / 'nuscenes'
    infos = [_keyframe(folder, rng, frame, sweeps, teacher_size) for frame in range(keyframes)]
    link_frames(infos)
    for split in ('train', 'val'):
        save_infos(folder / f'nuscenes_infos_{split}.pkl', 'nuscenes', tuple(CAMERAS), infos, categories={'car': 0})
    return folder


def _keyframe(folder: Path, rng: Generator, frame: int, sweeps: int, teacher_size: tuple[int, int]) -> dict:
    time = 0.5 * frame
    ego2global, lidar2global = _ego2global(time), _lidar2global(time)
    images = {}
    for camera, yaw in CAMERAS.items():
        path = f'samples/{camera}/{frame}__{camera}.jpg'
        focal = FOCAL_BACK if camera == 'CAM_BACK' else FOCAL
        matrix = np.array([[focal, 0, WIDTH / 2], [0, focal, HEIGHT / 2], [0, 0, 1]])
        cam2global = ego2global @ _cam2ego(yaw)
        record = camera_record(camera, path, (HEIGHT, WIDTH), matrix, cam2global, lidar2global, ego2global, time)
        _write_image(folder / path, rng)
        teacher = folder.parent / 'nuscenes_emernerf'
        save_npy(teacher / record['teacher']['depth'], rng.uniform(3, 100, teacher_size).astype(np.float32))
        sky = np.zeros(teacher_size, np.uint8)
        sky[: teacher_size[0] // 3] = 1
        save_npy(teacher / record['teacher']['sky_mask'], sky)
        images[camera] = record
    own = _measurement(folder, rng, f'samples/LIDAR_TOP/{frame}.bin', time)
    before = [
        _measurement(folder, rng, f'sweeps/LIDAR_TOP/{frame}_{number}.bin', time - SWEEP * number)
        for number in range(1, sweeps + 1)
    ]
    there = [(one, np.linalg.inv(np.asarray(one['lidar2global'])) @ lidar2global) for one in before]
    return {
        **own,
        'sample_idx': frame,
        'token': f'random{frame}',
        'scene': 'random',
        'frame': frame,
        'images': images,
        'lidar_sweeps': [sweep_record(one, lidar2sweep) for one, lidar2sweep in there],
        'instances': [],
    }


def _ego2global(time: float) -> np.ndarray:
    pose = np.eye(4)
    pose[:3, 3] = 400 + STEP * time / 0.5, 1000, 0
    return pose


def _lidar2global(time: float) -> np.ndarray:
    return _ego2global(time) @ LIDAR2EGO


def _cam2ego(yaw: float) -> np.ndarray:
    c, s = np.cos(np.radians(yaw)), np.sin(np.radians(yaw))
    # Columns are the camera's x (right), y (down) and z (forward) in the vehicle's frame.
    return np.array([[s, 0, c, 1.0 + c / 2], [-c, 0, s, s / 2], [0, -1, 0, CAMERA_HEIGHT], [0, 0, 0, 1.0]])


def _write_image(path: Path, rng: Generator) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    smooth = cv2.resize(rng.uniform(40, 200, (18, 32, 3)), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    image = np.clip(smooth + rng.normal(0, NOISE, smooth.shape), 0, 255).astype(np.uint8)
    cv2.imwrite(str(path), image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])


def _measurement(folder: Path, rng: Generator, name: str, time: float) -> dict:
    """Write a turn of the LiDAR; the lower beams meet the road, the others something at 5 to 60 m."""
    elevation, azimuth = np.meshgrid(
        np.radians(np.linspace(*ELEVATIONS, BEAMS)), np.linspace(0, 2 * np.pi, AROUND, endpoint=False), indexing='ij'
    )
    road = LIDAR_HEIGHT / np.maximum(-np.sin(elevation), 1e-3)
    distance = np.minimum(road, rng.uniform(5, 60, elevation.shape))
    flat = distance * np.cos(elevation)
    points = np.stack([flat * np.cos(azimuth), flat * np.sin(azimuth), distance * np.sin(elevation)], axis=-1)
    columns = np.zeros((BEAMS * AROUND, COLUMNS), np.float32)
    columns[:, :3] = points.reshape(-1, 3)
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    columns.tofile(path)
    return {
        'timestamp': time,
        'ego2global': _ego2global(time).tolist(),
        'lidar2global': _lidar2global(time).tolist(),
        'lidar_points': {'lidar_path': name, 'num_pts_feats': COLUMNS, 'lidar2ego': LIDAR2EGO.tolist()},
    }
