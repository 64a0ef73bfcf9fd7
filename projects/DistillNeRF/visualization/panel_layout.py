"""The layout of a panel: tiles, labels and scale bars on one canvas."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ..geometry.views import Views
from ..utils.files import atomic_path
from .colors import FARTHEST, NEAREST, SKY_COLOR, UNKNOWN_COLOR, color_shares, log_shares

MARGIN = 8
GAP = 3
LABEL_WIDTH = 112
HEADER_HEIGHT = 24
FOOTER_HEIGHT = 52
BAR_HEIGHT = 14
FONT_SIZE = 13
BACKGROUND = (255, 255, 255)
INK = (20, 20, 20)
DEPTH_TICKS = (2, 5, 10, 20, 40, 80)
# Mean absolute difference of color, and of depth in meters, at the bright end of the error scale.
LARGEST_ERROR = 0.5
LARGEST_DEPTH_ERROR = 10.0
ERROR_COLORMAP = cv2.COLORMAP_INFERNO
# The image behind points and heat maps is darkened to this share.
DIMMED = 0.45


@dataclass(frozen=True)
class PanelRow:
    """One row of a panel: its label and a ``(H, W, 3)`` uint8 tile per camera name (not all need one)."""

    label: str
    tiles: dict[str, np.ndarray]


def tiles_by_camera(views: Views, tiles: Iterable[np.ndarray]) -> dict[str, np.ndarray]:
    """Map camera names to tiles."""
    return dict(zip(views.names, tiles, strict=True))


def enlarge(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize ``(h, w, ...)`` to ``(height, width, ...)`` by nearest neighbor: pixels stay visible as squares."""
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_NEAREST)


def compose(rows: list[PanelRow], columns: list[str], tile_height: int, tile_width: int, title: str = '') -> np.ndarray:
    """Compose one picture of all rows: labels on the left, column names on top, scale bars below.

    Args:
        rows: from top to bottom; tiles of another size are enlarged.
        columns: camera names from left to right.
        tile_height, tile_width: size of every tile in pixels.
        title: printed in the footer, such as the sample's token.

    Returns:
        ``(H, W, 3)`` uint8 RGB.
    """
    width = max(LABEL_WIDTH + len(columns) * (tile_width + GAP) + MARGIN, 900)
    height = HEADER_HEIGHT + len(rows) * (tile_height + GAP) + FOOTER_HEIGHT
    canvas = np.full((height, width, 3), BACKGROUND, np.uint8)
    for r, row in enumerate(rows):
        for c, name in enumerate(columns):
            if name in row.tiles:
                top, left = HEADER_HEIGHT + r * (tile_height + GAP), LABEL_WIDTH + c * (tile_width + GAP)
                tile = enlarge(row.tiles[name], tile_height, tile_width)
                canvas[top : top + tile_height, left : left + tile_width] = tile
    footer = height - FOOTER_HEIGHT + MARGIN
    _paint_bars(canvas, footer)
    picture = Image.fromarray(canvas)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(FONT_SIZE)
    for c, name in enumerate(columns):
        center = LABEL_WIDTH + c * (tile_width + GAP) + tile_width // 2
        draw.text((center, HEADER_HEIGHT // 2), _fitting(name, font, tile_width), INK, font, anchor='mm')
    for r, row in enumerate(rows):
        middle = HEADER_HEIGHT + r * (tile_height + GAP) + tile_height // 2
        draw.text((LABEL_WIDTH - MARGIN, middle), row.label, INK, font, anchor='rm', align='right')
    _write_scales(draw, font, footer)
    draw.text((width - MARGIN, footer + BAR_HEIGHT + 5), title, INK, font, anchor='ra')
    return np.array(picture)


def _fitting(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """Shorten a line to ``width`` pixels; its middle is left out, as names often differ at their ends."""
    line = ' '.join(text.split())
    for kept in range(len(line) // 2, 0, -1):
        if font.getlength(line) <= width:
            break
        line = f'{line[:kept]}…{line[-kept:]}'
    return line


# Horizontal extents of the depth scale, the scale of errors and similarities and the two swatches in the footer.
_DEPTH_BAR = (LABEL_WIDTH, LABEL_WIDTH + 300)
_UNKNOWN_SWATCH = _DEPTH_BAR[1] + 24
_SKY_SWATCH = _UNKNOWN_SWATCH + 66
_ERROR_BAR = (_SKY_SWATCH + 80, _SKY_SWATCH + 280)


def _paint_bars(canvas: np.ndarray, top: int) -> None:
    """Paint the color bars of the footer."""
    rows = slice(top, top + BAR_HEIGHT)
    for (left, right), colormap in ((_DEPTH_BAR, cv2.COLORMAP_TURBO), (_ERROR_BAR, ERROR_COLORMAP)):
        canvas[rows, left:right] = color_shares(np.linspace(0, 1, right - left), colormap)
    for left, color in ((_UNKNOWN_SWATCH, UNKNOWN_COLOR), (_SKY_SWATCH, SKY_COLOR)):
        canvas[rows, left : left + 50] = color


def _write_scales(draw: ImageDraw.ImageDraw, font: ImageFont.FreeTypeFont, top: int) -> None:
    """Write ticks and names of the footer's color bars."""
    below = top + BAR_HEIGHT
    draw.text((_DEPTH_BAR[0] - MARGIN, top + BAR_HEIGHT // 2), 'distance (m)', INK, font, anchor='rm')
    for meters in DEPTH_TICKS:
        x = _DEPTH_BAR[0] + float(log_shares(np.array(meters), NEAREST, FARTHEST)) * (_DEPTH_BAR[1] - _DEPTH_BAR[0] - 1)
        draw.line([(x, below), (x, below + 4)], INK)
        draw.text((x, below + 5), str(meters), INK, font, anchor='ma')
    for left, name in ((_UNKNOWN_SWATCH, 'unknown'), (_SKY_SWATCH, 'sky')):
        draw.text((left + 25, below + 5), name, INK, font, anchor='ma')
    ends = f'0 to {LARGEST_ERROR:g} (color), {LARGEST_DEPTH_ERROR:g} m, 1 (query)'
    draw.text((sum(_ERROR_BAR) / 2, below + 5), ends, INK, font, anchor='ma')


def to_uint8(images: Tensor) -> np.ndarray:
    """Convert ``(..., 3, H, W)`` RGB in [0, 1] (clamped) to a ``(..., H, W, 3)`` uint8 array, rounded."""
    return (images.detach().float().clamp(0, 1).movedim(-3, -1) * 255).round().byte().cpu().numpy()


def write_png(path: str | os.PathLike, image: np.ndarray) -> None:
    """Write ``(H, W, 3)`` uint8 RGB as PNG; the file is whole or absent."""
    with atomic_path(path) as temporary:
        Image.fromarray(image).save(temporary, format='PNG')
