"""Views that the teacher rendered from shifted cameras: where they stand and where their files are."""

from __future__ import annotations

from pathlib import PurePosixPath

from .infos import Info

# Name -> motion of the camera along its own axes (x right, y down, z forward), metres.
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
