"""The Waymo Open Dataset to infos: which segments, in which split, in several processes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import as_completed
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ....utils.errors import InputError, note, warn
from ....utils.files import require_writable
from ....utils.processes import process_pool
from ...custom_rig.distortion import Distortion
from ...infos import Info, InfoFile, save_info_files
from ...waymo_splits import segment_name
from ..common import check_images, choose_cameras, common_cameras, link_frames, number_samples, ring_order
from ..scene_files import check_first_points
from . import v2
from .components import OPTIONAL
from .formats import find_files, reader
from .frames import CAMERAS
from .records import CATEGORIES
from .segments import FOLDER, JPEG_QUALITY, Segment, Settings, convert_segment, finished_records

# What ``--cameras`` takes as numbers: the published three that look to the front, and all.
CAMERA_SETS = {'3': ('FRONT_LEFT', 'FRONT', 'FRONT_RIGHT'), '5': CAMERAS}
SPLIT_FOLDERS = {'training': 'train', 'validation': 'val', 'testing': 'test'}
# Frames of 0.1 s between neighbor keyframes, as far apart as those of nuScenes.
STEP = 5


def convert(
    root: Path,
    out_dir: Path,
    tag: str = 'waymo',
    scenes: Sequence[str] | None = None,
    val_scenes: Sequence[str] = (),
    cameras: Sequence[str] | None = None,
    every: int = 1,
    returns: int = 1,
    undistort: bool = False,
    workers: int = 1,
    skip_incomplete: bool = False,
) -> list[Path]:
    """Write ``{tag}_infos_{train,val}.pkl`` and the files of all segments below ``kitti_format`` to ``out_dir``.

    Args:
        root: folder of the TFRecords (v1) or of the components' folders (v2), at any depth.
        out_dir: where to write; segments that are there already are kept (:mod:`.segments`).
        tag: how the names of the info files begin.
        scenes: names of the segments to convert or of their files; None takes all.
        val_scenes: those of the val split; if none are named, folders (``training``, ``validation``) tell the splits,
            else the last fifth is the val split.
        cameras: names of the cameras, or a key of :data:`CAMERA_SETS`; None takes all five.
        every: every how many-th frame, of 0.1 s.
        returns: how many returns of the lasers.
        undistort: make images of pinhole cameras, rather than copy those that are there.
        workers: processes, one segment each at a time.
        skip_incomplete: leave out segments that cannot be converted, with a warning.

    Returns:
        the info files.

    Raises:
        InputError: after all segments that can be converted are, if one cannot.
    """
    if every < 1:
        raise InputError(f'--every {every}: give 1 or more')
    wanted = CAMERA_SETS.get(cameras[0], cameras) if cameras and len(cameras) == 1 else cameras
    settings = Settings(choose_cameras(CAMERAS, wanted, root), every, returns, undistort)
    files = find_segments(root)
    chosen = list(files) if scenes is None else _choose(files, scenes, root, '--scene-ids or --splits')
    segments = {name: Segment(name, files[name], out_dir, settings) for name in chosen}
    splits = _splits(segments, _choose(files, val_scenes, root, '--val-scene-ids'), root)
    require_writable(out_dir / FOLDER)
    infos = _records(segments, _in_processes(list(segments.values()), workers), skip_incomplete)
    _tell_of_lacking([segments[name] for name in infos], root)
    _tell_of_lenses(next(iter(infos.values()))[0])
    step = every * -(-STEP // every)  # at least as far apart as STEP
    written = []
    for split, names in splits.items():
        if parts := [infos[name] for name in names if name in infos]:
            written.append(_info_file(out_dir / f'{tag}_infos_{split}.pkl', split, parts, step, workers))
    save_info_files(written)
    return [Path(file.path) for file in written]


def find_segments(root: Path) -> dict[str, Path]:
    """Find the segments below a folder: name -> file, in order of the names.

    Names are read from the files only where their own names do not tell.

    Raises:
        InputError: no folder, no segment, one that is there twice, or both formats.
    """
    if not root.is_dir():
        raise InputError(f'{root}: no such folder; give the folder of the files of Waymo')
    files: dict[str, Path] = {}
    for path in find_files(root):
        name = segment_name(path.name) or reader(path).segment_name(path)
        if name in files:
            raise InputError(f'{path}: holds segment {name}, as {files[name]} does; remove one of them')
        files[name] = path
    return dict(sorted(files.items()))


def _choose(files: Mapping[str, Path], wanted: Iterable[str], root: Path, option: str) -> list[str]:
    """Return the names of the segments that are wanted, in order, each once."""
    names = [segment_name(name) or name for name in wanted]
    if missing := [name for name in names if name not in files]:
        raise InputError(
            f'{root}: has no segment {missing[0]} ({len(missing)} of the {len(names)} of {option} are missing); '
            'download it, or name segments that are there'
        )
    return sorted(set(names))


def _splits(segments: Mapping[str, Segment], val: Sequence[str], root: Path) -> dict[str, list[str]]:
    """Return the names of the segments of each split."""
    names = list(segments)
    if unknown := [name for name in val if name not in segments]:
        raise InputError(
            f'{root}: segment {unknown[0]} of --val-scene-ids is none of those to convert; name it there too'
        )
    if val:
        splits = {'train': [name for name in names if name not in val], 'val': list(val)}
        if not splits['train']:
            raise InputError(f'{root}: all of its segments to convert are in the val split; leave some for training')
        return splits
    folders = [SPLIT_FOLDERS.get(reader(segment.path).split_folder(segment.path)) for segment in segments.values()]
    if None not in folders and len(set(folders)) > 1:
        return {
            split: [name for name, folder in zip(names, folders, strict=True) if folder == split]
            for split in SPLIT_FOLDERS.values()
            if split in folders
        }
    if len(names) == 1:
        warn(f'{root}: one segment only: it is in both splits, so that validation says nothing of other scenes')
        return {'train': names, 'val': names}
    count = max(1, len(names) // 5)
    return {'train': names[:-count], 'val': names[-count:]}


def _tell_of_lacking(segments: Sequence[Segment], root: Path) -> None:
    """Warn of components of v2 that segments lack, with how many do."""
    lacking = Counter(
        part for segment in segments if segment.path.suffix == v2.SUFFIX for part in v2.lacking(segment.path)
    )
    for component, what in OPTIONAL.items():
        if count := lacking[component]:
            warn(
                f'{root}: {count} of {len(segments)} segments have no file of {component.folder}: their records have '
                f'no {what}; download that folder, too, and run the same command again to have them'
            )


def _tell_of_lenses(info: Info) -> None:
    """Say what became of the lenses, and how much they matter, in the cameras of a record."""
    bent, zooms = [], []
    for image in info['images'].values():
        before = image.get('undistorted_from', image)
        intrinsics, width, height = np.array(before['cam2img']), image['width'] - 1, image['height'] - 1
        border = np.array([[0, 0], [width, 0], [0, height], [width, height]], np.float64)
        rays = Distortion('opencv', tuple(before['distortion'])).rays(border, intrinsics)
        straight = rays @ intrinsics[:2, :2].T + intrinsics[:2, 2]
        bent.append(np.linalg.norm(straight - border, axis=1).max())
        zooms.append(image['cam2img'][0][0] / intrinsics[0, 0])
    if any('undistorted_from' in image for image in info['images'].values()):
        note(
            'the images are undistorted: decoded, made those of pinhole cameras whose focal lengths are '
            f'{min(zooms):.3f} to {max(zooms):.3f} times the old ones, and encoded again (quality {JPEG_QUALITY})'
        )
    elif max(bent) > 0:
        note(
            'the images are copied, byte by byte, and still have the distortion of their lenses (distortion in the '
            f'records), which cam2img leaves out: up to {max(bent):.0f} pixels of {width + 1} in the corners; '
            '--undistort undoes it'
        )


def _in_processes(segments: Sequence[Segment], workers: int) -> dict[str, InputError]:
    """Convert all segments; return what was wrong with those that could not be, by their names."""
    failures: dict[str, InputError] = {}
    if workers <= 1 or len(segments) < 2:
        for segment in segments:
            try:
                convert_segment(segment, bar=True)
            except InputError as error:
                failures[segment.name] = error
        return failures
    with process_pool(min(workers, len(segments))) as pool:
        futures = {pool.submit(convert_segment, segment): segment.name for segment in segments}
        for future in tqdm(as_completed(futures), total=len(futures), desc='Waymo segments'):
            try:
                future.result()
            except InputError as error:
                failures[futures[future]] = error
    return failures


def _records(
    segments: Mapping[str, Segment], failures: Mapping[str, InputError], skip_incomplete: bool
) -> dict[str, list[Info]]:
    """Read the records of all segments that could be converted; raise, or warn, if some could not."""
    if failures:
        errors = [failures[name] for name in segments if name in failures]
        left = len(segments) - len(failures)
        if not skip_incomplete or not left:
            for error in errors[1:]:
                warn(str(error))
            hint = 'then run the same command again'
            if left:
                hint += f', which keeps the other {left}, or leave these out with --skip-incomplete-scenes'
            what = f'{len(failures)} of {len(segments)} segments cannot be converted'
            raise InputError(f'{errors[0]}; {what}: {hint}')
        for error in errors:
            warn(f'{error}; its segment is left out')
    infos = {}
    for name, segment in segments.items():
        if name not in failures:
            records = finished_records(segment)
            if not records:
                raise InputError(f'{segment.folder}: was changed while it was converted; run the same command again')
            infos[name] = records
    return infos


def _info_file(path: Path, split: str, parts: Sequence[list[Info]], step: int, workers: int) -> InfoFile:
    """Link and number the records of a split, check their files, and make the info file, which is not written yet."""
    infos = [{**info} for records in parts for info in records]
    cameras = ring_order(infos)
    for info in infos:
        info['images'] = {camera: info['images'][camera] for camera in cameras}
    link_frames(infos, step)
    number_samples(infos)
    check_images(path.parent, infos, path, workers)
    check_first_points(infos, path.parent)
    if without := sum(info['lidar_points'] is None for info in infos):
        warn(f'{path}: {without} of {len(infos)} frames have no LiDAR: losses and metrics that need it leave them out')
    more = {'split': split, 'categories': CATEGORIES}
    return InfoFile(path, 'waymo', common_cameras(infos, path), infos, more=more)
