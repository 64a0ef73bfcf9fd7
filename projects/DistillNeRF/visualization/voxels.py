"""Color the occupied cells of a scene, for voxel pictures, web pages and the viewer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ..geometry.cameras import Cameras
from ..models.cells import LEVEL_NAMES, Cells, occupied_cells, rgb_of_cells
from ..models.scene import Rendering, Scene
from ..models.voxel_field import MIN_DENSITY
from ..semantics.feature_colors import FeatureColors
from ..utils.errors import InputError
from .colors import color_shares

COLORINGS = ('rgb', 'height', 'features')
# Ends of the scale of heights, meters above the LiDAR: a little below the street, and above the first floor.
LOWEST, HIGHEST = -2.5, 6.0


@dataclass(frozen=True)
class ColoredCells:
    """N cells of one level, and their colors ``(N, 3)``, uint8 RGB."""

    level: str
    cells: Cells
    colors: np.ndarray


@torch.no_grad()
def colored_cells(
    scene: Scene,
    cameras: Cameras,
    rendering: Rendering | None,
    palette: FeatureColors | None,
    coloring: str = 'rgb',
    min_density: float = MIN_DENSITY,
) -> list[ColoredCells]:
    """Color the cells of both levels, fine first, whose density is at least ``min_density``.

    Args:
        scene: the scene.
        cameras: ``(V,)`` cameras whose pixels give cells their color.
        rendering: the rendering of these cameras; needed for ``rgb``.
        palette: colors of the scene's rendered features; needed for ``features``.
        coloring: ``rgb``: the mean of the rendered pixels that show a cell, gray where none does; ``height``: turbo
            over z from :data:`LOWEST` to :data:`HIGHEST`; ``features``: the color of a ray that sees the cell alone.
        min_density: cells of less density, per meter, are left out.

    Raises:
        InputError: no such coloring, or RGB of a network that renders features.
    """
    if coloring not in COLORINGS:
        raise InputError(f'model.voxel_colors is {coloring!r}; choose from {", ".join(COLORINGS)}')
    if coloring == 'rgb' and (rendering is None or rendering.rgb is None):
        raise InputError('model.voxel_colors is rgb, but this network renders features; choose height or features')
    result = []
    for level in LEVEL_NAMES:
        cells = occupied_cells(scene, level, min_density)
        if coloring == 'rgb':
            colors = rgb_of_cells(cells, level, cameras, rendering.rgb, rendering.depth)
        elif coloring == 'height':
            heights = cells.centers[:, 2].cpu().numpy()
            colors = color_shares((heights - LOWEST) / (HIGHEST - LOWEST))
        else:
            colors = palette.colors(scene.head.opaque(cells.features))
        result.append(ColoredCells(level, cells, colors))
    return result
