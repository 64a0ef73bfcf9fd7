"""Whether images can be what a camera saw: a warning for those that are nearly black or burnt out."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ..utils.errors import warn

# Of 255. At night lamps are brighter, and so is more than a hundredth of what a camera on a street sees.
BLACK, WHITE = 16, 250
# About so many rows and columns are looked at.
LOOKED_AT = 64
CURE = 'if that is not what was there, scale all images by one factor (values of 12 bits to 8: divide by 16)'


def exposure_doubt(image: np.ndarray) -> str | None:
    """What is strange about the brightness of ``(H, W, 3)`` uint8; ``None`` if nothing is."""
    height, width = image.shape[:2]
    few = image[:: max(1, height // LOOKED_AT), :: max(1, width // LOOKED_AT)]
    if np.percentile(few.max(axis=-1), 99) < BLACK:
        return 'nearly black'
    if np.median(few.min(axis=-1)) >= WHITE:
        return 'more than half white'
    return None


def warn_of_exposure(images: Iterable[tuple[str | Path, np.ndarray]], where: str | Path) -> None:
    """One warning for each kind of doubt, with the number of images and the first of them.

    Args:
        images: file and pixels ``(H, W, 3)`` uint8 of each image.
        where: what they belong to, for the message.
    """
    doubts: dict[str, list[str]] = {}
    total = 0
    for path, image in images:
        total += 1
        if doubt := exposure_doubt(image):
            doubts.setdefault(doubt, []).append(str(path))
    for doubt, paths in doubts.items():
        warn(f'{where}: {len(paths)} of {total} images that were looked at are {doubt}, first {paths[0]}; {CURE}')
