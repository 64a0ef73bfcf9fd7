"""Write MiniTown as a nuScenes v1.0 data set, with the truth and a perfect teacher beside it.

Layout under the data root (``<stem>`` is ``<scene>__<channel>__<time stamp in microseconds>``)::

    minitown.json                      the settings that the folder was made with
    splits.json                        {"train": [scene names], "val": [scene names]}; names are minitown-0001, ...
    v1.0-mini/*.json                   the thirteen nuScenes tables
    maps/<map token>.png               drivable area, 0.1 m per pixel, 255 = drivable (one map per scene)
    samples/CAM_*/<stem>.jpg           key frames (2 Hz); cameras fire up to 43 ms before the LiDAR, as in nuScenes
    samples/LIDAR_TOP/<stem>.pcd.bin   float32 (n, 5): x, y, z, intensity 0-255, ring
    sweeps/CAM_*, sweeps/LIDAR_TOP     between key frames: images at 4 Hz, LiDAR at 10 Hz
    gts/<scene>/<sample token>/labels.npz   Occ3D: semantics, mask_lidar, mask_camera, uint8 (200, 200, 16)
    truth/depth/CAM_*/<stem>.npy       float16 (H, W), z in meters, NaN in the sky
    truth/classes/CAM_*/<stem>.png     uint8 (H, W), ids of ``classes.CLASSES``
    truth/sky/CAM_*/<stem>.png         uint8 (H, W), 255 = sky, 0 = anything else
    truth/instances/CAM_*/<stem>.png   uint16 (H, W), 0 = no object, k = entry k - 1 of ``instances`` in the record
    truth/virtual/<view>/rgb/CAM_*/<stem>.jpg, truth/virtual/<view>/depth/CAM_*/<stem>.npy
                                       what a camera 1 m to the left (-1_0_0), right (1_0_0) or up (0_-1_0) sees
    truth/left_right.json              the novel-view path of the second key frame of each validation scene (below)
    truth/left_right/<stem>/<offset>.jpg|.npy   its images and depths, <offset> = -1.2 ... +0.0 ... +1.2
    records/<scene>.json               everything the tables say about one scene; with digests of its files;
                                       exists only if the scene is whole

and in ``<root>_emernerf``, the layout of the published teacher, for each view (original 0_0_0 and the three above)::

    samples_<view>_0_0_0/depths/CAM_*/<stem>.npy        float16 (H, W), z in meters, 200 in the sky
    samples_<view>_0_0_0/gt_sky_masks/CAM_*/<stem>.npy  uint8 (H, W), 1 = sky
    samples_<view>_0_0_0/rgbs/CAM_*/<stem>.jpg

Truth and teacher cover the key frames. A view is named by the motion of the camera along its own axes (x right,
y down, z forward), in meters.

``truth/left_right.json`` is a list of paths: ``{"scene", "sample_token", "sample_data_token", "camera", "intrinsic"
(3 x 3), "views": [{"offset", "rgb", "depth", "cam2global" (4 x 4), "cam2lidar" (4 x 4)}]}``. The camera moves along
the x axis of the key frame's LiDAR (the published novel-view motion), in steps of 0.1 m; file names are relative to
the data root, ``cam2lidar`` refers to the LiDAR frame of the key frame.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import as_completed
from pathlib import Path
from typing import Any

from projects.DistillNeRF.utils.errors import InputError, warn
from projects.DistillNeRF.utils.files import save_json
from projects.DistillNeRF.utils.processes import process_pool

from .integrity import code_digest, damaged_files
from .scene import Settings, export_scene, record_path
from .tables import TABLES, common_rows
from .truth import teacher_root

# The devkit and mmdetection3d know this name; what scenes are for stands in splits.json.
VERSION = 'v1.0-mini'
# Count up when the same settings give other files than before, so that old and new scenes never mix.
RELEASE = 1
SETTINGS_FILE = 'minitown.json'

Progress = Callable[[int, int], None]


def generate(
    root: str | os.PathLike,
    scenes: int = 10,
    seed: int = 0,
    workers: int = 2,
    keyframes: int = 8,
    progress: Progress | None = None,
    height: int = 112,
    width: int = 200,
    samples: int = 2,
) -> None:
    """Write a MiniTown data set, its truth and its teacher files; finished scenes of an earlier call stay.

    The files depend on the settings only, not on the number of workers. A scene of which files are missing or were
    changed since is made again. Scenes of another version of the generator stay as long as none has to be made.

    Args:
        root: data root; teacher files go to ``<root>_emernerf`` beside it.
        scenes: how many, at least 2; the last fifth is for validation.
        seed: of everything.
        workers: processes; with 1 everything runs in this one.
        keyframes: per scene, at 2 Hz.
        progress: called with (finished scenes, all scenes) at the start and after each scene.
        height, width: of the images.
        samples: per pixel and direction, against aliasing.

    Raises:
        InputError: a setting makes no sense, ``root`` holds something else, or its scenes are of another version and
            some are not whole.
    """
    root = Path(root).resolve()
    settings = Settings(scenes, seed, keyframes, height, width, samples)
    _check(settings, workers)
    _claim(root, settings)
    missing = _missing_scenes(root, settings)
    if progress:
        progress(scenes - len(missing), scenes)
    for number, _ in enumerate(_export(root, settings, missing, workers), start=scenes - len(missing) + 1):
        if progress:
            progress(number, scenes)
    _write_tables(root, settings)


def _missing_scenes(root: Path, settings: Settings) -> list[int]:
    """Return the scenes that are not there, or not as they were written.

    Raises:
        InputError: there are such scenes, and another version of the generator made the others.
    """
    missing, others = [], []
    for index in range(settings.scenes):
        name = settings.scene_name(index)
        file = record_path(root, name)
        record = _read_record(file)
        if record is None:
            missing.append(index)
            continue
        if record.get('code', code_digest()) != code_digest():
            others.append(name)
        if damaged := damaged_files(root, record):
            warn(f'{root}: {name}: {len(damaged)} files are missing or changed ({damaged[0]}, ...): made again')
            missing.append(index)
    if others and missing:
        raise InputError(
            f'{root}: {len(others)} scenes ({others[0]}, ...) were made by another version of the generator, and '
            f'{len(missing)} ({settings.scene_name(missing[0])}, ...) are not whole; two versions do not mix: '
            'choose another folder, or remove this one and the _emernerf folder beside it'
        )
    if others:
        warn(f'{root}: {len(others)} of {settings.scenes} scenes were made by another version of the generator: kept')
    return missing


def _read_record(file: Path) -> dict[str, Any] | None:
    """Read the record of a scene; ``None`` if it is not there or damaged."""
    try:
        record = json.loads(file.read_text())
    except FileNotFoundError:
        return None
    except ValueError:
        record = None
    if not isinstance(record, dict) or not {'tables', 'left_right'} <= set(record):
        warn(f'{file}: is damaged: the scene is made again')
        return None
    return record


def _export(root: Path, settings: Settings, indices: list[int], workers: int) -> Iterator[int]:
    """Export scenes; yield each index when it is done."""
    if workers == 1 or len(indices) <= 1:
        for index in indices:
            export_scene(root, settings, index)
            yield index
        return
    with process_pool(min(workers, len(indices))) as pool:
        running = {pool.submit(export_scene, root, settings, index): index for index in indices}
        try:
            for future in as_completed(running):
                future.result()
                yield running[future]
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _check(settings: Settings, workers: int) -> None:
    """Refuse settings that make no sense."""
    bounds = {'scenes': 2, 'seed': 0, 'keyframes': 2, 'height': 16, 'width': 16, 'samples': 1}
    for name, value in [*dataclasses.asdict(settings).items(), ('workers', workers)]:
        least = bounds.get(name, 1)
        if value < least:
            reason = ' (one to train on, one to evaluate on)' if name == 'scenes' else ''
            raise InputError(f'MiniTown: {name} is {value}; give at least {least}{reason}')


def _claim(root: Path, settings: Settings) -> None:
    """Make ``root`` the folder of a data set with these settings, or check that it is."""
    for folder in (root, teacher_root(root)):
        if folder.exists() and not folder.is_dir():
            raise InputError(f'{folder}: is a file; give the path of a folder')
    file = root / SETTINGS_FILE
    wanted = {'release': RELEASE, **dataclasses.asdict(settings)}
    if file.exists():
        found = read_settings(file)
        if found != wanted:
            raise InputError(
                f'{root}: holds a MiniTown made with {_told(found)}, not with {_told(wanted)}; '
                'choose another folder, or remove this one and the _emernerf folder beside it'
            )
        return
    if root.is_dir() and any(root.iterdir()):
        raise InputError(f'{root}: is not empty and holds no MiniTown; choose another folder')
    save_json(file, wanted)


def read_settings(file: Path) -> dict[str, object]:
    """Read the file of settings of a data root.

    Raises:
        InputError: it is damaged.
    """
    try:
        found = json.loads(file.read_text())
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise InputError(f'{file}: is damaged; remove {file.parent} and the _emernerf folder beside it, and run again')
    return found


def _told(settings: dict[str, object]) -> str:
    """Return the settings in words."""
    return ', '.join(f'{name} {value}' for name, value in settings.items())


def _write_tables(root: Path, settings: Settings) -> None:
    """Merge the records of the scenes into the tables, the splits and the list of novel-view paths."""
    tables = {name: common_rows().get(name, []) for name in TABLES}
    paths = []
    for index in range(settings.scenes):
        record = json.loads(record_path(root, settings.scene_name(index)).read_text())
        for name, rows in record['tables'].items():
            tables[name].extend(rows)
        paths.extend(record['left_right'])
    save_json(root / 'truth' / 'left_right.json', paths)
    save_json(root / 'splits.json', settings.splits)
    for name, rows in tables.items():
        save_json(root / VERSION / f'{name}.json', rows)
