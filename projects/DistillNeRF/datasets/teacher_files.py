"""Where teacher, feature and truth files of an image lie below their roots (published layout).

The teacher's folder ``samples_{dx}_{dy}_{dz}_0_0_0`` names the shift of the camera along its own axes in meters:
``0_0_0`` is the original view, ``-1_0_0`` left, ``1_0_0`` right, ``0_-1_0`` up.

Image names of nuScenes (and MiniTown) are unique. Those of PandaSet are numbers of frames, so that files of several
scenes would lie at one place: there the name of the scene stands before them, ``002_25.npy``.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from .infos import Info

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


# Name -> motion of the camera along its own axes (x right, y down, z forward), meters.
VIRTUAL_VIEWS = {'-1_0_0': (-1.0, 0.0, 0.0), '1_0_0': (1.0, 0.0, 0.0), '0_-1_0': (0.0, -1.0, 0.0)}
UPWARD = '0_-1_0'


def teacher_files(info: Info, camera: str, name: str) -> dict[str, str]:
    """``rgb``, ``depth`` and ``sky_mask`` of a virtual view, relative to the teacher's root."""
    original = {kind: PurePosixPath(path) for kind, path in info['images'][camera]['teacher'].items()}
    moved = {kind: PurePosixPath(f'samples_{name}_0_0_0', *path.parts[1:]) for kind, path in original.items()}
    folder, *rest = moved['depth'].relative_to(f'samples_{name}_0_0_0').parts
    if folder != 'depths':
        raise ValueError(f'{original["depth"]}: not in the layout of teacher files')
    rgb = PurePosixPath(f'samples_{name}_0_0_0', 'rgbs', *rest).with_suffix('.jpg')
    return {'rgb': str(rgb), **{kind: str(path) for kind, path in moved.items()}}
