"""A flight above the road: the path that the front camera drove, higher and looking down a little."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from ..geometry.cameras import Cameras
from ..visualization.colors import UNKNOWN_COLOR, depth_to_colors
from ..visualization.panel_layout import to_uint8
from ..visualization.video import write_video
from .drive import Drive, DriveImage
from .teacher import Teacher, TeacherRendering

# Meters above the road camera, degrees downward.
HEIGHT, PITCH = 2.0, 8.0
FRAMES_PER_SECOND, MOST_FRAMES = 10.0, 100


def write_flight(path: str | os.PathLike, teacher: Teacher, drive: Drive, size: tuple[int, int]) -> int:
    """Write a video of the drive as seen from above the road: color over depth, or depth alone.

    Args:
        path: the video.
        teacher: renders it.
        drive: where the car drove.
        size: (height, width) of a picture; odd numbers become even ones.

    Returns:
        the number of frames.
    """
    cameras, times = flight(drive, size)
    return write_video(path, _frames(teacher, cameras, times), FRAMES_PER_SECOND, len(times))


def flight(drive: Drive, size: tuple[int, int]) -> tuple[Cameras, np.ndarray]:
    """Return the cameras ``(n,)`` of a flight, and their times in seconds ``(n,)``."""
    # Imported here: pose files import without scipy.
    from scipy.spatial.transform import Rotation, Slerp

    driven = _front(drive)
    stamps = np.array([image.timestamp for image in driven])
    count = int(np.clip(round((stamps[-1] - stamps[0]) * FRAMES_PER_SECOND) + 1, 1, MOST_FRAMES))
    times = np.linspace(stamps[0], stamps[-1], count)
    poses = np.stack([image.cam2scene for image in driven])
    rotations = Rotation.from_matrix(poses[:, :3, :3])
    if len(driven) > 1:
        rotations = Slerp(stamps, rotations)(times)
    moved = np.tile(np.eye(4), (count, 1, 1))
    moved[:, :3, :3] = (rotations * Rotation.from_euler('x', -PITCH, degrees=True)).as_matrix()
    moved[:, :3, 3] = np.stack([np.interp(times, stamps, poses[:, axis, 3]) for axis in range(3)], axis=1)
    moved[:, 2, 3] += HEIGHT
    intrinsics = driven[0].camera_at(*size).intrinsics.repeat(count, 1, 1)
    return Cameras(intrinsics, torch.from_numpy(moved), *size), times


def _front(drive: Drive) -> list[DriveImage]:
    """Return the keyframe images of the camera that looks most along y of the scene when the drive begins."""
    keyframes = [image for image in drive.images if image.frame is not None]
    first = {image.camera: image for image in reversed(keyframes)}
    front = max(first, key=lambda camera: first[camera].cam2scene[1, 2])
    chosen = {image.timestamp: image for image in keyframes if image.camera == front}
    return [chosen[stamp] for stamp in sorted(chosen)]


@torch.no_grad()
def _frames(teacher: Teacher, cameras: Cameras, times: np.ndarray) -> Iterator[np.ndarray]:
    for number, time in enumerate(times.tolist()):
        yield picture(teacher.render(cameras[number : number + 1], time).map(Tensor.cpu))


def picture(rendering: TeacherRendering) -> np.ndarray:
    """Draw a view, ``(h, w, 3)`` or with color ``(2 h, w, 3)`` uint8."""
    depth = depth_to_colors(rendering.depth[0].float().numpy(), rendering.sky[0].numpy() > 0.5)
    return depth if rendering.image is None else np.concatenate([color_picture(rendering), depth])


def color_picture(rendering: TeacherRendering) -> np.ndarray:
    """Draw the color of a view, ``(h, w, 3)`` uint8; what is unknown is gray."""
    assert rendering.image is not None
    image = rendering.image[0]
    colors = to_uint8(image.nan_to_num())
    colors[~image.isfinite().all(0).numpy()] = UNKNOWN_COLOR
    return colors
