"""What a dataset tells of Occ3D labels: where they are, how their grid lies, and how many samples have some."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..evaluation.occupancy.labels import OccupancyRecord, label_file
from ..evaluation.occupancy.ray_iou import drive_origins
from ..geometry.poses import inverse_pose
from ..utils.errors import InputError, warn
from ..utils.files import is_file
from .availability import Availability
from .infos import Info

# Cosine between forward of the ego frame and of the LiDAR frame.
MOST_TURNED = 0.7


def ego2lidar(info: Info) -> np.ndarray:
    """Return the pose ``(4, 4)`` of the ego frame of a keyframe in its LiDAR frame, in which its scene is.

    Raises:
        InputError: the ego frame's x axis does not look where the LiDAR frame's y axis does, forward: its grids would
            lie turned, as those of PandaSet did before its ego frame was x forward.
    """
    lidar2global, ego2global = (np.asarray(info[name], np.float64) for name in ('lidar2global', 'ego2global'))
    pose = inverse_pose(lidar2global) @ ego2global
    if pose[1, 0] < MOST_TURNED:
        degrees = np.degrees(np.arctan2(-pose[0, 0], pose[1, 0]))
        raise InputError(
            f'sample {info["token"]}: its ego frame (x forward) is turned by {degrees:.0f} degrees against its LiDAR '
            'frame (y forward), and so would be its grid; convert the data again with tools/create_data.py'
        )
    return pose


def occupancy_record(info: Info, labels: str, drives: Mapping[str, np.ndarray]) -> OccupancyRecord:
    """Return where the labels of a keyframe are, and how their grid lies.

    Args:
        info: record of the keyframe.
        labels: folder of ``SCENE/TOKEN/labels.npz``.
        drives: :func:`lidar_poses` of all keyframes.
    """
    origins = drive_origins(drives[info['scene']], np.asarray(info['ego2global'], np.float64))
    return OccupancyRecord(label_file(labels, info['scene'], info['token']), ego2lidar(info), origins)


def lidar_poses(infos: Sequence[Info]) -> dict[str, np.ndarray]:
    """Return the poses ``(n, 4, 4)`` of the LiDAR in the map, of all keyframes of each scene, in their order."""
    drives: dict[str, list[np.ndarray]] = {}
    for info in infos:
        drives.setdefault(info['scene'], []).append(np.asarray(info['lidar2global'], np.float64))
    return {scene: np.stack(poses) for scene, poses in drives.items()}


def label_availability(infos: Sequence[Info], labels: str, where: str) -> Availability:
    """Count the samples that have labels; warn of those without, where some have them.

    Args:
        infos: the samples.
        labels: folder of ``SCENE/TOKEN/labels.npz``.
        where: the info file, for messages.
    """
    missing = [path for info in infos if not is_file(path := label_file(labels, info['scene'], info['token']))]
    if 0 < len(missing) < len(infos):
        warn(f'{where}: {len(missing)} of {len(infos)} samples have no occupancy labels, such as {missing[0]}')
    return Availability(len(infos) - len(missing), len(infos))
