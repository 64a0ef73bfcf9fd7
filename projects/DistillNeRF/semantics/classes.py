"""Semantic classes: their names and ids, the ids of public benchmarks, and a code vector for each."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from ..utils.errors import InputError

# Name of each class id with the id of Occ3D-nuScenes, which for 1..16 is also that of the nuScenes-lidarseg challenge.
_OCC3D_OF_NAME: dict[str, int] = {
    'sky': 17,
    'road': 11,
    'pavement': 13,
    'terrain': 14,
    'building': 15,
    'furniture': 15,
    'vegetation': 16,
    'car': 4,
    'truck': 10,
    'bus': 3,
    'motorcycle': 6,
    'bicycle': 2,
    'pedestrian': 7,
    'traffic_cone': 8,
    'barrier': 1,
}

CLASSES: tuple[str, ...] = tuple(_OCC3D_OF_NAME)
"""Name of each class id."""

CLASS_ID: dict[str, int] = {name: index for index, name in enumerate(CLASSES)}
"""Class id of each name."""

UNKNOWN_CLASS = 255
"""In class maps: no class is known here."""

SKY: int = CLASS_ID['sky']
"""Class id of the sky: no surface, no depth."""

OCC3D_ID: np.ndarray = np.array([_OCC3D_OF_NAME[name] for name in CLASSES], dtype=np.uint8)
"""``(len(CLASSES),)`` Occ3D-nuScenes id of each class id (17, *free*, for the sky)."""

OCC3D_CLASSES: tuple[str, ...] = (
    'others',
    'barrier',
    'bicycle',
    'bus',
    'car',
    'construction_vehicle',
    'motorcycle',
    'pedestrian',
    'traffic_cone',
    'trailer',
    'truck',
    'driveable_surface',
    'other_flat',
    'sidewalk',
    'terrain',
    'manmade',
    'vegetation',
    'free',
)
"""Names of the Occ3D-nuScenes ids."""

CHANNELS = 64
"""Length of a code vector."""


def code_vector(name: str) -> np.ndarray:
    """Return the code vector of a class: ``(64,)`` float32, of length 1.

    The signs of its entries are bits of a digest of the name, so that it is the same everywhere.
    The cosine between any two classes is at most 0.35 (a test checks it).
    """
    bits = np.frombuffer(hashlib.shake_256(f'minitown/{name}'.encode()).digest(CHANNELS // 8), np.uint8)
    return (np.unpackbits(bits) * 2.0 - 1.0).astype(np.float32) / np.float32(np.sqrt(CHANNELS))


def code_book() -> np.ndarray:
    """Return the code vectors ``(len(CLASSES), 64)`` of all class ids."""
    return np.stack([code_vector(name) for name in CLASSES])


def encode_class_names(words: Sequence[str]) -> np.ndarray:
    """Return the code vectors ``(len(words), 64)`` of names of classes; ``traffic cone`` is ``traffic_cone``.

    Raises:
        InputError: a word is no class.
    """
    names = [word.strip().replace(' ', '_') for word in words]
    for word, name in zip(words, names, strict=True):
        if name not in CLASSES:
            raise InputError(f'{word!r} is no class of MiniTown; ask for one of {", ".join(CLASSES)}')
    return np.stack([code_vector(name) for name in names])
