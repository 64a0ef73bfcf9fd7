"""A scene prepared for rendering: a picture of it then costs only its rays."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ...models.scene import Scene, SceneRenderer
from ...semantics.feature_colors import palette
from ...semantics.text_encoders import Encoder, Queries
from ..colors import color_shares
from ..panel_layout import ERROR_COLORMAP
from ..voxels import ColoredCells, colored_cells
from .colorizer import NEEDS, Colorizer
from .scenes import Viewed, ViewerScene
from .viewpoints import Viewpoint

# Rows of rays of the pictures that follow each other while the camera rests: 40 x 22, 80 x 45, 160 x 90 and 320 x 180
# rays in a window of 16:9.
ROWS = (22, 45, 90, 180)
# Rows of rays of a snapshot.
SNAPSHOT_ROWS = 360
# Some 10 ms of the small network on two cores; a GPU needs larger tiles to be busy.
RAYS_PER_TILE = {'cpu': 2048}
RAYS_PER_TILE_ELSEWHERE = 32768


@dataclass(frozen=True)
class Picture:
    """One step of a refinement.

    Attributes:
        image: ``(H, W, 3)`` uint8 RGB.
        rows, columns: number of rays.
    """

    image: np.ndarray
    rows: int
    columns: int


class Modes(Protocol):
    """How pictures can be colored; see :class:`.Colorizer`."""

    modes: Sequence[str]
    default_mode: str

    def unavailable_reason(self, mode: str) -> str | None:
        """Return why a mode cannot be shown; ``None`` if it can."""

    def query(self, words: str) -> Queries:
        """Encode a text query."""


class Session(Protocol):
    """What pages show."""

    viewed: Viewed
    colorizer: Modes

    def pictures(
        self, viewpoint: Viewpoint, mode: str, query: Queries | None = None, rows: Sequence[int] = ROWS
    ) -> Generator[Picture | None, None, None]:
        """Yield finer and finer pictures, and ``None`` after each tile."""


class RenderSession:
    """Render pictures of one scene from any viewpoint.

    Attributes:
        viewed: the scene with its cameras.
        colorizer: colors renderings of the scene.
        cells: the occupied fine cells with colors.
    """

    def __init__(self, viewed: ViewerScene, text_encoder: Encoder = None) -> None:
        self.viewed = viewed
        with torch.no_grad():
            self._renderer = SceneRenderer(viewed.scene)
            renders = viewed.scene.head.renders
            rendering = self._renderer.render(viewed.cameras, {renders, 'features'})
            colors = palette(rendering.features)
            self.colorizer = Colorizer(viewed.scene, colors, text_encoder)
            # The fine cells in the colors in which the network renders them.
            self.cells, _ = colored_cells(viewed.scene, viewed.cameras, rendering, colors, renders)

    @property
    def scene(self) -> Scene:
        """Return the scene that is shown."""
        return self.viewed.scene

    @cached_property
    def _cell_features(self) -> Tensor:
        """Features ``(N, C)`` that rays render which see one of the cells alone."""
        with torch.no_grad():
            return self.scene.head.opaque(self.cells.cells.features)

    def found_cells(self, query: Queries, at_least: float) -> ColoredCells:
        """Return the occupied cells that are what a query asks for, colored by how likely they are.

        Args:
            query: a single one.
            at_least: how likely (:meth:`...semantics.text_encoders.Queries.heat`).
        """
        heat = query.heat(self._cell_features)[:, 0]
        found = heat >= at_least
        colors = color_shares(heat[found].clamp(0, 1).cpu().numpy(), ERROR_COLORMAP)
        return ColoredCells(self.cells.level, self.cells.cells[found], colors)

    def pictures(
        self, viewpoint: Viewpoint, mode: str, query: Queries | None = None, rows: Sequence[int] = ROWS
    ) -> Generator[Picture | None, None, None]:
        """Yield finer and finer pictures, and ``None`` after each tile. Call it without gradients."""
        for count in rows:
            cameras = viewpoint.cameras(count, self.scene.downscale, self.scene.fine)
            tile = RAYS_PER_TILE.get(self.scene.fine.device.type, RAYS_PER_TILE_ELSEWHERE)
            steps = self._renderer.tiles(cameras, NEEDS[mode], tile, keep_weights=False)
            rendering = yield from steps
            rays = cameras.height // self.scene.downscale, cameras.width // self.scene.downscale
            yield Picture(self.colorizer.colorize(rendering, mode, query), *rays)
