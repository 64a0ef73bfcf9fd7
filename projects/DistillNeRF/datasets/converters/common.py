"""What all converters share: links between keyframes, image sizes, camera records."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from ...errors import InputError
from ...files import require_file
from ..infos import Info
from ..layout import feature_path, teacher_path
from ..poses import inverse_pose

DOWNLOAD_AGAIN = 'restore it from the data set'


def image_size(path: Path) -> tuple[int, int]:
    """(height, width) from the header of an image file."""
    require_file(path, DOWNLOAD_AGAIN)
    try:
        with Image.open(path) as image:
            width, height = image.size
    except (UnidentifiedImageError, OSError, ValueError) as error:
        raise InputError(f'{path}: not a readable image ({error}); {DOWNLOAD_AGAIN}') from error
    return height, width


def check_image_size(path: Path, recorded: tuple[int, int]) -> None:
    """Compare the header of an image with its recorded (height, width)."""
    found = image_size(path)
    if found != recorded:
        raise InputError(
            f'{path}: the image is {found[1]}x{found[0]}, its record says {recorded[1]}x{recorded[0]}; {DOWNLOAD_AGAIN}'
        )


def camera_record(
    camera: str,
    img_path: str,
    size: tuple[int, int],
    cam2img: np.ndarray,
    cam2global: np.ndarray,
    lidar2global: np.ndarray,
    ego2global: np.ndarray,
    timestamp: float,
) -> Info:
    """The record of one image.

    Args:
        camera: name of the camera.
        img_path: image file relative to the image root.
        size: (height, width) in pixels.
        cam2img: ``(3, 3)`` pinhole matrix.
        cam2global: ``(4, 4)`` pose of the camera when the image was taken.
        lidar2global: ``(4, 4)`` pose of the LiDAR at the keyframe.
        ego2global: ``(4, 4)`` pose of the vehicle when the image was taken.
        timestamp: seconds.
    """
    return {
        'img_path': img_path,
        'height': size[0],
        'width': size[1],
        'timestamp': timestamp,
        'cam2img': cam2img.tolist(),
        'cam2ego': (inverse_pose(ego2global) @ cam2global).tolist(),
        'cam2global': cam2global.tolist(),
        'lidar2cam': (inverse_pose(cam2global) @ lidar2global).tolist(),
        'teacher': {
            'depth': teacher_path('depths', camera, img_path),
            'sky_mask': teacher_path('gt_sky_masks', camera, img_path),
        },
        'features': feature_path(camera, img_path),
    }


def sweep_record(measurement: Info, lidar2sensor: np.ndarray) -> Info:
    """An entry of ``lidar_sweeps``.

    Args:
        measurement: ``timestamp``, ``ego2global``, ``lidar2global`` and ``lidar_points`` of the sweep.
        lidar2sensor: ``(4, 4)`` LiDAR frame of the keyframe -> LiDAR frame of the sweep.
    """
    record = {key: measurement[key] for key in ('timestamp', 'ego2global', 'lidar2global')}
    return {**record, 'lidar_points': {**measurement['lidar_points'], 'lidar2sensor': lidar2sensor.tolist()}}


def link_frames(infos: Sequence[Info], step: int = 1) -> None:
    """Set ``prev`` and ``next`` of each record to the token ``step`` frames away in its scene, None at the ends."""
    tokens = {(info['scene'], info['frame']): info['token'] for info in infos}
    for info in infos:
        info['prev'] = tokens.get((info['scene'], info['frame'] - step))
        info['next'] = tokens.get((info['scene'], info['frame'] + step))
