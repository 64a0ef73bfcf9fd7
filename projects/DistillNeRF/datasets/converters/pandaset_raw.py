"""The files of a PandaSet sequence as published, or unpacked and named a little otherwise."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ...geometry.poses import pose_matrix
from ...utils.errors import InputError, warn
from ...utils.files import read_json, require_file
from ..image_files import IMAGE_SUFFIXES
from ..infos import Info
from .common import DOWNLOAD_AGAIN, camera_record, image_size

TABLE_SUFFIXES = ('.pkl.gz', '.pkl')
GZIP = b'\x1f\x8b'
# Frames are 0.1 s apart; a larger distance is another unit.
LONGEST_STEP = 5.0


def frame_files(folder: Path, suffixes: Sequence[str]) -> dict[int, Path]:
    """List the files of a folder that are named by the number of their frame, of any width: frame -> file.

    Hidden files and JSON are ignored; a warning counts the other names. A folder that does not exist has no files.

    Raises:
        InputError: files of which none is named by a frame, or two different files of one frame.
    """
    found: dict[int, list[Path]] = {}
    others = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path.name.startswith('.') or path.suffix == '.json':
            continue
        suffix = next((suffix for suffix in suffixes if path.name.lower().endswith(suffix)), None)
        stem = path.name[: -len(suffix)] if suffix else ''
        if path.is_file() and re.fullmatch('[0-9]+', stem):
            found.setdefault(int(stem), []).append(path)
        else:
            others.append(path.name)
    named = f'named by the number of a frame and {" or ".join(suffixes)}, such as 05{suffixes[0]}'
    if others and not found:
        raise InputError(f'{folder}: none of its {len(others)} files ({others[0]}, ...) is {named}; rename them')
    if others:
        warn(f'{folder}: {len(others)} of its files are passed over ({others[0]}, ...): they are not {named}')
    return {frame: _same_file(paths) for frame, paths in sorted(found.items())}


def _same_file(paths: Sequence[Path]) -> Path:
    """Return the first of several files of one frame, which must hold the same."""
    first, *others = sorted(paths, key=lambda path: (not path.name.lower().endswith('.gz'), path.name))
    for other in others:
        if first.read_bytes() != other.read_bytes() and not _same_tables(first, other):
            raise InputError(f'{first}: {other.name} is of the same frame and holds something else; remove one of them')
    return first


def _same_tables(one: Path, other: Path) -> bool:
    tables = all(path.name.lower().endswith(TABLE_SUFFIXES) for path in (one, other))
    return tables and read_table(one).equals(read_table(other))


def read_table(path: Path, columns: Sequence[str] = ()) -> pd.DataFrame:
    """Read a pickled pandas table, compressed or not whatever its name says.

    Raises:
        InputError: a damaged file, or one without one of the ``columns``.
    """
    require_file(path, DOWNLOAD_AGAIN)
    with path.open('rb') as file:
        compression = 'gzip' if file.read(len(GZIP)) == GZIP else None
    try:
        table = pd.read_pickle(path, compression)
    except Exception as error:  # damage shows as nearly any exception of gzip, zlib, pickle or pandas
        raise InputError(f'{path}: not a readable table ({type(error).__name__}: {error}); {DOWNLOAD_AGAIN}') from error
    if not isinstance(table, pd.DataFrame):
        raise InputError(f'{path}: holds a {type(table).__name__}, not a table of pandas; {DOWNLOAD_AGAIN}')
    if missing := [column for column in columns if column not in table]:
        raise InputError(f'{path}: lacks the columns {", ".join(missing)}; {DOWNLOAD_AGAIN}')
    return table


def number_columns(table: pd.DataFrame, columns: Sequence[str], path: Path) -> np.ndarray:
    """Return columns of a table as float64 ``(n, columns)``.

    Raises:
        InputError: something other than finite numbers.
    """
    try:
        values = table[list(columns)].to_numpy(dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f'{path}: {", ".join(columns)} are not numbers ({error}); {DOWNLOAD_AGAIN}') from error
    if not np.isfinite(values).all():
        raise InputError(f'{path}: holds NaN or infinity; {DOWNLOAD_AGAIN}')
    return values


def read_poses(path: Path) -> list[Any]:
    """Read the poses of a file, one per frame."""
    poses = read_json(path, DOWNLOAD_AGAIN)
    if not isinstance(poses, list) or not poses:
        raise InputError(f'{path}: is no list of poses, one per frame; {DOWNLOAD_AGAIN}')
    return poses


def read_times(path: Path) -> list[float]:
    """Read the times of a file in seconds, one per frame.

    Raises:
        InputError: something other than rising seconds.
    """
    times = read_json(path, DOWNLOAD_AGAIN)
    try:
        values = np.asarray(times, dtype=np.float64)
    except (TypeError, ValueError):
        values = np.empty((0, 0))
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise InputError(f'{path}: is no list of times, one number per frame; {DOWNLOAD_AGAIN}')
    steps = np.diff(values)
    if len(steps) and not 0 < np.median(steps) < LONGEST_STEP:
        raise InputError(
            f'{path}: its times are {np.median(steps):g} apart, not 0.1 s; give seconds, in the order of the frames'
        )
    return values.tolist()


def pose_of(poses: Sequence[Any], frame: int, path: Path) -> np.ndarray:
    """Return the pose ``(4, 4)`` of a frame.

    Args:
        poses: the poses of a file (:func:`read_poses`).
        frame: number of the frame.
        path: the file, for messages.
    """
    where, record = f'{path}[{frame}]', poses[frame]
    try:
        quaternion = [float(record['heading'][axis]) for axis in 'wxyz']
        position = [float(record['position'][axis]) for axis in 'xyz']
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f'{where}: lacks position x y z and heading w x y z; {DOWNLOAD_AGAIN}') from error
    return pose_matrix(quaternion, position, where)


@dataclass(frozen=True)
class Camera:
    """One camera of one sequence.

    Attributes:
        folder: folder of the camera.
        images: frame -> image file.
        poses, times: pose as stored, and seconds, of each frame.
        cam2img: ``(3, 3)`` pinhole matrix.
    """

    folder: Path
    images: dict[int, Path]
    poses: list[Any]
    times: list[float]
    cam2img: np.ndarray

    @classmethod
    def read(cls, folder: Path, images: dict[int, Path]) -> Camera:
        """Read the calibration of the camera in ``folder``."""
        values = read_json(folder / 'intrinsics.json', DOWNLOAD_AGAIN)
        try:
            fx, fy, cx, cy = (float(values[key]) for key in ('fx', 'fy', 'cx', 'cy'))
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f'{folder}/intrinsics.json: lacks fx, fy, cx, cy as numbers; {DOWNLOAD_AGAIN}') from error
        poses, times = read_poses(folder / 'poses.json'), read_times(folder / 'timestamps.json')
        return cls(folder, images, poses, times, np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]]))

    @property
    def count(self) -> int:
        """Return how many frames have a pose and a time."""
        return min(len(self.poses), len(self.times))

    def record(self, frame: int, lidar2global: np.ndarray, ego2global: np.ndarray) -> Info:
        """Make the record of the image of a frame; poses ``(4, 4)`` are those of LiDAR and vehicle at the keyframe."""
        path = require_file(self.images.get(frame, self.folder / f'{frame:02d}.jpg'), DOWNLOAD_AGAIN)
        if frame >= self.count:
            raise InputError(f'{self.folder}/poses.json: ends before frame {frame}; {DOWNLOAD_AGAIN}')
        sequence = self.folder.parent.parent.name
        return camera_record(
            self.folder.name,
            f'{sequence}/camera/{self.folder.name}/{path.name}',
            image_size(path),
            self.cam2img,
            pose_of(self.poses, frame, self.folder / 'poses.json'),
            lidar2global,
            ego2global,
            self.times[frame],
            scene=sequence,
        )


def camera_images(sequence: Path) -> dict[str, dict[int, Path]]:
    """List the images of the cameras of a sequence, name -> frame -> file; warn of cameras without any."""
    folders = sorted(path for path in (sequence / 'camera').iterdir() if path.is_dir() and path.name[0] != '.')
    images = {folder.name: frame_files(folder, IMAGE_SUFFIXES) for folder in folders}
    if empty := [name for name, files in images.items() if not files]:
        warn(f'{sequence}/camera: {", ".join(empty)} holds no images and is passed over')
    return {name: files for name, files in images.items() if files}
