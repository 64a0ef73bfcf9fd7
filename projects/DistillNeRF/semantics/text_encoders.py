"""Text encoders: words to vectors that rendered features can be compared with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..foundation_models.text import TextEncoder, WordSettings, model_encoder
from ..geometry.tensors import exact_einsum
from ..utils.errors import InputError
from .classes import encode_class_names

CODE_BOOK = 'minitown_code_book'
# Name for ``model.text_encoder`` -> function of words to vectors, in the space of the features that a network renders.
TEXT_ENCODERS: dict[str, Callable[[Sequence[str]], np.ndarray]] = {CODE_BOOK: encode_class_names}
# What ``model.text_encoder`` may be.
Encoder = TextEncoder | str | Mapping[str, Any] | None
# How the similarities to the phrases of a query or class become one.
COMBINATIONS = ('best', 'mean')
REDUCTION = 'reduction: model.text_encoder=dict(model=.., reduction=FILE)'
# Between the phrases of one query.
SEPARATOR = '|'


@dataclass(frozen=True)
class Queries:
    """The directions of Q queries, each of one or several phrases.

    Attributes:
        vectors: ``(P, C)`` of all phrases, of length 1; of words that C numbers do not tell all of, less.
        counts: how many of them are of each query; None: one.
        combine: one of :data:`COMBINATIONS`.
        span, lowest, temperature: as in :class:`TextEncoder`, the former as tensors.
        negatives: ``(N, C)`` directions of the negative phrases; None without a temperature.
    """

    vectors: Tensor
    counts: tuple[int, ...] | None = None
    combine: str = COMBINATIONS[0]
    span: Tensor | None = None
    lowest: Tensor | None = None
    temperature: float | None = None
    negatives: Tensor | None = None

    def __len__(self) -> int:
        return len(self.vectors) if self.counts is None else len(self.counts)

    def cosines(self, features: Tensor) -> Tensor:
        """Return the cosines ``(..., Q)`` of features ``(..., C)`` to the queries, -1 to 1; 0 where they are zero."""
        return self._combined(self._directions(features))

    def heat(self, features: Tensor) -> Tensor:
        """Return how likely features ``(..., C)`` are what is asked for: ``(..., Q)``.

        Cosines; with a temperature, the share of the query in the softmax of it and the negative phrases, 0 to 1. It
        is the same whatever else is asked for at the same time.
        """
        directions = self._directions(features)
        cosines = self._combined(directions)
        if self.temperature is None or self.negatives is None:
            return cosines
        others = _cosines(directions, self.negatives) / self.temperature
        return torch.sigmoid(cosines / self.temperature - others.logsumexp(-1, keepdim=True))

    def heat_maps(self, features: Tensor) -> Tensor:
        """Return :meth:`heat` of rendered features ``(V, C, h, w)`` as maps ``(Q, V, h, w)``."""
        return self.heat(features.movedim(1, -1)).movedim(-1, 0)

    def nearest(self, features: Tensor) -> Tensor:
        """Return the numbers ``(V, h, w)`` of the queries that rendered features ``(V, C, h, w)`` are most like."""
        return self.cosines(features.movedim(1, -1)).argmax(-1)

    def _directions(self, features: Tensor) -> Tensor:
        if self.vectors.ndim != 2 or features.shape[-1] != self.vectors.shape[1]:
            raise ValueError(
                f'query vectors are {tuple(self.vectors.shape)}, the features have {features.shape[-1]} numbers'
            )
        if self.span is not None and self.lowest is not None:
            features = features * self.span.to(features) + self.lowest.to(features)
        return F.normalize(features, dim=-1)

    def _combined(self, directions: Tensor) -> Tensor:
        each = _cosines(directions, self.vectors)
        if self.counts is None:
            return each
        parts = each.split(self.counts, dim=-1)
        return torch.stack([part.amax(-1) if self.combine == 'best' else part.mean(-1) for part in parts], dim=-1)


def _cosines(directions: Tensor, vectors: Tensor) -> Tensor:
    return exact_einsum('...c,pc->...p', directions, vectors.to(directions))


def text_encoder(setting: Encoder) -> TextEncoder:
    """Return what a config's ``model.text_encoder`` stands for.

    Args:
        setting: a name in :data:`TEXT_ENCODERS`; a folder or name of a model whose features are not reduced; the
            settings of one (:class:`..foundation_models.text.WordSettings`); or an encoder, which is returned.

    Raises:
        InputError: there is none, or it cannot be used.
    """
    known = ', '.join(TEXT_ENCODERS)
    if isinstance(setting, TextEncoder):
        return setting
    if setting is None:
        raise InputError(
            'a language query needs a network of features and the text encoder that belongs to them; set '
            f'model.text_encoder to one of {known}, or to dict(model=.., reduction=..) (docs/VISUALIZATION.md), or use '
            'model_wrapper_minitown_features.py'
        )
    if isinstance(setting, Mapping):
        return model_encoder(WordSettings.of(setting))
    if setting in TEXT_ENCODERS:
        return TextEncoder(setting, TEXT_ENCODERS[setting])
    try:
        return model_encoder(WordSettings.of({'model': setting}))
    except InputError as error:
        raise InputError(f'model.text_encoder is {setting!r}; choose one of {known}, or a model: {error}') from error


def encoder_name(setting: Encoder) -> str:
    """Return what to call a config's ``model.text_encoder``."""
    if isinstance(setting, TextEncoder):
        return setting.name
    return str(setting.get('model') if isinstance(setting, Mapping) else setting)


def encode_words(encoder: Encoder, words: Sequence[str], channels: int) -> Tensor:
    """Return the vectors ``(len(words), channels)`` of words: float32, of length 1 or, if they are reduced, less.

    Args:
        encoder: the one that belongs to the rendered features (:func:`text_encoder`).
        words: what is asked for.
        channels: number of channels of the rendered features.

    Raises:
        InputError: no such encoder, it does not fit the features, or it does not know a word.
    """
    encoder = text_encoder(encoder)
    vectors = torch.from_numpy(encoder.encode(words))
    if vectors.shape[1] != channels:
        raise InputError(
            f'model.text_encoder {encoder.name} makes vectors of {vectors.shape[1]} numbers, but this network renders '
            f'{channels} channels; use a network that was trained on the features of this encoder'
            + ('' if encoder.name in TEXT_ENCODERS or encoder.span is not None else f', or give their {REDUCTION}')
        )
    return vectors


def make_queries(
    encoder: Encoder,
    phrases: Sequence[Sequence[str]],
    channels: int,
    combine: str = COMBINATIONS[0],
) -> Queries:
    """Encode queries.

    Args:
        encoder: the one that belongs to the rendered features (:func:`text_encoder`).
        phrases: of each query.
        channels: of the features.
        combine: a query is as like a feature as the ``best`` of its phrases, or as they are in the ``mean``.

    Raises:
        InputError: as of :func:`encode_words`.
    """
    encoder = text_encoder(encoder)
    asked = [phrase for query in phrases for phrase in query]
    negatives = encoder.negatives if encoder.temperature is not None else ()
    vectors = encode_words(encoder, [*asked, *negatives], channels)
    if encoder.span is None:
        vectors = F.normalize(vectors, dim=1)
    span, lowest = (None if part is None else torch.from_numpy(part) for part in (encoder.span, encoder.lowest))
    return Queries(
        vectors[: len(asked)],
        tuple(map(len, phrases)),
        combine,
        span,
        lowest,
        encoder.temperature,
        vectors[len(asked) :] if negatives else None,
    )


def phrases_of(query: str) -> tuple[str, ...]:
    """Split a query such as ``car|van`` into its phrases.

    Raises:
        InputError: one of them is empty.
    """
    phrases = tuple(' '.join(phrase.split()) for phrase in query.split(SEPARATOR))
    if not all(phrases):
        raise InputError(f'the query {query!r} is empty; give a word, or several of which any counts: car|van')
    return phrases


def similarities(features: Tensor, vectors: Tensor) -> Tensor:
    """Return the cosines ``(Q, V, h, w)`` of rendered features ``(V, C, h, w)`` and word vectors ``(Q, C)``.

    They are in [-1, 1]; 0 where the features are zero.

    Raises:
        ValueError: vectors and features have different numbers of channels.
    """
    if vectors.ndim != 2 or vectors.shape[1] != features.shape[1]:
        raise ValueError(f'query vectors are {tuple(vectors.shape)}, the features have {features.shape[1]} numbers')
    return exact_einsum('qc,vchw->qvhw', F.normalize(vectors.to(features), dim=1), F.normalize(features, dim=1))
