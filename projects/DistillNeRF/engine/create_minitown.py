"""MiniTown -> infos: make the town, then convert its nuScenes tables and add the paths of the truth."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from pathlib import Path

from tqdm import tqdm

from projects.MiniTown.generate import SETTINGS_FILE, generate, read_settings, record_path
from projects.MiniTown.scene import Settings

from ..datasets.converters import nuscenes
from ..datasets.infos import Info
from ..datasets.teacher_files import image_stem

VERSION = 'v1.0-mini'


def convert(root: Path, out_dir: Path, tag: str = 'minitown', workers: int = 1, **settings: int | None) -> list[Path]:
    """Make the town at ``root`` and write its info files to ``out_dir``; finished scenes are kept.

    Args:
        root: data root of the town.
        out_dir: folder of the info files.
        tag: they are named ``TAG_infos_SPLIT.pkl``.
        workers: number of processes.
        settings: of :func:`projects.MiniTown.generate.generate`: scenes, seed, keyframes, height, width. One that is
            missing or ``None`` is as in the town at ``root``, if there is one.

    Returns:
        the info files.
    """
    with tqdm(desc='MiniTown scenes', unit='scene') as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        usual = {name: getattr(Settings, name) for name in settings}
        given = {name: value for name, value in settings.items() if value is not None}
        chosen = usual | _settings_of(root) | given
        generate(root, workers=workers, progress=show, **chosen)
    return convert_tables(root, out_dir, tag, workers)


def _settings_of(root: Path) -> dict[str, int]:
    """Return the settings of the town at ``root``; empty if there is none."""
    file = root / SETTINGS_FILE
    found = read_settings(file) if file.is_file() else {}
    names = [field.name for field in dataclasses.fields(Settings)]
    return {name: found[name] for name in names if isinstance(found.get(name), int)}


def convert_tables(root: Path, out_dir: Path, tag: str = 'minitown', workers: int = 1) -> list[Path]:
    """Write the info files of a town that has been made."""

    @functools.cache
    def tokens(scene: str) -> list[str] | None:
        file = record_path(root, scene)
        return json.loads(file.read_text()).get('instances') if file.is_file() else None

    def finish(info: Info) -> None:
        add_truth(info)
        # Records of some old towns do not say which object a number is.
        if (known := tokens(info['scene'])) is not None:
            info['instance_speeds'] = instance_speeds(info, known)

    return nuscenes.convert(
        root, out_dir, tag, VERSION, workers=workers, dataset='minitown', finish=finish, image_sweeps=True
    )


def add_truth(info: Info) -> None:
    """Add the paths of depth, sky, classes and objects of every image, relative to the town's root."""
    for camera, image in info['images'].items():
        stem = image_stem(image['img_path'])
        image['truth'] = {
            'depth': f'truth/depth/{camera}/{stem}.npy',
            'sky': f'truth/sky/{camera}/{stem}.png',
            'classes': f'truth/classes/{camera}/{stem}.png',
            'instances': f'truth/instances/{camera}/{stem}.png',
        }


def instance_speeds(info: Info, tokens: list[str]) -> list[float]:
    """Return how fast each object of a scene moves in a keyframe, m/s; NaN of those that it does not know.

    Args:
        info: the keyframe, with its boxes.
        tokens: of the objects, in the order of the numbers in the maps of objects (from 1 on).
    """
    speeds = {box['instance_token']: math.hypot(*box['velocity']) for box in info['instances']}
    return [speeds.get(token, math.nan) for token in tokens]
