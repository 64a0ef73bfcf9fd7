"""Rigid poses in numpy: quaternions, inverses, and the checks that every calibration must pass.

A pose is a ``(4, 4)`` float64 matrix ``a2b`` that maps homogeneous points of frame a to frame b, in meters.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from ..utils.errors import InputError

# Published infos are stored in float32 and some calibrations are rounded to a few digits.
ROTATION_TOLERANCE = 1e-3
# Focal length divided by the longer image side: 5 degrees to 157 degrees of view.
PLAUSIBLE_FOCAL_RATIO = (0.1, 12.0)
PLAUSIBLE_ASPECT = (0.5, 2.0)
CORRECT_CALIBRATION = 'correct the calibration and convert the data again'


def quaternion_matrix(quaternion: Sequence[float], where: str) -> np.ndarray:
    """Return the rotation matrix ``(3, 3)`` of a unit quaternion ``(w, x, y, z)``.

    Raises:
        InputError: a norm that is not 1, with ``where`` in the message.
    """
    values = _vector(quaternion, 4)
    norm = np.linalg.norm(values)
    if not abs(norm - 1) < ROTATION_TOLERANCE:
        raise InputError(f'{where}: {quaternion} is no unit quaternion (w, x, y, z); restore the calibration file')
    # Imported here: this module must import where only torch and numpy are installed.
    from scipy.spatial.transform import Rotation

    w, x, y, z = values
    return Rotation.from_quat([x, y, z, w]).as_matrix()


def pose_matrix(quaternion: Sequence[float], translation: Sequence[float], where: str) -> np.ndarray:
    """Return the pose ``(4, 4)`` of a unit quaternion ``(w, x, y, z)`` and a translation in meters.

    Raises:
        InputError: a norm that is not 1, or a translation that is not three finite numbers.
    """
    pose = np.eye(4)
    pose[:3, :3] = quaternion_matrix(quaternion, where)
    pose[:3, 3] = _vector(translation, 3)
    if not np.isfinite(pose).all():
        raise InputError(
            f'{where}: the position {translation} holds NaN or infinity, or is not three numbers; '
            'restore the calibration file'
        )
    return pose


def _vector(values: Sequence[float], length: int) -> np.ndarray:
    """Return ``values`` as ``(length,)`` float64; NaN if they are anything else."""
    try:
        vector = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        vector = np.empty(0)
    return vector if vector.shape == (length,) else np.full(length, np.nan)


def inverse_pose(pose: np.ndarray) -> np.ndarray:
    """Invert rigid poses ``(..., 4, 4)`` by their transposed rotation, which is exact for orthonormal ones."""
    inverse = np.zeros_like(pose)
    rotation = np.swapaxes(pose[..., :3, :3], -1, -2)
    inverse[..., :3, :3] = rotation
    inverse[..., :3, 3] = -np.einsum('...ij,...j->...i', rotation, pose[..., :3, 3])
    inverse[..., 3, 3] = 1
    return inverse


def first_true(mask: np.ndarray) -> int | None:
    """Return the index of the first True of a mask ``(n,)``; None if there is none."""
    return int(mask.argmax()) if mask.any() else None


def _refuse_first(problems: Iterable[tuple[np.ndarray, str]], labels: Sequence[str], hint: str) -> None:
    """Raise :class:`InputError` for the first problem ``(mask (n,), what is wrong)`` that some of n things have."""
    for bad, what in problems:
        if (number := first_true(bad)) is not None:
            raise InputError(f'{labels[number]} {what}; {hint}')


def check_poses(poses: np.ndarray, labels: Sequence[str], hint: str = CORRECT_CALIBRATION) -> None:
    """Check ``(n, 4, 4)`` poses: finite, rigid, right-handed.

    Raises:
        InputError: names the label of the first bad pose, what is wrong with it and the hint.
    """
    rotations = poses[:, :3, :3]
    with np.errstate(invalid='ignore', over='ignore'):
        skew = np.abs(rotations @ np.swapaxes(rotations, 1, 2) - np.eye(3)).max(axis=(1, 2))
        determinants = np.linalg.det(rotations)
        last_row = np.abs(poses[:, 3] - [0, 0, 0, 1]).max(axis=1)
    problems = (
        (~np.isfinite(poses).all(axis=(1, 2)), 'holds NaN or infinity'),
        (~(last_row < ROTATION_TOLERANCE), 'has a last row other than 0 0 0 1'),
        (~(skew < ROTATION_TOLERANCE), 'has a rotation that is not orthonormal'),
        (~(determinants > 0), 'has a rotation that mirrors (determinant -1)'),
    )
    _refuse_first(problems, labels, hint)


def check_intrinsics(
    matrices: np.ndarray, sizes: np.ndarray, labels: Sequence[str], hint: str = CORRECT_CALIBRATION
) -> None:
    """Check ``(n, 3, 3)`` pinhole matrices against their ``(n, 2)`` image sizes (height, width).

    Raises:
        InputError: names the label of the first bad camera, what is wrong with it and the hint.
    """
    height, width = sizes[:, 0], sizes[:, 1]
    fx, fy, cx, cy = matrices[:, 0, 0], matrices[:, 1, 1], matrices[:, 0, 2], matrices[:, 1, 2]
    low, high = PLAUSIBLE_FOCAL_RATIO
    with np.errstate(invalid='ignore', divide='ignore'):
        ratio = fx / np.maximum(height, width)
        aspect = fx / fy
        bottom = np.abs(matrices[:, 2] - [0, 0, 1]).max(axis=1)
        problems = (
            (~np.isfinite(matrices).all(axis=(1, 2)), 'holds NaN or infinity'),
            (~((height > 0) & (width > 0)), 'belongs to an image without a size'),
            (~((bottom < 1e-6) & (np.abs(matrices[:, 1, 0]) < 1e-6)), 'is no upper triangular pinhole matrix'),
            (
                ~((ratio > low) & (ratio < high) & (aspect > PLAUSIBLE_ASPECT[0]) & (aspect < PLAUSIBLE_ASPECT[1])),
                'has an implausible focal length for its image size',
            ),
            (
                ~((np.abs(cx / width - 0.5) < 1) & (np.abs(cy / height - 0.5) < 1)),
                'has its principal point far outside the image',
            ),
        )
    _refuse_first(problems, labels, hint)
