"""Are the files there? Asked once per dataset, by listing folders rather than by one look per file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ..utils.errors import InputError
from ..utils.provenance import Provenance
from .info_arrays import MAP_FILES
from .infos import CONVERT_AGAIN, Info, lidar_measurements
from .supply import Supply
from .teacher_files import virtual_view_files

MAP_HINTS = {
    'teacher': 'restore the teacher maps, or say where they are with the dataset option data_prefix.teacher',
    'truth': 'make the ground truth with tools/create_data.py minitown, or say where it is with data_prefix.truth',
    'features': 'restore the features, or say where they are with the dataset option data_prefix.features',
}


class Folders:
    """Remembers the listing of every folder it was asked about."""

    def __init__(self) -> None:
        self._names: dict[str, frozenset[str]] = {}

    def has(self, path: Path) -> bool:
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
    """Every image of the cameras and every sweep must be there, and the sweeps those of the info file.

    Raises:
        InputError: names the first missing file, its sample and the hint.
    """
    folders = Folders()
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
            source = measurement['lidar_points'].get('made_from')
            if source is not None:
                if path.parent not in made:
                    made[path.parent] = Provenance(path.parent)
                if made[path.parent].source(path) not in (None, source):
                    raise InputError(
                        f'{path}: was made again from other raw data or poses since the info file named it '
                        f'(sample {info["token"]}); {CONVERT_AGAIN}'
                    )


def check_virtual_views(infos: Sequence[Info], cameras: Sequence[str], names: Sequence[str], root: str) -> None:
    """Every virtual view that can be drawn must be there.

    Raises:
        InputError: names the first missing file and the hint.
    """
    folders = Folders()
    for info in infos:
        for camera in cameras:
            for name in names:
                for relative in virtual_view_files(info['images'][camera]['teacher'], name).values():
                    path = Path(root) / relative
                    if not folders.has(path):
                        raise InputError(
                            f'{path}: no such file of a virtual view; {MAP_HINTS["teacher"]}, or set skip_missing=True '
                            'in the dataset config to go on without'
                        )


def count_virtual_views(infos: Sequence[Info], cameras: Sequence[str], names: Sequence[str], root: str) -> Supply:
    """Cameras of samples of which the teacher has at least one virtual view."""
    folders = Folders()
    there = [
        any(folders.has(Path(root) / virtual_view_files(recorded, name)['rgb']) for name in names)
        for recorded in (info['images'][camera]['teacher'] for info in infos for camera in cameras)
    ]
    return Supply(sum(there), len(there))


def count_maps(
    infos: Sequence[Info], cameras: Sequence[str], root: str, kind: str
) -> tuple[dict[str, Supply], Path | None]:
    """How many maps of one kind are there, such as ``teacher depth``, ``teacher sky_mask`` or ``features``.

    Returns:
        the counts, and the first missing file.
    """
    folders = Folders()
    there: dict[str, int] = {}
    total: dict[str, int] = {}
    example = None
    for name, relative in _map_paths(infos, cameras, kind):
        path = Path(root) / relative
        total[name] = total.get(name, 0) + 1
        has = folders.has(path)
        there[name] = there.get(name, 0) + has
        example = example if has or example else path
    return {name: Supply(there[name], count) for name, count in total.items()}, example


def _map_paths(infos: Sequence[Info], cameras: Sequence[str], kind: str) -> Iterator[tuple[str, str]]:
    """Names and paths, relative to their root, of all maps of one kind."""
    for info in infos:
        for camera in cameras:
            record = info['images'][camera].get(kind) or {}
            if isinstance(record, str):
                yield kind, record
            else:
                yield from ((f'{kind} {name}', record[name]) for name in MAP_FILES[kind])


# Median distance of a file's points, meters; that of nuScenes is 10, of PandaSet 20.
PLAUSIBLE_RANGE = (0.3, 300.0)


def check_ranges(points: np.ndarray, path: str | Path, hint: str) -> None:
    """Check ``(n, columns)`` points, x y z first, in the LiDAR frame.

    Raises:
        InputError: the median distance is none in meters; names the file and the hint.
    """
    if not len(points):
        return
    median = float(np.median(np.linalg.norm(points[:, :3].astype(np.float64), axis=1)))
    low, high = PLAUSIBLE_RANGE
    if not low < median < high:
        raise InputError(
            f'{path}: half of its points are {"nearer" if median <= low else "farther"} than {median:.3g} m; give '
            f'meters in the frame of the LiDAR, not millimeters, and not positions on a map; {hint}'
        )
