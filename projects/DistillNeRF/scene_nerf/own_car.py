"""What images show of the car that carries the cameras: it stands still in them, not in the scene."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..datasets.image_files import read_image
from ..utils.errors import InputError

# Masks that come with the project are named from here: a config is used on several machines, in any folder.
CONFIGS = Path(__file__).resolve().parents[1] / 'configs'
HOW = 'give the share of the height from which on it is seen, between 0 and 1, or a mask image (nonzero: own car)'


@dataclass(frozen=True)
class OwnCar:
    """Where the images of one camera show the own car.

    Attributes:
        where: share of the height from which on rows show it, or path of a mask image of any size, where it is nonzero.
    """

    where: float | str

    def mask(self, height: int, width: int) -> np.ndarray:
        """Return the mask ``(height, width)`` bool, True on the own car.

        Raises:
            InputError: the mask image is missing, damaged, or the same everywhere.
        """
        if isinstance(self.where, float):
            below = (np.arange(height) + 0.5) / height >= self.where
            return np.repeat(below[:, None], width, axis=1)
        shown = read_image(self.where).any(-1)
        if shown.all() or not shown.any():
            kind = 'nothing but' if shown.all() else 'nothing of'
            raise InputError(f'{self.where}: the mask shows {kind} the own car; draw it nonzero, all else 0')
        return cv2.resize(shown.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST_EXACT) > 0


def read_own_car(section: Any, name: str) -> dict[str, OwnCar]:
    """Read an entry of a config: a share of the height or a mask image by camera.

    Args:
        section: the entry; None for no own car.
        name: of the entry, for messages.

    Raises:
        InputError: neither of them, or a mask that cannot be used.
    """
    if section is None:
        return {}
    if not isinstance(section, Mapping):
        raise InputError(f"{name} is {section!r}; give dict(CAMERA=0.9, ...) or dict(CAMERA='mask.png', ...)")
    found = {}
    for camera, where in section.items():
        if isinstance(where, str) and where:
            path = Path(where).expanduser()
            own = CONFIGS / path
            found[camera] = OwnCar(str(own if own.is_file() and not path.is_file() else path))
            found[camera].mask(1, 1)
        elif isinstance(where, float) and 0 < where < 1:
            found[camera] = OwnCar(where)
        elif where is not None:  # None: this camera does not see it
            raise InputError(f'{name}.{camera} is {where!r}; {HOW}')
    return found
