"""Read images the way every picture comes to the network."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from ..errors import InputError
from ..files import require_file

RESTORE = 'restore the image'
# Marks of a complete file: a JPEG or PNG that was cut short still decodes, partly grey.
_ENDS = {b'\xff\xd8': b'\xff\xd9', b'\x89P': b'IEND'}


def read_image(path: str | Path) -> np.ndarray:
    """Read an image file.

    Returns:
        ``(H, W, 3)`` uint8, channels in OpenCV's order blue, green, red.

    Raises:
        InputError: a missing, truncated or unreadable file.
    """
    content = require_file(path, RESTORE).read_bytes()
    end = _ENDS.get(content[:2])
    if end is not None and end not in content[-1024:]:
        raise InputError(f'{path}: the image is cut short; {RESTORE}')
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise InputError(f'{path}: not a readable image; {RESTORE}')
    return image


def to_rgb(image: np.ndarray) -> np.ndarray:
    """``(..., H, W, 3)`` in OpenCV's order, 0 to 255 -> ``(..., 3, H, W)`` float32 RGB in [0, 1]."""
    rgb = np.ascontiguousarray(np.moveaxis(image[..., ::-1], -1, -3))
    return rgb.astype(np.float32) / np.float32(255)


def resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """``(H, W, 3)`` to ``(height, width, 3)``: OpenCV bilinear, as published."""
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
