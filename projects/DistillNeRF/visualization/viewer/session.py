"""All that is prepared once for a glance: pictures of it then cost no more than their rays."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...models.scene import Rendering, Scene
from ...modules.renderer import RayRendering
from ..colors import FeatureColors
from ..feature_rows import palette
from ..voxels import ColoredCells, colored_cells
from .colorizer import NEEDS, Colorizer
from .scenes import ViewerScene
from .tiles import ROWS, TiledRenderer
from .viewpoints import Viewpoint


@dataclass(frozen=True)
class Picture:
    """One step of a refinement.

    Attributes:
        image: ``(H, W, 3)`` uint8 RGB.
        rows, columns: of rays.
    """

    image: np.ndarray
    rows: int
    columns: int


class RenderSession:
    """A glance with everything to draw it.

    Attributes:
        glance: what it is.
        colorizer: how it can be drawn.
        cells: its occupied fine cells with colors.
    """

    def __init__(self, glance: ViewerScene, text_encoder: str | None = None) -> None:
        self.glance = glance
        with torch.no_grad():
            self._renderer = TiledRenderer(glance.scene)
            rays = glance.scene.render_composite(glance.cameras)
            colors = palette(rays.composite)
            self.colorizer = Colorizer(glance.scene, colors, text_encoder)
            self.cells = self._cells(rays, colors)

    @property
    def scene(self) -> Scene:
        """The scene that is looked at."""
        return self.glance.scene

    def _cells(self, rays: RayRendering, colors: FeatureColors) -> ColoredCells:
        """The fine cells in the colors in which the network renders them."""
        scene, cameras = self.scene, self.glance.cameras
        classes = torch.ones(len(cameras), dtype=torch.int64, device=rays.composite.device)
        image = scene.head(rays.composite, classes)
        rendering = Rendering(image, rays.depth, rays.opacity, rays.weights, rays.depths)
        fine, _ = colored_cells(scene, cameras, rendering, colors, scene.head.renders)
        return fine

    def pictures(
        self, viewpoint: Viewpoint, mode: str, vector: Tensor | None = None, rows: Sequence[int] = ROWS
    ) -> Generator[Picture | None, None, None]:
        """Finer and finer pictures; ``None`` between the tiles of which each is made. Without gradients."""
        for count in rows:
            cameras = viewpoint.cameras(count, self.scene.downscale, self.scene.fine)
            seen = yield from self._renderer.steps(cameras, NEEDS[mode])
            yield Picture(self.colorizer.colorize(seen, mode, vector), *seen.depth.shape)
