"""Checks that the files of a dataset exist, by listing folders rather than by one look per file; their contents."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ..utils.errors import InputError
from ..utils.provenance import Provenance
from .availability import Availability
from .info_arrays import MAP_FILES
from .infos import CONVERT_AGAIN, Info, lidar_measurements
from .teacher_files import virtual_feature_path, virtual_view_files

MAP_HINTS = {
    'teacher': 'restore the teacher maps, or say where they are with the dataset option data_prefix.teacher',
    'truth': 'make the ground truth with tools/create_data.py minitown, or say where it is with data_prefix.truth',
    'features': 'make the features with tools/extract_features.py, or say where they are with data_prefix.features',
}


class FolderListings:
    """Tell whether files exist; list every folder only once."""

    def __init__(self) -> None:
        self._names: dict[str, frozenset[str]] = {}

    def has(self, path: Path) -> bool:
        """Tell whether a file exists."""
        folder = str(path.parent)
        if folder not in self._names:
            try:
                self._names[folder] = frozenset(entry.name for entry in Path(folder).iterdir())
            except OSError:
                self._names[folder] = frozenset()
        return path.name in self._names[folder]


def check_images_and_lidar(
    infos: Sequence[Info], cameras: Sequence[str], roots: dict[str, str], load_lidar: bool, sweeps: int = 1
) -> None:
    """Check that all images and LiDAR files exist, and that the LiDAR files are those that the info file names.

    Args:
        infos: the records.
        cameras: names of the cameras whose images are used.
        roots: folders of ``img`` and ``lidar``.
        load_lidar: whether LiDAR is used.
        sweeps: LiDAR measurements per keyframe that are used.

    Raises:
        InputError: names the first missing file, its sample and the hint.
    """
    folders = FolderListings()
    made: dict[Path, Provenance] = {}
    for info in infos:
        for camera in cameras:
            path = Path(roots['img']) / info['images'][camera]['img_path']
            if not folders.has(path):
                raise InputError(
                    f'{path}: no such image (sample {info["token"]}, {camera}); '
                    'restore it or correct data_root and data_prefix.img in the dataset config'
                )
        for measurement in lidar_measurements(info, sweeps) if load_lidar else ():
            path = Path(roots['lidar']) / measurement['lidar_points']['lidar_path']
            if not folders.has(path):
                raise InputError(
                    f'{path}: no such LiDAR file (sample {info["token"]}); '
                    'restore it or correct data_root and data_prefix.lidar in the dataset config'
                )
            _check_source(path, measurement['lidar_points'].get('made_from'), made, info['token'])


def _check_source(path: Path, source: str | None, made: dict[Path, Provenance], token: str) -> None:
    """Check that a LiDAR file was not made again since the info file named it.

    Args:
        path: the file.
        source: fingerprint of what the file was made from, in the info file; None where it was not made.
        made: what the files of each folder were made from; filled here.
        token: the sample, for messages.
    """
    if source is None:
        return
    if path.parent not in made:
        made[path.parent] = Provenance(path.parent)
    if made[path.parent].source(path) not in (None, source):
        raise InputError(
            f'{path}: was made again from other raw data or poses since the info file named it '
            f'(sample {token}); {CONVERT_AGAIN}'
        )


def check_virtual_views(infos: Sequence[Info], cameras: Sequence[str], names: Sequence[str], root: str) -> None:
    """Check that all files of the virtual views exist.

    Args:
        infos: the records.
        cameras: names of the cameras.
        names: names of the virtual views.
        root: folder of the teacher.

    Raises:
        InputError: names the first missing file and the hint.
    """
    folders = FolderListings()
    for files in _virtual_views(infos, cameras, names):
        for path in (Path(root) / relative for view in files for relative in view.values()):
            if not folders.has(path):
                raise InputError(
                    f'{path}: no such file of a virtual view; {MAP_HINTS["teacher"]}, or set skip_missing=True '
                    'in the dataset config to go on without'
                )


def count_virtual_views(infos: Sequence[Info], cameras: Sequence[str], names: Sequence[str], root: str) -> Availability:
    """Count the images (of :func:`check_virtual_views`) of which the teacher has at least one virtual view."""
    folders = FolderListings()
    there = [
        any(folders.has(Path(root) / view['rgb']) for view in files) for files in _virtual_views(infos, cameras, names)
    ]
    return Availability(sum(there), len(there))


def missing_virtual_features(
    infos: Sequence[Info], cameras: Sequence[str], names: Sequence[str], root: str
) -> tuple[list[Path], int]:
    """Return which features of virtual views do not exist, and how many there must be.

    Args:
        infos: the records.
        cameras: names of the cameras.
        names: names of the virtual views.
        root: folder of the features.
    """
    folders = FolderListings()
    paths = [
        Path(root) / virtual_feature_path(info['images'][camera]['features'], name)
        for info in infos
        for camera in cameras
        for name in names
    ]
    return [path for path in paths if not folders.has(path)], len(paths)


def _virtual_views(
    infos: Sequence[Info], cameras: Sequence[str], names: Sequence[str]
) -> Iterator[list[dict[str, str]]]:
    """Yield, for every image, the files of each of its virtual views."""
    for info in infos:
        for camera in cameras:
            recorded = info['images'][camera]['teacher']
            yield [virtual_view_files(recorded, name) for name in names]


def count_maps(
    infos: Sequence[Info], cameras: Sequence[str], root: str, kind: str
) -> tuple[dict[str, Availability], Path | None]:
    """Count the maps of one kind that exist, apart for each file of an image.

    Args:
        infos: the records.
        cameras: names of the cameras.
        root: folder of the maps.
        kind: ``teacher``, ``truth`` or ``features``.

    Returns:
        the counts by name, such as ``teacher depth``, ``teacher sky_mask`` or ``features``; and the first missing file.
    """
    folders = FolderListings()
    exists: dict[str, list[bool]] = {}
    example = None
    for name, relative in _map_paths(infos, cameras, kind):
        path = Path(root) / relative
        exists.setdefault(name, []).append(folders.has(path))
        if example is None and not exists[name][-1]:
            example = path
    return {name: Availability(sum(found), len(found)) for name, found in exists.items()}, example


def _map_paths(infos: Sequence[Info], cameras: Sequence[str], kind: str) -> Iterator[tuple[str, str]]:
    """Yield the name and the path, relative to their root, of every map of one kind."""
    for info in infos:
        for camera in cameras:
            record = info['images'][camera].get(kind) or {}
            if isinstance(record, str):
                yield kind, record
            else:
                yield from ((f'{kind} {name}', record[name]) for name in MAP_FILES[kind])


# Median distance of a file's points, meters; that of nuScenes is 10, of PandaSet 20. Three quarters are not beyond it.
PLAUSIBLE_RANGE = (0.3, 300.0)


def check_ranges(points: np.ndarray, path: str | Path, hint: str) -> None:
    """Check that points ``(n, columns)``, x y z first, are in meters and in the LiDAR frame.

    Raises:
        InputError: the distances cannot be in meters; names the file and the hint.
    """
    if not len(points):
        return
    distances = np.linalg.norm(points[:, :3].astype(np.float64), axis=1)
    median = float(np.median(distances))
    low, high = PLAUSIBLE_RANGE
    wrong = ''
    if not low < median < high:
        wrong = f'half of its points are {"nearer" if median <= low else "farther"} than {median:.3g} m'
    elif 4 * np.count_nonzero(distances > high) > len(distances):
        wrong = f'a quarter of its points are farther than {high:g} m'
    if wrong:
        raise InputError(
            f'{path}: {wrong}; give '
            f'meters in the frame of the LiDAR, not millimeters, and not positions on a map; {hint}'
        )
