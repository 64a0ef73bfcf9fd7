"""A vector for every class of MiniTown: stands for a foundation model, its image side and its text side."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from ..errors import InputError
from .classes import CLASSES

CHANNELS = 64


def code_vector(name: str) -> np.ndarray:
    """``(64,)`` float32 of length 1: the signs are bits of a digest of the name, so it is the same everywhere.

    The cosine between any two classes is at most 0.35 (a test checks it).
    """
    bits = np.frombuffer(hashlib.shake_256(f'minitown/{name}'.encode()).digest(CHANNELS // 8), np.uint8)
    return (np.unpackbits(bits) * 2.0 - 1.0).astype(np.float32) / np.float32(np.sqrt(CHANNELS))


def code_book() -> np.ndarray:
    """``(len(CLASSES), 64)``: the vector of each class id."""
    return np.stack([code_vector(name) for name in CLASSES])


def encode_words(words: Sequence[str]) -> np.ndarray:
    """``(len(words), 64)`` vectors of names of classes.

    Raises:
        InputError: no such class.
    """
    for word in words:
        if word not in CLASSES:
            raise InputError(f'{word!r} is no class of MiniTown; ask for one of {", ".join(CLASSES)}')
    return np.stack([code_vector(word) for word in words])
