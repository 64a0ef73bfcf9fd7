"""nuScenes tables to infos, through nuscenes-devkit. Any data set written as nuScenes tables converts the same way.

Splits are the official ones, or those of a ``splits.json`` beside the table folder: ``{split: [scene names]}``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from tqdm import tqdm

from ...utils.errors import InputError, warn
from ..drive_checks import first_few
from ..infos import Info, InfoFile, save_info_files
from .common import (
    check_images,
    number_samples,
    same_cameras,
)
from .nuscenes_rig import Rig, categories
from .nuscenes_tables import open_tables, read_splits, scenes_of
from .scene_files import check_first_points, complete_scenes, drop_missing_images, drop_missing_sweeps
from .table_links import check_links

# The rig of nuScenes; other tables may have others.
CAMERAS = ('CAM_FRONT_LEFT', 'CAM_FRONT', 'CAM_FRONT_RIGHT', 'CAM_BACK_RIGHT', 'CAM_BACK', 'CAM_BACK_LEFT')
# How the categories of nuScenes begin; those that are no detection class are known, too.
KNOWN_CATEGORIES = ('animal', 'human.', 'movable_object.', 'static_object.', 'vehicle.')


def convert(
    root: Path,
    out_dir: Path,
    tag: str = 'nuscenes',
    version: str = 'v1.0-trainval',
    sweeps: int = 10,
    workers: int = 1,
    dataset: str = 'nuscenes',
    finish: Callable[[Info], None] | None = None,
    cameras: Sequence[str] | None = None,
    skip_incomplete: bool = False,
    image_sweeps: bool = False,
) -> list[Path]:
    """Write ``{tag}_infos_{split}.pkl`` for every split of ``version``.

    Args:
        root: folder of ``samples``, ``sweeps`` and the table folder ``version``.
        out_dir: where the info files go.
        tag: how the names of the info files begin.
        version: name of the table folder.
        sweeps: how many LiDAR sweeps before each keyframe to list.
        workers: threads that compare image files with their records.
        dataset: name for ``metainfo``.
        finish: adds to each record what only this data set has.
        cameras: channels of the cameras to convert; None takes all that are there.
        skip_incomplete: leave out scenes of which files are missing.
        image_sweeps: list the images between keyframes, too; and at least all LiDAR sweeps since the keyframe before,
            so that the records of a scene name all that was measured in it.

    Returns:
        the info files.
    """
    check_sweep_count(sweeps)
    tables = open_tables(root, version)
    linked = ('sample', 'sample_data', 'sample_annotation', 'instance')
    splits = {split: scenes_of(tables, names, split) for split, names in read_splits(root, version).items()}
    check_links({name: getattr(tables, name) for name in linked}, root / version)
    everything = [scene for scenes in splits.values() for scene in scenes]
    rig = Rig(tables, everything, cameras)
    needed = {scene.name: rig.files(scene) for scene in everything}
    whole = set(complete_scenes(needed, root, skip_incomplete))
    files = []
    for split, scenes in splits.items():
        there = [scene for scene in scenes if scene.name in whole]
        if not there:
            warn(f'{root / version}: no scene of split {split} is complete: no info file of it is written')
            continue
        infos = [
            info
            for scene in tqdm(there, desc=f'{dataset} {split}')
            for info in rig.convert(scene, sweeps, image_sweeps)
        ]
        number_samples(infos)
        for info in infos if finish is not None else ():
            finish(info)
        ring = same_cameras(infos, root / version)
        check_first_points(infos, root)
        drop_missing_sweeps(infos, root)
        if image_sweeps:
            _warn_of_no_images(infos, root / version)
            drop_missing_images(infos, root)
        _warn_of_missing(infos, sweeps, root / version)
        path = out_dir / f'{tag}_infos_{split}.pkl'
        check_images(root, infos, path, workers)
        more = {'split': split, 'version': version, 'categories': categories()}
        files.append(InfoFile(path, dataset, ring, infos, root / version, more))
    save_info_files(files)
    return [file.path for file in files]


def _warn_of_missing(infos: Sequence[Info], sweeps: int, where: Path) -> None:
    """Warn of records without the sweeps that were asked for, and of boxes of unknown categories."""
    if sweeps and len(infos) > 1 and not any(info['lidar_sweeps'] for info in infos):
        warn(f'{where}: no keyframe has LiDAR sweeps before it (prev in sample_data.json)')
    names = [box['category'] for info in infos for box in info['instances']]
    if unknown := [name for name in names if not str(name).startswith(KNOWN_CATEGORIES)]:
        warn(
            f'{where}: {len(unknown)} of {len(names)} boxes have categories that are none of nuScenes '
            f'({first_few(sorted(set(map(str, unknown))))}) and no class for the detection head'
        )


def _warn_of_no_images(infos: Sequence[Info], where: Path) -> None:
    """Warn where the tables have no images between keyframes at all."""
    if len(infos) > 1 and not any(images for info in infos for images in info['image_sweeps'].values()):
        warn(f'{where}: no keyframe has images between it and the keyframe before (prev in sample_data.json)')


def check_sweep_count(sweeps: int) -> None:
    """Check that a number of sweeps is 0 or more."""
    if sweeps < 0:
        raise InputError(f'--sweeps is {sweeps}; give 0 or more')
