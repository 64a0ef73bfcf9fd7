"""Image files."""

from __future__ import annotations

import os

import numpy as np
from PIL import Image
from torch import Tensor

from ..utils.files import atomic_path


def to_uint8(images: Tensor) -> np.ndarray:
    """``(..., 3, H, W)`` RGB in [0, 1] (clamped) to a ``(..., H, W, 3)`` uint8 array, rounded."""
    return (images.detach().float().clamp(0, 1).movedim(-3, -1) * 255).round().byte().cpu().numpy()


def write_png(path: str | os.PathLike, image: np.ndarray) -> None:
    """Write ``(H, W, 3)`` uint8 RGB as PNG; the file is whole or absent."""
    with atomic_path(path) as temporary:
        Image.fromarray(image).save(temporary, format='PNG')
