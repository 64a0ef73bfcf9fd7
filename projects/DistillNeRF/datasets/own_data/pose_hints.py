"""What poses that cannot be right may be instead: a cure that says what to do."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ...geometry.poses import inverse_pose
from ...utils.errors import InputError

OPENGL = np.diag([1.0, -1, -1, 1])


def pose_hint(poses: np.ndarray, vehicle2world: np.ndarray, check: Callable[[np.ndarray], None]) -> str:
    """In brackets, what to do to ``cam2vehicle`` so that all cameras stand as they can; empty if that is not known.

    Args:
        poses: ``(n, 4, 4)`` rigid, camera to vehicle, as given.
        vehicle2world: ``(4, 4)``.
        check: raises :class:`InputError` for poses ``(n, 4, 4)``, camera to world, that cannot be right.
    """
    millimeters = poses.copy()
    millimeters[:, :3, 3] /= 1000
    candidates = {
        'they fit a car if cam2vehicle is inverted: vehicle to camera was given': inverse_pose(poses),
        "they fit a car if cam2vehicle has OpenGL's axes: negate its second and third column": poses @ OPENGL,
        'they fit a car if cam2vehicle is inverted, and its second and third column then negated (OpenGL)': (
            inverse_pose(poses) @ OPENGL
        ),
        'they fit a car if the positions are in millimetres: divide them by 1000': millimeters,
    }
    fitting = [cure for cure, candidate in candidates.items() if _passes(vehicle2world @ candidate, check)]
    return f' ({fitting[0]})' if len(fitting) == 1 else ''


def _passes(cam2world: np.ndarray, check: Callable[[np.ndarray], None]) -> bool:
    try:
        check(cam2world)
    except InputError:
        return False
    return True
