"""The published layouts of teacher and feature files; the only place that makes or reads such paths.

There are two. Info files name the files of every image, so nothing else has to know which one is theirs: that of
nuScenes, by view, kind and camera (:func:`teacher_path`), and that of Waymo, whose files lie beside their images
(:func:`paths_beside`).

A view is named by the shift of the camera along its own axes (x right, y down, z forward), in meters: ``0_0_0`` is the
original view, ``-1_0_0`` stands to the left, ``1_0_0`` to the right, ``0_-1_0`` above.

Image names of nuScenes (and MiniTown) are unique. Those of PandaSet are numbers of frames, the same in every scene:
there the name of the scene stands before them, as in ``002_25.npy``.

This module needs nothing that is installed: MiniTown writes its files with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath

ORIGINAL_VIEW = '0_0_0'
# Name -> shift of the camera along its own axes (x right, y down, z forward), meters.
VIRTUAL_VIEWS = {'-1_0_0': (-1.0, 0.0, 0.0), '1_0_0': (1.0, 0.0, 0.0), '0_-1_0': (0.0, -1.0, 0.0)}
UPWARD = '0_-1_0'
# Kind of file -> its folder and suffix.
_FILES = {'depth': ('depths', '.npy'), 'sky_mask': ('gt_sky_masks', '.npy'), 'rgb': ('rgbs', '.jpg')}
# The same of files beside their images: the word in the place of ``image`` in the folder of the images. The published
# suffixes are not known.
_WORDS = {'depth': 'depth_img', 'sky_mask': 'sky_mask'}
_IMAGE = 'image'
# Label maps, and masks of what can move, are our addition: no teacher writes them.
LABEL_FOLDER, LABEL_SUFFIXES = 'labels', ('.png', '.npy')
MOVABLE_FOLDER = 'movable_masks'


def image_stem(img_path: str, scene: str | None = None) -> str:
    """Return the name, without suffix, that the teacher, feature and truth files of an image have.

    Args:
        img_path: path of the image.
        scene: name of its scene, only where images of two scenes can have the same name.
    """
    stem = PurePosixPath(img_path).stem
    return stem if scene is None else f'{scene}_{stem}'


def teacher_path(kind: str, camera: str, stem: str, view: str = ORIGINAL_VIEW) -> str:
    """Return the path of a teacher file, relative to the teacher root.

    Args:
        kind: ``depth``, ``sky_mask`` or ``rgb``.
        camera: name of the camera.
        stem: name of the image (:func:`image_stem`).
        view: name of the view.
    """
    folder, suffix = _FILES[kind]
    return f'{_view_folder(view)}/{folder}/{camera}/{stem}{suffix}'


def paths_beside(img_path: str) -> dict[str, str]:
    """Return the paths of teacher files beside an image, in the layout of Waymo, relative to the teacher root.

    The folder ``image_0`` of the images becomes ``depth_img_0`` and ``sky_mask_0``; the word comes before the name of
    a folder that has no ``image`` in it. The root of the images as teacher root puts them beside the images.

    Args:
        img_path: path of the image, relative to the root of the images; with a folder.
    """
    path = PurePosixPath(img_path)
    if not path.parent.name:
        raise ValueError(f'{img_path}: lies in no folder, beside which teacher files could lie')
    return {kind: _in_folder(path, _IMAGE, word).with_suffix('.npy').as_posix() for kind, word in _WORDS.items()}


def feature_path(camera: str, stem: str) -> str:
    """Return the path of the foundation-model features, relative to a root such as ``samples_dinov2_vitb14``."""
    return f'{camera}/{stem}.npy'


def virtual_feature_path(recorded: str, view: str) -> str:
    """Return the path of the features of a virtual view, relative to the root of the features.

    Args:
        recorded: ``features`` of an image in an info file: the path of the original view.
        view: name of the virtual view.
    """
    return f'{_view_folder(view)}/{recorded}'


def virtual_view_files(recorded: Mapping[str, str], view: str) -> dict[str, str]:
    """Return ``rgb`` and the recorded kinds of files of a virtual view, relative to the teacher root.

    Args:
        recorded: ``teacher`` of an image in an info file: paths of the original view.
        view: name of the virtual view.

    Raises:
        ValueError: the recorded paths are not in the published layout.
    """
    depth = PurePosixPath(recorded['depth'])
    rgb_folder, rgb_suffix = _FILES['rgb']
    if _is_beside(depth):
        paths = {'rgb': _in_folder(depth, _WORDS['depth'], _IMAGE).with_suffix(rgb_suffix), **recorded}
        return {kind: str(PurePosixPath(_view_folder(view), path)) for kind, path in paths.items()}
    parts = {kind: PurePosixPath(path).parts[1:] for kind, path in recorded.items()}
    folder, *place = parts['depth']
    if folder != _FILES['depth'][0]:
        raise ValueError(f'{recorded["depth"]}: not in the layout of teacher files')
    parts = {'rgb': PurePosixPath(rgb_folder, *place).with_suffix(rgb_suffix).parts, **parts}
    return {kind: str(PurePosixPath(_view_folder(view), *names)) for kind, names in parts.items()}


def label_map_paths(recorded: Mapping[str, str]) -> list[str]:
    """Return where the label map of an image may be, relative to the root of label maps: an image, or an array.

    Args:
        recorded: ``teacher`` of the image in an info file.
    """
    stem = _map_stem(recorded, LABEL_FOLDER)
    return [f'{stem}{suffix}' for suffix in LABEL_SUFFIXES]


def movable_mask_path(recorded: Mapping[str, str]) -> str:
    """Return where the mask of what can move in an image lies, relative to its root, as :func:`label_map_paths`."""
    return f'{_map_stem(recorded, MOVABLE_FOLDER)}.npy'


def _map_stem(recorded: Mapping[str, str], folder: str) -> PurePosixPath:
    depth = PurePosixPath(recorded['depth'])
    if _is_beside(depth):
        return _in_folder(depth, _WORDS['depth'], folder.removesuffix('s')).with_suffix('')
    camera, name = depth.parts[-2:]
    return PurePosixPath(_view_folder(ORIGINAL_VIEW), folder, camera, PurePosixPath(name).stem)


def _is_beside(depth: PurePosixPath) -> bool:
    """Tell whether a depth file lies beside its image."""
    return _WORDS['depth'] in depth.parent.name


def _in_folder(path: PurePosixPath, old: str, new: str) -> PurePosixPath:
    """Return the path of a file of the same name in the folder whose name has another word, or begins with it."""
    name = path.parent.name
    name = name.replace(old, new, 1) if old in name else f'{new}_{name}'
    return path.parent.with_name(name) / path.name


def _view_folder(view: str) -> str:
    return f'samples_{view}_0_0_0'
