"""Words to vectors that rendered features can be compared with."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from .errors import InputError
from .semantics.classes import encode_words as encode_minitown_words

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
