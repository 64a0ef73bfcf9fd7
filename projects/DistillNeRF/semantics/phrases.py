"""Phrases for the classes of Occ3D-nuScenes and MiniTown, and the class whose phrases are most like a feature."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ..utils.errors import InputError
from ..utils.files import read_json
from .classes import CLASSES, OCC3D_CLASSES, OCC3D_ID
from .occ3d import FREE
from .text_encoders import CODE_BOOK, COMBINATIONS, Encoder, encoder_name, make_queries

_FORM = 'write {"car": ["car", "a parked van"], ...}'

# For encoders that read English; "others" is nothing that one could ask for.
OCC3D_PHRASES: dict[str, tuple[str, ...]] = {
    'barrier': ('barrier', 'traffic barrier', 'guard rail'),
    'bicycle': ('bicycle', 'cyclist'),
    'bus': ('bus', 'city bus'),
    'car': ('car', 'vehicle', 'van', 'taxi'),
    'construction_vehicle': ('construction vehicle', 'excavator', 'crane'),
    'motorcycle': ('motorcycle', 'scooter'),
    'pedestrian': ('pedestrian', 'person', 'people walking'),
    'traffic_cone': ('traffic cone',),
    'trailer': ('trailer', 'truck trailer'),
    'truck': ('truck', 'lorry'),
    'driveable_surface': ('road', 'street', 'asphalt'),
    'other_flat': ('traffic island', 'rail track'),
    'sidewalk': ('sidewalk', 'pavement', 'footpath'),
    'terrain': ('grass', 'terrain', 'bare ground'),
    'manmade': ('building', 'wall', 'fence', 'pole', 'traffic sign'),
    'vegetation': ('tree', 'bush', 'vegetation'),
}

# The same for the classes of MiniTown.
MINITOWN_PHRASES: dict[str, tuple[str, ...]] = {
    'sky': ('sky', 'clouds'),
    'road': OCC3D_PHRASES['driveable_surface'],
    'pavement': OCC3D_PHRASES['sidewalk'],
    'terrain': OCC3D_PHRASES['terrain'],
    'building': ('building', 'house', 'wall'),
    'furniture': ('street lamp', 'pole', 'traffic light', 'traffic sign', 'bench', 'fence'),
    **{name: OCC3D_PHRASES[name] for name in ('vegetation', 'car', 'truck', 'bus', 'motorcycle', 'bicycle')},
    **{name: OCC3D_PHRASES[name] for name in ('pedestrian', 'traffic_cone', 'barrier')},
}


def default_phrases(encoder: Encoder) -> dict[str, tuple[str, ...]]:
    """Return the phrases of each class in words that an encoder knows; the code book knows MiniTown's names alone."""
    if encoder_name(encoder) != CODE_BOOK:
        return OCC3D_PHRASES
    names: dict[str, tuple[str, ...]] = {}
    for name, number in zip(CLASSES, OCC3D_ID, strict=True):
        if number != FREE:
            names[OCC3D_CLASSES[number]] = (*names.get(OCC3D_CLASSES[number], ()), name)
    return names


def minitown_phrases(encoder: Encoder) -> dict[str, tuple[str, ...]]:
    """Return the phrases of each class of MiniTown, in words that an encoder knows."""
    return {name: (name,) for name in CLASSES} if encoder_name(encoder) == CODE_BOOK else MINITOWN_PHRASES


def read_phrases(path: str | os.PathLike) -> dict[str, list[str]]:
    """Read a JSON file of phrases of classes.

    Raises:
        InputError: the file is missing, damaged, or holds something else.
    """
    phrases = read_json(path, _FORM)
    check_phrases(phrases, str(path))
    return phrases


def check_phrases(phrases: Mapping[str, Sequence[str]], where: str) -> None:
    """Check that phrases are lists of words by names of classes.

    Args:
        phrases: from outside.
        where: for messages.

    Raises:
        InputError: names ``where``, what is wrong, and the right form.
    """
    if not isinstance(phrases, Mapping) or not phrases:
        raise InputError(f'{where}: holds no phrases of classes; {_FORM}')
    for name, words in phrases.items():
        if name not in OCC3D_CLASSES[:FREE]:
            raise InputError(f'{where}: {name!r} is no class; choose from {", ".join(OCC3D_CLASSES[:FREE])}')
        if not isinstance(words, list | tuple) or not words or not all(isinstance(w, str) and w.strip() for w in words):
            raise InputError(f'{where}: phrases of {name} are {words!r}, not a list of words; {_FORM}')


class PhraseClassifier:
    """Tell classes by phrases.

    Args:
        encoder: ``model.text_encoder``, the one that belongs to the features.
        phrases: of each class; None: the usual ones (:func:`default_phrases`).
        channels: of the features.
        combine: a class is as like a feature as the ``best`` of its phrases, or as they are in the ``mean``.

    Raises:
        InputError: no such encoder, it does not fit the features, or does not know a phrase.
    """

    def __init__(
        self,
        encoder: Encoder,
        phrases: Mapping[str, Sequence[str]] | None,
        channels: int,
        combine: str = COMBINATIONS[0],
    ) -> None:
        phrases = default_phrases(encoder) if phrases is None else phrases
        self._numbers = torch.tensor([OCC3D_CLASSES.index(name) for name in phrases], dtype=torch.uint8)
        self._queries = make_queries(encoder, list(phrases.values()), channels, combine)

    def similarities(self, features: Tensor) -> Tensor:
        """Return how like features ``(N, C)`` are to each class that has phrases, ``(N, classes)``, -1 to 1."""
        return self._queries.cosines(features)

    def classes(self, features: Tensor) -> Tensor:
        """Return the class ``(N,)`` uint8 of Occ3D that features ``(N, C)`` are most like."""
        return self._numbers.to(features.device)[self.similarities(features).argmax(1)]
