"""The occupied cells of a scene with colors: what voxel pictures, web pages and PLY files show."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ..geometry.cameras import Cameras
from ..models.cells import Cells, colors_seen, occupied_cells
from ..models.scene import MIN_DENSITY, Rendering, Scene
from ..utils.errors import InputError
from .colors import FeatureColors, color_shares

COLORINGS = ('rgb', 'height', 'features')
LEVELS = ('fine', 'coarse')
# Ends of the scale of heights, meters above the LiDAR: a little below the street, and above the first floor.
LOWEST, HIGHEST = -2.5, 6.0
# Cells that no pixel shows.
UNSEEN_COLOR = (128, 128, 128)
# A cell has the color of a pixel whose depth is within this of its center, meters; about half a cell's diagonal.
TOLERANCE = {'fine': 1.0, 'coarse': 2.0}


@dataclass(frozen=True)
class ColoredCells:
    """N cells of one level, and ``(N, 3)`` uint8 RGB."""

    level: str
    cells: Cells
    colors: np.ndarray


@torch.no_grad()
def colored_cells(
    scene: Scene,
    cameras: Cameras,
    rendering: Rendering,
    palette: FeatureColors | None,
    coloring: str = 'rgb',
    min_density: float = MIN_DENSITY,
) -> list[ColoredCells]:
    """The cells of both levels, fine first, that are at least so dense.

    Args:
        cameras: ``(V,)`` whose pixels give cells their color.
        rendering: of these cameras.
        palette: colors of what the scene's head composites (:meth:`..modules.heads.FeatureHead.opaque`); needed for
            ``features``.
        coloring: ``rgb``: the mean of the rendered pixels that show a cell, gray where none does; ``height``: turbo
            over z from :data:`LOWEST` to :data:`HIGHEST`; ``features``: the color of a ray that sees the cell alone.
        min_density: per meter.

    Raises:
        InputError: no such coloring, or RGB of a network that renders features.
    """
    if coloring not in COLORINGS:
        raise InputError(f'model.voxel_colors is {coloring!r}; choose from {", ".join(COLORINGS)}')
    if coloring == 'rgb' and scene.head.renders != 'rgb':
        raise InputError('model.voxel_colors is rgb, but this network renders features; choose height or features')
    result = []
    for level in LEVELS:
        cells = occupied_cells(scene, level, min_density)
        if coloring == 'rgb':
            rgb, seen = colors_seen(cells, cameras, rendering, TOLERANCE[level])
            colors = (rgb * 255).round().byte().cpu().numpy()
            colors[~seen.cpu().numpy()] = UNSEEN_COLOR
        elif coloring == 'height':
            heights = cells.centers[:, 2].cpu().numpy()
            colors = color_shares((heights - LOWEST) / (HIGHEST - LOWEST))
        else:
            colors = palette.colors(scene.head.opaque(cells.features))
        result.append(ColoredCells(level, cells, colors))
    return result
