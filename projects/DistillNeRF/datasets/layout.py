"""Where teacher, feature and truth files of an image lie below their roots (published layout).

The teacher's folder ``samples_{dx}_{dy}_{dz}_0_0_0`` names the shift of the camera along its own axes in metres:
``0_0_0`` is the original view, ``-1_0_0`` left, ``1_0_0`` right, ``0_-1_0`` up.

Image names of nuScenes (and MiniTown) are unique. Those of PandaSet are numbers of frames, so that files of several
scenes would lie at one place: there the name of the scene stands before them, ``002_25.npy``.
"""

from __future__ import annotations

from pathlib import PurePosixPath

ORIGINAL_VIEW = (0, 0, 0)


def image_stem(img_path: str) -> str:
    """The image name that its teacher, feature and truth files carry: the file name without its suffix."""
    return PurePosixPath(img_path).stem


def teacher_path(
    kind: str, camera: str, img_path: str, shift: tuple[int, int, int] = ORIGINAL_VIEW, scene: str | None = None
) -> str:
    """Path below the teacher root of one map: ``kind`` is ``depths``, ``gt_sky_masks`` or ``rgbs``.

    ``scene`` is needed where image names of two scenes can be the same.
    """
    folder = 'samples_{}_{}_{}_0_0_0'.format(*shift)
    suffix = '.jpg' if kind == 'rgbs' else '.npy'
    return f'{folder}/{kind}/{camera}/{_unique_stem(img_path, scene)}{suffix}'


def feature_path(camera: str, img_path: str, scene: str | None = None) -> str:
    """Path of the foundation features below a feature root such as ``nuscenes_feat/samples_dinov2_vitb14``."""
    return f'{camera}/{_unique_stem(img_path, scene)}.npy'


def _unique_stem(img_path: str, scene: str | None) -> str:
    return image_stem(img_path) if scene is None else f'{scene}_{image_stem(img_path)}'
