"""The published layout of teacher and feature files; the only place that makes or reads such paths.

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
    paths = {kind: PurePosixPath(path).parts[1:] for kind, path in recorded.items()}
    folder, *place = paths['depth']
    if folder != _FILES['depth'][0]:
        raise ValueError(f'{recorded["depth"]}: not in the layout of teacher files')
    rgb_folder, rgb_suffix = _FILES['rgb']
    rgb = PurePosixPath(rgb_folder, *place).with_suffix(rgb_suffix)
    return {kind: str(PurePosixPath(_view_folder(view), *parts)) for kind, parts in {'rgb': rgb.parts, **paths}.items()}


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
    camera, name = PurePosixPath(recorded['depth']).parts[-2:]
    return PurePosixPath(_view_folder(ORIGINAL_VIEW), folder, camera, PurePosixPath(name).stem)


def _view_folder(view: str) -> str:
    return f'samples_{view}_0_0_0'
