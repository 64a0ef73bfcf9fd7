"""Checks that the files of a data set exist, scene by scene: of large data sets a user may have some archives only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from ...utils.errors import InputError, warn
from ..file_checks import FolderListings, check_ranges
from ..infos import Info
from .common import DOWNLOAD_AGAIN


def complete_scenes(files: Mapping[str, Sequence[str]], root: Path, skip_incomplete: bool) -> list[str]:
    """List the scenes of which every file exists.

    Args:
        files: files of each scene, relative to ``root``.
        root: data root.
        skip_incomplete: leave the other scenes out, with a warning, rather than refuse them.

    Raises:
        InputError: a file is missing; says how many of how many are, and how many scenes are whole.
    """
    folders = FolderListings()
    missing = {scene: [name for name in names if not folders.has(root / name)] for scene, names in files.items()}
    whole = [scene for scene, names in missing.items() if not names]
    count, total = sum(map(len, missing.values())), sum(map(len, files.values()))
    if not count:
        return whole
    first = next(name for names in missing.values() for name in names)
    what = f'{count} of {total} files of keyframes are missing, {len(whole)} of {len(files)} scenes are complete'
    if skip_incomplete and whole:
        warn(f'{root / first}: no such file; {what}: the other scenes are left out')
        return whole
    instead = 'convert the complete scenes alone with --skip-incomplete-scenes' if whole else 'correct --root-path'
    hint = f'restore them, or unpack the other archives of the data set there, or {instead}'
    raise InputError(f'{root / first}: no such file; {what}; {hint}')


def drop_missing_sweeps(infos: Sequence[Info], root: Path) -> None:
    """Remove sweeps whose files do not exist from the records, and warn of how many they are."""
    folders, count, total, first = FolderListings(), 0, 0, None
    for info in infos:
        there = []
        for sweep in info['lidar_sweeps']:
            path = root / sweep['lidar_points']['lidar_path']
            if folders.has(path):
                there.append(sweep)
            else:
                count, first = count + 1, first or path
        total += len(info['lidar_sweeps'])
        info['lidar_sweeps'] = there
    if count:
        warn(
            f'{first}: no such file; {count} of {total} files of LiDAR sweeps between keyframes are missing and left '
            'out: lidar_sweeps above 1 in the dataset config will find fewer; unpack the sweeps of the data set too, '
            'or say --sweeps 0'
        )


def drop_missing_images(infos: Sequence[Info], root: Path) -> None:
    """Remove images between keyframes whose files do not exist from the records, and warn of how many they are."""
    folders, total, missing = FolderListings(), 0, []
    for info in infos:
        for camera, images in info['image_sweeps'].items():
            there = [image for image in images if folders.has(root / image['img_path'])]
            missing += [root / image['img_path'] for image in images if image not in there]
            total += len(images)
            info['image_sweeps'][camera] = there
    if missing:
        warn(
            f'{missing[0]}: no such file; {len(missing)} of {total} images between keyframes are missing and left out: '
            'unpack the sweeps of the data set too, or leave --image-sweeps out'
        )


def check_first_points(infos: Sequence[Info], root: Path) -> None:
    """Check the first LiDAR file of every scene.

    Raises:
        InputError: a file that is cut short, or not in meters in the LiDAR frame.
    """
    scenes: set[str] = set()
    for info in infos:
        if info['scene'] in scenes or not info['lidar_points']:
            continue
        scenes.add(info['scene'])
        path, columns = root / info['lidar_points']['lidar_path'], info['lidar_points']['num_pts_feats']
        if not path.stat().st_size or path.stat().st_size % (4 * columns):
            raise InputError(
                f'{path}: {path.stat().st_size} bytes are no whole number of points of {columns} floats; '
                f'{DOWNLOAD_AGAIN}'
            )
        check_ranges(np.fromfile(path, np.float32).reshape(-1, columns), path, DOWNLOAD_AGAIN)


class FileFinder:
    """Find files that a record names relative to another root, or with a path of Windows."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folders = FolderListings()

    def find(self, name: str, sensor: str) -> str | None:
        """Find a file as named, by the end of its path, or in the folder of its sensor.

        Returns:
            its path relative to the root; None if it is nowhere.
        """
        parts = plain_path(name).split('/')
        tails = ['/'.join(parts[start:]) for start in range(len(parts))]
        for relative in (*tails, f'samples/{sensor}/{parts[-1]}', f'sweeps/{sensor}/{parts[-1]}'):
            if self._folders.has(self._root / relative):
                return relative
        return None


def plain_path(name: str) -> str:
    """Return a relative path with slashes instead of backslashes, without drive, leading slash or dot."""
    parts = PurePosixPath(name.replace('\\', '/')).parts
    return '/'.join(part for part in parts if part not in ('/', '//', '.') and not part.endswith(':'))
