"""Words to vectors that rendered features can be compared with."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..geometry.tensors import exact_einsum
from ..utils.errors import InputError
from .classes import encode_words as encode_minitown_words

# Name for ``model.text_encoder`` -> words to vectors in the space of the features that a network was trained on.
TEXT_ENCODERS: dict[str, Callable[[Sequence[str]], np.ndarray]] = {'minitown_code_book': encode_minitown_words}


def encode_words(encoder: str | None, words: Sequence[str], channels: int) -> Tensor:
    """``(len(words), channels)`` float32, of length 1.

    Args:
        encoder: one of :data:`TEXT_ENCODERS`: that of the features which the network renders.
        channels: of these features.

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
    """Cosines ``(Q, V, h, w)`` in [-1, 1] of features ``(V, C, h, w)`` and vectors ``(Q, C)``; 0 for zeros.

    Raises:
        ValueError: the vectors have another number of channels.
    """
    if vectors.ndim != 2 or vectors.shape[1] != features.shape[1]:
        raise ValueError(f'query vectors are {tuple(vectors.shape)}, the features have {features.shape[1]} numbers')
    return exact_einsum('qc,vchw->qvhw', F.normalize(vectors.to(features), dim=1), F.normalize(features, dim=1))
