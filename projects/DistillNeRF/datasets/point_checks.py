"""Whether points can be those of a LiDAR on a car."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..utils.errors import InputError

# Median distance of a file's points, metres; that of nuScenes is 10, of PandaSet 20.
PLAUSIBLE_RANGE = (0.3, 300.0)


def check_ranges(points: np.ndarray, path: str | Path, cure: str) -> None:
    """Check ``(n, columns)`` points, x y z first, in the LiDAR frame.

    Raises:
        InputError: the median distance is none in metres; names the file and the cure.
    """
    if not len(points):
        return
    median = float(np.median(np.linalg.norm(points[:, :3].astype(np.float64), axis=1)))
    low, high = PLAUSIBLE_RANGE
    if not low < median < high:
        raise InputError(
            f'{path}: half of its points are {"nearer" if median <= low else "farther"} than {median:.3g} m; give '
            f'metres in the frame of the LiDAR, not millimetres, and not positions on a map; {cure}'
        )
