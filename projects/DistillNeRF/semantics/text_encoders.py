"""Text encoders: words to vectors that rendered features can be compared with."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..geometry.tensors import exact_einsum
from ..utils.errors import InputError
from .classes import encode_class_names

# Name for ``model.text_encoder`` -> function of words to vectors, in the space of the features that a network renders.
TEXT_ENCODERS: dict[str, Callable[[Sequence[str]], np.ndarray]] = {'minitown_code_book': encode_class_names}


def encode_words(encoder: str | None, words: Sequence[str], channels: int) -> Tensor:
    """Return the vectors ``(len(words), channels)`` of words: float32, of length 1.

    Args:
        encoder: one of :data:`TEXT_ENCODERS`; the one that belongs to the rendered features.
        words: what is asked for.
        channels: number of channels of the rendered features.

    Raises:
        InputError: no such encoder, it does not fit the features, or it does not know a word.
    """
    known = ', '.join(TEXT_ENCODERS)
    if encoder is None:
        raise InputError(
            'a language query needs a network of features and the text encoder that belongs to them; set '
            f'model.text_encoder to one of {known}, or use model_wrapper_minitown_features.py'
        )
    if encoder not in TEXT_ENCODERS:
        raise InputError(f'model.text_encoder is {encoder!r}; choose one of {known}')
    vectors = torch.from_numpy(TEXT_ENCODERS[encoder](words))
    if vectors.shape[1] != channels:
        raise InputError(
            f'model.text_encoder {encoder} makes vectors of {vectors.shape[1]} numbers, but this network renders '
            f'{channels} channels; use a network that was trained on the features of this encoder'
        )
    return vectors


def similarities(features: Tensor, vectors: Tensor) -> Tensor:
    """Return the cosines ``(Q, V, h, w)`` of rendered features ``(V, C, h, w)`` and word vectors ``(Q, C)``.

    They are in [-1, 1]; 0 where the features are zero.

    Raises:
        ValueError: vectors and features have different numbers of channels.
    """
    if vectors.ndim != 2 or vectors.shape[1] != features.shape[1]:
        raise ValueError(f'query vectors are {tuple(vectors.shape)}, the features have {features.shape[1]} numbers')
    return exact_einsum('qc,vchw->qvhw', F.normalize(vectors.to(features), dim=1), F.normalize(features, dim=1))
