"""Rendering in steps short enough to be given up between any two of them."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import torch
from torch import Tensor

from ...geometry.cameras import Cameras
from ...models.scene import Scene
from ...modules.renderer import render_rays

# Rows of rays of the pictures that follow each other while the camera rests: 40 x 22, 80 x 45, 160 x 90 and 320 x 180
# rays in a window of 16:9.
ROWS = (22, 45, 90, 180)
# Rows of rays of a picture that is kept.
SNAPSHOT_ROWS = 360
# Some 10 ms of the small network on two cores; a GPU needs more at once to be busy.
RAYS_PER_TILE = {'cpu': 2048}
RAYS_PER_TILE_ELSEWHERE = 32768


@dataclass(frozen=True)
class RenderedView:
    """What one camera of H x W sees; maps are h x w, the render size.

    Attributes:
        rgb: ``(3, H, W)`` RGB, not clamped; ``None`` if it was not asked for.
        features: ``(C, h, w)`` what rays composite: features, or what the decoder reads; ``None`` if they were not
            asked for.
        depth: ``(h, w)`` distance along the ray, meters.
        opacity: ``(h, w)``.
    """

    rgb: Tensor | None
    features: Tensor | None
    depth: Tensor
    opacity: Tensor


class TiledRenderer:
    """Renders one scene as :meth:`Scene.render` does, tile by tile; what does not change is prepared once.

    Use it without gradients.
    """

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self._tables = scene.tables()
        self._compositor = scene.head.compositor(self._tables)

    def steps(self, cameras: Cameras, what: str) -> Generator[None, None, RenderedView]:
        """Yields after every tile and before the decoder; returns the result.

        Args:
            cameras: one.
            what: ``rgb``, ``features`` or ``depth``; depth and opacity always come.
        """
        scene = self.scene
        rows, columns = cameras.height // scene.downscale, cameras.width // scene.downscale
        origins, directions = cameras.rays(rows, columns)
        directions = directions.reshape(-1, 3)
        size = RAYS_PER_TILE.get(directions.device.type, RAYS_PER_TILE_ELSEWHERE)
        compositor = _no_colors if what == 'depth' else self._compositor
        parts = []
        for tile in directions.split(size):
            rays = render_rays(
                self._tables, scene.space, scene.sampling, compositor, origins.expand_as(tile).contiguous(), tile
            )
            parts.append((rays.composite, rays.depth, rays.opacity))
            yield
        composite, depth, opacity = (torch.cat(part) for part in zip(*parts, strict=True))
        composite = composite.T.reshape(1, composite.shape[1], rows, columns)
        rgb = features = None
        if what == 'rgb':
            classes = torch.ones(1, dtype=torch.int64, device=composite.device)
            rgb = scene.head(composite, classes)[0]
        elif what == 'features':
            features = composite[0]
        return RenderedView(rgb, features, depth.view(rows, columns), opacity.view(rows, columns))


def _no_colors(rows: Tensor, weights: Tensor) -> Tensor:
    """A compositor of nothing."""
    return weights.new_empty(len(rows), 0)
