"""Rows of a panel that show features: as colors, and as heat maps of queries."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from torch import Tensor

from ..geometry.views import Views
from ..semantics.feature_colors import palette
from ..semantics.text_encoders import Queries
from .colors import color_shares
from .panel_layout import DIMMED, ERROR_COLORMAP, PanelRow, tiles_by_camera, to_uint8


def feature_rows(
    views: Views, features: Tensor, prefix: str = '', like: tuple[Views, Tensor] | None = None
) -> list[PanelRow]:
    """Draw rendered features ``(V, C, h, w)`` and, where the views have them, the teacher features.

    Both in the same colors, unless the teacher has another number of channels and therefore colors of its own.

    Args:
        views: of one instant.
        features: rendered there.
        prefix: of the labels.
        like: views and features of the instant whose colors are taken; None: their own.
    """
    first, rendered = (views, features) if like is None else like
    colors = palette(rendered, first.features)
    rows = [PanelRow(f'{prefix}features', tiles_by_camera(views, colors.colors(features.movedim(1, -1))))]
    teacher = views.features
    if teacher is not None and first.features is not None:
        if teacher.shape[1] != features.shape[1]:
            colors = palette(first.features)
        tiles = tiles_by_camera(views, colors.colors(teacher.movedim(1, -1)))
        rows.append(PanelRow(f'{prefix}teacher\nfeatures', tiles))
    return rows


def query_rows(views: Views, features: Tensor, words: Sequence[str], queries: Queries) -> list[PanelRow]:
    """Draw a row of heat maps per word: how likely rendered features ``(V, C, h, w)`` are what it asks for."""
    images = to_uint8(views.images)
    rows = []
    for word, maps in zip(words, queries.heat_maps(features).cpu().numpy(), strict=True):
        tiles = [draw_heat_map(*pair) for pair in zip(maps, images, strict=True)]
        rows.append(PanelRow(f'query\n{word}', tiles_by_camera(views, tiles)))
    return rows


def draw_heat_map(similarity: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Draw a similarity ``(h, w)`` over the dimmed image ``(H, W, 3)`` uint8: nothing at 0 and below, bright at 1.

    The scale is fixed, so that heat maps can be compared across cameras, queries and pictures.
    """
    height, width = image.shape[:2]
    shares = cv2.resize(similarity.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR).clip(0, 1)
    heat = color_shares(shares, ERROR_COLORMAP)
    weight = shares[..., None]
    return ((1 - weight) * DIMMED * image + weight * heat).round().astype(np.uint8)
