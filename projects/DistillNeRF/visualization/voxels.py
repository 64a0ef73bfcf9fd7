"""The occupied cells of a scene with colours: what voxel pictures, web pages and PLY files show."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ..geometry.cameras import Cameras
from ..models.cells import Cells, colours_seen, occupied_cells
from ..models.scene import MIN_DENSITY, Rendering, Scene
from ..utils.errors import InputError
from .colors import FeatureColours, colour_shares

COLOURINGS = ('rgb', 'height', 'features')
LEVELS = ('fine', 'coarse')
# Ends of the scale of heights, metres above the LiDAR: a little below the street, and above the first floor.
LOWEST, HIGHEST = -2.5, 6.0
# Cells that no pixel shows.
UNSEEN_COLOUR = (128, 128, 128)
# A cell has the colour of a pixel whose depth is within this of its centre, metres; about half a cell's diagonal.
TOLERANCE = {'fine': 1.0, 'coarse': 2.0}


@dataclass(frozen=True)
class ColouredCells:
    """N cells of one level, and ``(N, 3)`` uint8 RGB."""

    level: str
    cells: Cells
    colours: np.ndarray


@torch.no_grad()
def coloured_cells(
    scene: Scene,
    cameras: Cameras,
    rendering: Rendering,
    palette: FeatureColours | None,
    colouring: str = 'rgb',
    min_density: float = MIN_DENSITY,
) -> list[ColouredCells]:
    """The cells of both levels, fine first, that are at least so dense.

    Args:
        cameras: ``(V,)`` whose pixels give cells their colour.
        rendering: of these cameras.
        palette: colours of what the scene's head composites (:meth:`..modules.heads.FeatureHead.opaque`); needed for
            ``features``.
        colouring: ``rgb``: the mean of the rendered pixels that show a cell, grey where none does; ``height``: turbo
            over z from :data:`LOWEST` to :data:`HIGHEST`; ``features``: the colour of a ray that sees the cell alone.
        min_density: per metre.

    Raises:
        InputError: no such colouring, or RGB of a network that renders features.
    """
    if colouring not in COLOURINGS:
        raise InputError(f'model.voxel_colours is {colouring!r}; choose from {", ".join(COLOURINGS)}')
    if colouring == 'rgb' and scene.head.renders != 'rgb':
        raise InputError('model.voxel_colours is rgb, but this network renders features; choose height or features')
    result = []
    for level in LEVELS:
        cells = occupied_cells(scene, level, min_density)
        if colouring == 'rgb':
            rgb, seen = colours_seen(cells, cameras, rendering, TOLERANCE[level])
            colours = (rgb * 255).round().byte().cpu().numpy()
            colours[~seen.cpu().numpy()] = UNSEEN_COLOUR
        elif colouring == 'height':
            heights = cells.centers[:, 2].cpu().numpy()
            colours = colour_shares((heights - LOWEST) / (HIGHEST - LOWEST))
        else:
            colours = palette.colours(scene.head.opaque(cells.features))
        result.append(ColouredCells(level, cells, colours))
    return result
