"""What the section ``scene_nerf`` of a config says about the drive of a teacher."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from ..utils.errors import InputError
from .drive import Drive, load_drive, scene_names
from .own_car import OwnCar, read_own_car

SECTION = 'scene_nerf'
ROOTS = ('img', 'lidar', 'truth')


@dataclass(frozen=True)
class SceneSettings:
    """The drive of a teacher, and what is kept out of its training.

    Attributes:
        ann_files: info files that have frames of the scene.
        scene: its name.
        roots: folders of ``img``, ``lidar`` and ``truth``.
        image_size: (height, width) of the images that the teacher is trained on; the usual size of what it exports.
        holdout_frames: keyframes whose images it is not trained on.
        holdout_lidar_frames: keyframes whose LiDAR it is not trained on.
        own_car: where images show the car that carries the cameras, by camera.
        sky_masks: folder of sky masks that it is trained on; None: what is sky is told by LiDAR and color.
        features: folder of the maps of a foundation model that it learns, too; None: none.
    """

    ann_files: tuple[str, ...]
    scene: str
    roots: dict[str, str]
    image_size: tuple[int, int]
    holdout_frames: tuple[int, ...] = ()
    holdout_lidar_frames: tuple[int, ...] = ()
    own_car: dict[str, OwnCar] = field(default_factory=dict)
    sky_masks: str | None = None
    features: str | None = None

    def drive(self) -> Drive:
        """Load the drive.

        Raises:
            InputError: as :func:`.drive.load_drive`, or a keyframe that is kept out is none of the scene.
        """
        drive = load_drive(self.ann_files, self.scene, self.roots, self.own_car)
        known = {*drive.keyframes, *(sweep.frame for sweep in drive.sweeps)}
        for key in ('holdout_frames', 'holdout_lidar_frames'):
            if unknown := [frame for frame in getattr(self, key) if frame not in known]:
                raise InputError(
                    f'{SECTION}.{key} names keyframe {unknown[0]}, but the keyframes of scene {self.scene} are '
                    f'{_ranges(drive.keyframes)}; correct it'
                )
        return drive


def read_settings(config: Mapping[str, Any], where: str) -> SceneSettings:
    """Read the section of a config.

    Args:
        config: the whole config.
        where: its file, for messages.

    Raises:
        InputError: a key that is missing or cannot be right, or no scene is chosen among several.
    """
    section = _section(config, where)
    ann_files = _ann_files(section, where)
    roots = section.get('roots')
    if not isinstance(roots, Mapping) or not isinstance(roots.get('img'), str):
        raise InputError(f"{where}: {SECTION}.roots is {roots!r}; give dict(img='DIR', lidar='DIR', truth='DIR')")
    # Without folders of their own, LiDAR and truth lie where the images do.
    folders = {kind: str(Path(roots.get(kind) or roots['img']).expanduser()) for kind in ROOTS}
    return SceneSettings(
        ann_files,
        _scene(section, ann_files, where),
        folders,
        size(section.get('image_size'), f'{where}: {SECTION}.image_size'),
        _frames(section, 'holdout_frames', where),
        _frames(section, 'holdout_lidar_frames', where),
        read_own_car(section.get('own_car'), f'{where}: {SECTION}.own_car'),
        _folder(section, 'sky_masks', 'sky masks', where),
        _folder(section, 'features', 'feature maps', where),
    )


def scenes_of(config: Mapping[str, Any], where: str) -> tuple[str, ...]:
    """List the scenes of the info files of a config.

    Raises:
        InputError: as :func:`read_settings`.
    """
    return scene_names(_ann_files(_section(config, where), where))


def size(value: Any, name: str) -> tuple[int, int]:
    """Return (height, width) as whole numbers from 1 on.

    Raises:
        InputError: anything else; names ``name``.
    """
    if not _is_list(value) or len(value) != 2 or not all(type(side) is int and side > 0 for side in value):
        raise InputError(f'{name} is {value!r}; give (height, width) in pixels')
    return value[0], value[1]


def _section(config: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    section = config.get(SECTION)
    if not isinstance(section, Mapping):
        raise InputError(f'{where}: the config has no {SECTION}; use an entry point scene_nerf_*.py')
    known = [field.name for field in fields(SceneSettings)]
    if unknown := [key for key in section if key not in known]:
        raise InputError(f'{where}: nothing reads {SECTION}.{unknown[0]}; its keys are {", ".join(known)}')
    return section


def _ann_files(section: Mapping[str, Any], where: str) -> tuple[str, ...]:
    files = section.get('ann_files')
    if not _is_list(files) or not files or not all(isinstance(file, str) and file for file in files):
        raise InputError(f'{where}: {SECTION}.ann_files is {files!r}; list the info files that have the scene')
    return tuple(str(Path(file).expanduser()) for file in files)


def _scene(section: Mapping[str, Any], ann_files: Sequence[str], where: str) -> str:
    known, scene = scene_names(ann_files), section.get('scene')
    if scene is None and len(known) == 1:
        return known[0]
    if type(scene) is int:  # a command line makes a number of 002
        scene = next((name for name in known if name.isdigit() and int(name) == scene), scene)
    if scene not in known:
        names = f'{", ".join(known[:10])}{", ..." if len(known) > 10 else ""}'
        raise InputError(f'{where}: {SECTION}.scene is {scene!r}; choose one of {names}')
    return scene


def _frames(section: Mapping[str, Any], key: str, where: str) -> tuple[int, ...]:
    frames = section.get(key, ())
    if not _is_list(frames) or not all(type(frame) is int for frame in frames):
        raise InputError(f'{where}: {SECTION}.{key} is {frames!r}; list numbers of keyframes')
    return tuple(frames)


def _folder(section: Mapping[str, Any], key: str, content: str, where: str) -> str | None:
    folder = section.get(key)
    if folder is not None and not (isinstance(folder, str) and folder):
        raise InputError(f'{where}: {SECTION}.{key} is {folder!r}; give a folder of {content}, or None')
    return None if folder is None else str(Path(folder).expanduser())


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _ranges(numbers: Sequence[int], most: int = 10) -> str:
    """List ascending numbers, such as ``0 to 4, 8, 9``."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    words = [f'{part[0]} to {part[-1]}' if len(part) > 2 else ', '.join(map(str, part)) for part in parts]
    return f'{", ".join(words[:most])}{", ..." if len(words) > most else ""}'
