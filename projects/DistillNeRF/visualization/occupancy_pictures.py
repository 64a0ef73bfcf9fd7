"""Pictures of grids of Occ3D-nuScenes: from above, the prediction beside the truth, and as a page in 3D."""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from ..geometry.box_surface import CORNERS
from ..models.cells import Cells
from ..semantics.classes import OCC3D_CLASSES
from ..semantics.occ3d import FREE, LOWER, SHAPE, UPPER, VOXEL
from .panel_layout import BACKGROUND, INK, enlarge
from .voxel_page import EGO_AXES, write_page
from .voxels import ColoredCells

# RGB of each class but free.
CLASS_COLORS = np.array(
    [
        (90, 90, 90),  # others
        (255, 120, 50),  # barrier
        (255, 140, 190),  # bicycle
        (245, 210, 40),  # bus
        (0, 130, 240),  # car
        (0, 190, 190),  # construction_vehicle
        (200, 170, 0),  # motorcycle
        (230, 30, 30),  # pedestrian
        (255, 225, 150),  # traffic_cone
        (135, 60, 0),  # trailer
        (150, 40, 235),  # truck
        (215, 75, 215),  # driveable_surface
        (140, 130, 135),  # other_flat
        (90, 10, 90),  # sidewalk
        (140, 215, 90),  # terrain
        (205, 200, 180),  # manmade
        (20, 150, 40),  # vegetation
    ],
    np.uint8,
)
# Of a column in which nothing is occupied.
FREE_COLOR = (255, 255, 255)
# What the mask leaves out keeps this share of its color, the rest is gray.
UNSEEN_SHARE, UNSEEN_GRAY = 0.25, 176
# Brightness of the lowest voxel of a color; the highest has all of it.
DARKEST = 0.5
# Pixels per voxel of a map, of its border, and of a line of text.
SCALE, BORDER, LINE = 3, 44, 18
# Meters between the ticks at a map.
TICK = 20


def map_from_above(grid: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    """Draw the highest occupied voxel of each column, the brighter the higher: ``(X, Y, 3)`` uint8 RGB.

    Forward (x) is up, left (y) is left, as in a map of somebody who looks along the road.

    Args:
        grid: ``(X, Y, Z)`` class numbers.
        mask: ``(X, Y, Z)`` bool, voxels that count; grayed is where the shown one does not, or nothing of an empty
            column. None: all count.
    """
    occupied = grid != FREE
    some = occupied.any(2)
    # Of an empty column, what stands for it is its lowest voxel.
    top = np.where(some, grid.shape[2] - 1 - occupied[:, :, ::-1].argmax(2), 0)
    kinds = np.take_along_axis(grid, top[..., None], 2)[..., 0]
    brightness = DARKEST + (1 - DARKEST) * top / (grid.shape[2] - 1)
    colors = CLASS_COLORS[np.where(some, kinds, 0)] * brightness[..., None]
    colors = np.where(some[..., None], colors, FREE_COLOR)
    if mask is not None:
        seen = np.where(some, np.take_along_axis(mask, top[..., None], 2)[..., 0], mask.any(2))
        gray = UNSEEN_SHARE * colors + (1 - UNSEEN_SHARE) * UNSEEN_GRAY
        colors = np.where(seen[..., None], colors, gray)
    return colors[::-1, ::-1].round().astype(np.uint8)


def compare_from_above(grids: Mapping[str, np.ndarray], mask: np.ndarray | None, title: str) -> np.ndarray:
    """Draw maps beside each other, with axes in meters of the ego frame, the car, and the colors of classes.

    Args:
        grids: name -> ``(200, 200, 16)`` class numbers, from left to right.
        mask: as in :func:`map_from_above`, of all of them.
        title: above.

    Returns:
        ``(H, W, 3)`` uint8 RGB.
    """
    height, width = SHAPE[0] * SCALE, SHAPE[1] * SCALE
    there = sorted({int(kind) for grid in grids.values() for kind in np.unique(grid)} - {FREE})
    legend_columns = max(1, len(grids) * (width + BORDER) // 160)
    legend = LINE * (-(-(len(there) + 1) // legend_columns) + 1)
    canvas = np.full((2 * LINE + height + BORDER + legend, len(grids) * (width + BORDER) + BORDER, 3), BACKGROUND)
    canvas = canvas.astype(np.uint8)
    lefts = [BORDER + number * (width + BORDER) for number in range(len(grids))]
    for left, grid in zip(lefts, grids.values(), strict=True):
        canvas[2 * LINE : 2 * LINE + height, left : left + width] = enlarge(map_from_above(grid, mask), height, width)
    picture = Image.fromarray(canvas)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(12)
    draw.text((BORDER, LINE // 2 + 2), title, INK, font, anchor='lm')
    for left, name in zip(lefts, grids, strict=True):
        draw.text((left + width / 2, 1.5 * LINE), name, INK, font, anchor='mm')
        _draw_axes(draw, font, left, 2 * LINE)
    _draw_legend(draw, font, there, 2 * LINE + height + BORDER, legend_columns, mask is not None)
    return np.array(picture)


def write_grid_page(path: str | os.PathLike, grids: Mapping[str, np.ndarray], title: str) -> int:
    """Write a page in 3D of grids, in the ego frame; a click on the legend shows or hides one.

    Args:
        path: file to write.
        grids: name -> ``(200, 200, 16)`` class numbers; the first is shown.
        title: of the page.

    Returns:
        The number of voxels that are left out, as :func:`.voxel_page.write_page` does.
    """
    levels = [_boxes(grid, name) for name, grid in grids.items()]
    return write_page(path, levels, None, (), title, EGO_AXES, 'voxels')


def _boxes(grid: np.ndarray, name: str) -> ColoredCells:
    """Return the occupied voxels of a grid as colored boxes in the ego frame."""
    places = np.argwhere(grid != FREE)
    kinds = grid[tuple(places.T)]
    # Whole numbers first: neighbors share exactly equal corners.
    corners = torch.from_numpy(places[:, None] + np.array(CORNERS)).float() * VOXEL + torch.from_numpy(LOWER).float()
    count = len(places)
    cells = Cells(corners.mean(1), corners, torch.ones(count), torch.zeros(count, 0))
    return ColoredCells(name, cells, CLASS_COLORS[kinds])


def _draw_axes(draw: ImageDraw.ImageDraw, font: ImageFont.FreeTypeFont, left: int, top: int) -> None:
    """Draw ticks in meters, the directions, and the car, which looks up."""
    height, width = SHAPE[0] * SCALE, SHAPE[1] * SCALE
    per_meter = SCALE / VOXEL
    draw.rectangle([(left - 1, top - 1), (left + width, top + height)], outline=INK)
    for meters in range(-int(UPPER[0]), int(UPPER[0]) + 1, TICK):
        row = top + (UPPER[0] - meters) * per_meter
        draw.line([(left - 5, row), (left - 1, row)], INK)
        draw.text((left - 7, row), f'{meters}', INK, font, anchor='rm')
    for meters in range(-int(UPPER[1]), int(UPPER[1]) + 1, TICK):
        column = left + (UPPER[1] - meters) * per_meter
        draw.line([(column, top + height), (column, top + height + 4)], INK)
        draw.text((column, top + height + 6), f'{meters}', INK, font, anchor='ma')
    draw.text((left + width / 2, top + height + 22), '<- y, left (m)', INK, font, anchor='ma')
    draw.text((left + 4, top + 4), '^ x, forward (m)', INK, font, anchor='la', stroke_width=2, stroke_fill=BACKGROUND)
    middle = np.array([left + UPPER[1] * per_meter, top + UPPER[0] * per_meter])
    car = [tuple(middle + np.array(corner) * per_meter) for corner in ((0, -3.2), (-1, 0.8), (1, 0.8))]
    draw.polygon(car, outline=INK, fill=BACKGROUND)


def _draw_legend(
    draw: ImageDraw.ImageDraw, font: ImageFont.FreeTypeFont, kinds: list[int], top: int, columns: int, masked: bool
) -> None:
    """Draw the colors of the classes that are there, and that of what does not count."""
    entries = [(tuple(CLASS_COLORS[kind].tolist()), OCC3D_CLASSES[kind]) for kind in kinds]
    if masked:
        gray = tuple(round(UNSEEN_SHARE * white + (1 - UNSEEN_SHARE) * UNSEEN_GRAY) for white in FREE_COLOR)
        entries.append((gray, 'grayed: not in the mask'))
    for number, (color, name) in enumerate(entries):
        row, column = divmod(number, columns)
        x, y = BORDER + column * 160, top + row * LINE
        draw.rectangle([(x, y + 3), (x + 14, y + 15)], outline=INK, fill=color)
        draw.text((x + 20, y + 9), name, INK, font, anchor='lm')
    below = top + -(-len(entries) // columns) * LINE + LINE // 2
    about = 'highest voxel of each column, the brighter the higher; the triangle is the car'
    draw.text((BORDER, below), about, INK, font, anchor='lm')
