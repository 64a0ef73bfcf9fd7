"""What the truth says about one image, on disk: images, dense depth, classes, sky, objects; and the perfect teacher.

File formats and places are listed in :mod:`.generate`.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from projects.DistillNeRF.datasets.teacher_files import teacher_path
from projects.DistillNeRF.utils.files import atomic_path, save_npy

if TYPE_CHECKING:
    from .world import Render

JPEG_QUALITY = 95
# A per-scene NeRF puts the sky at a large finite depth; users of its files go by the sky mask.
TEACHER_SKY_DEPTH = 200.0


@dataclass(frozen=True)
class Place:
    """Where the files of one image go: the data root, the camera and the name of the image without suffix."""

    root: Path
    channel: str
    stem: str

    def truth(self, kind: str, suffix: str) -> Path:
        """Return the path of a file of ``truth/<kind>``."""
        return self.root / 'truth' / kind / self.channel / f'{self.stem}{suffix}'

    def teacher(self, view: str, kind: str) -> Path:
        """Return the path of a file of the teacher, in the folder beside the data root."""
        return teacher_root(self.root) / teacher_path(kind, self.channel, self.stem, view)


def teacher_root(root: Path) -> Path:
    """Return the folder of teacher files that belongs to a data root."""
    return root.with_name(f'{root.name}_emernerf')


def jpeg(rgb: np.ndarray) -> bytes:
    """Encode RGB ``(H, W, 3)`` uint8 as JPEG, with full color resolution: the images are small."""
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, format='JPEG', quality=JPEG_QUALITY, subsampling=0)
    return buffer.getvalue()


def save_bytes(path: Path, content: bytes) -> None:
    """Write ``content``, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def save_png(path: Path, image: np.ndarray) -> None:
    """Write a uint8 or uint16 image ``(H, W)``, atomically."""
    with atomic_path(path) as temporary:
        Image.fromarray(image).save(temporary)


def save_truth(place: Place, render: Render, tokens: Mapping[int, int]) -> None:
    """Write depth, classes, sky and objects of a key frame's image.

    Args:
        place: which image.
        render: what the town shows there.
        tokens: index into the boxes of the town at that time -> index into the instances of the scene.
    """
    save_npy(place.truth('depth', '.npy'), render.depth.astype(np.float16))
    save_png(place.truth('classes', '.png'), render.classes.astype(np.uint8))
    save_png(place.truth('sky', '.png'), np.where(np.isnan(render.depth), 255, 0).astype(np.uint8))
    # Entry -1 of the look-up table (no object) is its last, which stays 0.
    numbers = np.zeros(max(tokens, default=-1) + 2, np.uint16)
    for box, instance in tokens.items():
        numbers[box] = instance + 1
    save_png(place.truth('instances', '.png'), numbers[render.instances])


def save_virtual(place: Place, view: str, image: bytes, depth: np.ndarray) -> None:
    """Write the true image (JPEG) and depth ``(H, W)`` of a virtual view."""
    save_bytes(place.truth(f'virtual/{view}/rgb', '.jpg'), image)
    save_npy(place.truth(f'virtual/{view}/depth', '.npy'), depth.astype(np.float16))


def save_teacher(place: Place, view: str, image: bytes, depth: np.ndarray) -> None:
    """Write what a perfect teacher says about a view: image (JPEG), depth ``(H, W)`` and sky mask."""
    sky = np.isnan(depth)
    save_bytes(place.teacher(view, 'rgb'), image)
    save_npy(place.teacher(view, 'depth'), np.where(sky, TEACHER_SKY_DEPTH, depth).astype(np.float16))
    save_npy(place.teacher(view, 'sky_mask'), sky.astype(np.uint8))
