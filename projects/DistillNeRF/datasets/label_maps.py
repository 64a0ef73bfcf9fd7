"""What a dataset tells of 2D label maps of its images: their files, and how many are missing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from ..evaluation.occupancy.label_maps import LabelMap
from ..utils.errors import InputError, warn
from ..utils.files import is_file
from .file_checks import FolderListings
from .infos import Info
from .teacher_files import label_map_paths


def label_maps_of(
    info: Info, cameras: Sequence[str], root: str, exists: Callable[[Path], bool] = is_file
) -> list[LabelMap]:
    """Return the label maps of the images of some cameras.

    Args:
        info: record of the keyframe.
        cameras: names of the cameras.
        root: folder of label maps.
        exists: tells whether there is a file.

    Raises:
        InputError: an image has two.
    """
    found = []
    for camera in cameras:
        image = info['images'][camera]
        there = [path for path in (Path(root, name) for name in label_map_paths(image['teacher'])) if exists(path)]
        if len(there) > 1:
            raise InputError(f'{there[0]}: {there[1]} is a label map of the same image; remove one of them')
        found.append(LabelMap(there[0] if there else None, image['height'], image['width']))
    return found


def check_label_maps(infos: Sequence[Info], cameras: Sequence[str], root: str, skip_missing: bool, where: str) -> None:
    """Check that all images have a label map, or warn of those without where some may be missing.

    Args:
        infos: the records of the samples.
        cameras: names of the cameras that are loaded.
        root: folder of label maps.
        skip_missing: warn of what is missing instead of stopping, if there is anything at all.
        where: info file, for messages.

    Raises:
        InputError: maps are missing, and may not be, or there are none.
    """
    folders = FolderListings()
    if unnamed := [info for info in infos for camera in cameras if 'teacher' not in info['images'][camera]]:
        raise InputError(
            f'{where}: sample {unnamed[0]["token"]} names no teacher files, and label maps have their names; convert '
            'the data again with tools/create_data.py'
        )
    missing = [
        Path(root, label_map_paths(info['images'][camera]['teacher'])[0])
        for info in infos
        for camera, record in zip(cameras, label_maps_of(info, cameras, root, folders.has), strict=True)
        if record.path is None
    ]
    total = len(infos) * len(cameras)
    if missing and (not skip_missing or len(missing) == total):
        raise InputError(
            f'{missing[0]}: no such label map, nor as .npy (and {len(missing) - 1} more of {total} are missing); make '
            'them (docs/EVALUATION.md#classes-from-label-maps), correct the dataset option label_maps'
            + ('' if skip_missing else ', or set skip_missing=True to go on without some of them')
        )
    if missing:
        warn(
            f'{where}: {len(missing)} of {total} label maps are missing, such as {missing[0]}: what only these images '
            'show has the class of the nearest voxel that others show'
        )
