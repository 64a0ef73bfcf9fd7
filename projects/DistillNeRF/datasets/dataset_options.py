"""Options of the dataset: what each may be, and what follows from it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..geometry.poses import inverse_pose
from ..utils.errors import InputError
from .infos import Info


def check_count(option: str, value: int | None) -> None:
    """Raise an :class:`InputError` if a count is not a whole number from 1 on."""
    if value is not None and (not isinstance(value, int) or value < 1):
        raise InputError(f'{option} is {value}; give 1 or more')


def checked_size(option: str, size: Sequence[int]) -> tuple[int, int]:
    """Return (height, width) as whole numbers; raise :class:`InputError` for anything else."""
    if (
        not isinstance(size, list | tuple)
        or len(size) != 2
        or not all(isinstance(side, int | float) and side > 0 and side % 1 == 0 for side in size)
    ):
        raise InputError(f'{option} is {size}; give (height, width) in pixels')
    return int(size[0]), int(size[1])


def require_cameras(info: Info, cameras: Sequence[str], where: str) -> None:
    """Raise an :class:`InputError` if a record has no image of one of the cameras.

    Args:
        info: the record.
        cameras: names of the cameras.
        where: info file, for messages.
    """
    if absent := [camera for camera in cameras if camera not in info['images']]:
        raise InputError(
            f'{where}: sample {info["token"]} has no camera {", ".join(absent)}, only {", ".join(info["images"])}; '
            'choose from these with the dataset option cameras'
        )


def most_frontal(cameras: Sequence[str], info: Info, count: int) -> tuple[str, ...]:
    """Return the ``count`` cameras that look most to the front (y of the LiDAR frame), in the order given."""
    if count > len(cameras):
        raise InputError(f'num_camera is {count}, but there are only {len(cameras)} cameras: {", ".join(cameras)}')
    global2lidar = inverse_pose(np.asarray(info['lidar2global']))

    def angle(camera: str) -> float:
        axis = (global2lidar @ np.asarray(info['images'][camera]['cam2global']))[:3, 2]
        return abs(math.atan2(axis[0], axis[1]))

    chosen = sorted(cameras, key=angle)[:count]
    return tuple(camera for camera in cameras if camera in chosen)


def either_skip_missing(given: bool | None, published: bool | None) -> bool:
    """Return one of two spellings of an option.

    Raises:
        InputError: both are given and differ.
    """
    if given is not None and published is not None and given != published:
        raise InputError(f'skip_missing is {given}, and SKIP_MISSING (its published spelling) {published}; leave one')
    return bool(given if given is not None else published)


def second_of_each_scene(infos: Sequence[Info]) -> list[int]:
    """Return the position of the second record of each scene that has two."""
    scenes: dict[str, list[int]] = {}
    for position, info in enumerate(infos):
        scenes.setdefault(info['scene'], []).append(position)
    return [positions[1] for positions in scenes.values() if len(positions) > 1]


def thin_out(positions: Sequence[int], every_nth: int, indices: int | Sequence[int] | None, where: str) -> list[int]:
    """Keep every n-th of some positions, and of these the first ``indices``, or the listed ones.

    Args:
        positions: of samples among the records.
        every_nth, indices: options of the dataset.
        where: info file, for messages.

    Raises:
        InputError: a sample is listed that does not exist.
    """
    positions = list(positions[::every_nth])
    if indices is None or isinstance(indices, int):
        return positions[:indices]
    if bad := [index for index in indices if not -len(positions) <= index < len(positions)]:
        raise InputError(f'{where}: no sample {bad[0]} among {len(positions)}; correct indices')
    return [positions[index] for index in indices]
