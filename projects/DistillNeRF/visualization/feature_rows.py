"""Rows of a panel that show features: as colours, and as heat maps of queries."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..geometry.views import Views
from ..semantics.text_encoders import similarities
from .feature_colours import FeatureColours
from .heat_maps import draw_heat_map
from .images import to_uint8
from .layout import Row, named


def palette(features: Tensor, teacher: Tensor | None = None) -> FeatureColours:
    """Colours for rendered features ``(T, C, h, w)``, and for the teacher's if they have as many channels."""
    drawn = [features] if teacher is None or teacher.shape[1] != features.shape[1] else [features, teacher]
    rows = [part.movedim(1, -1).reshape(-1, part.shape[1]).float() for part in drawn]
    return FeatureColours.fit(torch.cat([part.to(rows[0].device) for part in rows]))


def feature_rows(views: Views, features: Tensor) -> list[Row]:
    """Rendered features ``(V, C, h, w)`` and, where the views have them, the teacher's.

    Both in the same colours, unless the teacher has another number of channels and therefore colours of its own.
    """
    teacher = views.features
    colours = palette(features, teacher)
    rows = [Row('features', named(views, colours.colours(features.movedim(1, -1))))]
    if teacher is not None:
        if teacher.shape[1] != features.shape[1]:
            colours = palette(teacher)
        rows.append(Row('teacher\nfeatures', named(views, colours.colours(teacher.movedim(1, -1)))))
    return rows


def query_rows(views: Views, features: Tensor, words: Sequence[str], vectors: Tensor) -> list[Row]:
    """A row of heat maps per word: how much features ``(V, C, h, w)`` are like its vector ``(Q, C)``."""
    images = to_uint8(views.images)
    rows = []
    for word, maps in zip(words, similarities(features, vectors).cpu().numpy(), strict=True):
        tiles = [draw_heat_map(*pair) for pair in zip(maps, images, strict=True)]
        rows.append(Row(f'query\n{word}', named(views, tiles)))
    return rows
