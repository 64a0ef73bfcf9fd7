"""What a ray can hit, and what the public benchmarks call it."""

from __future__ import annotations

import numpy as np

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
