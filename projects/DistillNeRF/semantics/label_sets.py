"""Classes of label maps, by the numbers that pixels have, and what they are in Occ3D-nuScenes."""

from __future__ import annotations

import numpy as np

from ..utils.errors import InputError
from .classes import CLASSES, OCC3D_CLASSES, OCC3D_ID

# In label maps, and of classes that are nothing in Occ3D: tells nothing of what is occupied.
NO_CLASS = 255

# Cityscapes' 19 classes by their training numbers -> names of Occ3D-nuScenes. nuScenes counts riders to what they
# ride, mostly bicycles in town, and has no class for rails; what is in front of the sky is no part of it.
_CITYSCAPES: tuple[tuple[str, str | None], ...] = (
    ('road', 'driveable_surface'),
    ('sidewalk', 'sidewalk'),
    ('building', 'manmade'),
    ('wall', 'manmade'),
    ('fence', 'manmade'),
    ('pole', 'manmade'),
    ('traffic light', 'manmade'),
    ('traffic sign', 'manmade'),
    ('vegetation', 'vegetation'),
    ('terrain', 'terrain'),
    ('sky', None),
    ('person', 'pedestrian'),
    ('rider', 'bicycle'),
    ('car', 'car'),
    ('truck', 'truck'),
    ('bus', 'bus'),
    ('train', 'others'),
    ('motorcycle', 'motorcycle'),
    ('bicycle', 'bicycle'),
)

# Cityscapes' classes of what can move by itself; whether it does, no single image tells.
MOVABLE = ('person', 'rider', 'car', 'truck', 'bus', 'train', 'motorcycle', 'bicycle')

# Name of a set -> name of each number in a map, and its name in Occ3D; None: tells nothing.
LABEL_SETS: dict[str, tuple[tuple[str, str | None], ...]] = {
    'cityscapes': _CITYSCAPES,
    'minitown': tuple(
        (name, None if OCC3D_CLASSES[number] == 'free' else OCC3D_CLASSES[number])
        for name, number in zip(CLASSES, OCC3D_ID, strict=True)
    ),
    'occ3d': tuple((name, None if name == 'free' else name) for name in OCC3D_CLASSES),
}


def occ3d_table(label_set: str) -> np.ndarray:
    """Return the Occ3D class ``(n,)`` uint8 of each number of a set; :data:`NO_CLASS` for what tells nothing.

    Raises:
        InputError: no such set.
    """
    if label_set not in LABEL_SETS:
        raise InputError(f'label set {label_set!r} is not known; choose one of {", ".join(LABEL_SETS)}')
    names = [name for _, name in LABEL_SETS[label_set]]
    return np.array([NO_CLASS if name is None else OCC3D_CLASSES.index(name) for name in names], np.uint8)


def movable(labels: np.ndarray) -> np.ndarray:
    """Return where something is that can move by itself, bool, from training numbers of Cityscapes of any shape."""
    return np.isin(labels, [number for number, (name, _) in enumerate(_CITYSCAPES) if name in MOVABLE])
