"""What a dataset tells of Occ3D labels: how many samples have some, and where rays of RayIoU can start."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..evaluation.occupancy.labels import label_file
from ..utils.errors import warn
from ..utils.files import is_file
from .availability import Availability
from .infos import Info


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
