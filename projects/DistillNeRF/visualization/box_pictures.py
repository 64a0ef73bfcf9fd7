"""Pictures of colored boxes: from cameras, and as a map from above."""

from __future__ import annotations

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene
from PIL import Image, ImageDraw, ImageFont

from ..geometry.box_surface import box_surface
from ..geometry.cameras import Cameras
from .colors import SKY_COLOR

# Brightness of the sides -x, +x, -y, +y, -z, +z, so that edges can be seen; tops keep their color.
SHADES = np.array([0.82, 0.82, 0.68, 0.68, 0.55, 1.0], np.float32)
# Maps show what is below this height, meters above the LiDAR: most trees and roofs would hide the street.
EYE_HEIGHT = 3.0
INK = (20, 20, 20)


class BoxPictures:
    """Render pictures of colored boxes by ray casting.

    Args:
        corners: ``(N, 8, 3)`` as in :class:`..models.cells.Cells`.
        colors: ``(N, 3)`` uint8 RGB.
    """

    def __init__(self, corners: np.ndarray, colors: np.ndarray) -> None:
        self._scene, mesh = EmbreeScene(robust=True), box_surface(corners)
        self._empty = not len(mesh.quads)
        if not self._empty:
            TriangleMesh(self._scene, mesh.vertices, mesh.triangles)
        # Colors of the quads; the last entry is the color of rays that miss.
        plain = colors[mesh.quad_box]
        shaded = (plain * SHADES[mesh.quad_side, None]).round()
        self._plain, self._shaded = (np.concatenate([part, [SKY_COLOR]]).astype(np.uint8) for part in (plain, shaded))

    def from_cameras(self, cameras: Cameras, height: int, width: int) -> np.ndarray:
        """Render the view of ``(V,)`` cameras, ``(V, height, width, 3)`` uint8 RGB."""
        origins, directions = (part.double().cpu().numpy() for part in cameras.rays(height, width))
        return self._seen(np.broadcast_to(origins[:, None, None], directions.shape), directions, self._shaded)

    def from_above(self, reach: float, size: int, eye_height: float = EYE_HEIGHT) -> np.ndarray:
        """Draw a map ``(size, size, 3)`` of ``reach`` meters to every side of the LiDAR; forward is up."""
        steps = (np.arange(size) + 0.5) / size * 2 * reach - reach
        x, y = np.meshgrid(steps, -steps)
        origins = np.stack([x, y, np.full_like(x, eye_height)], axis=-1)
        return self._seen(origins, np.broadcast_to([0.0, 0.0, -1.0], origins.shape), self._plain)

    def _seen(self, origins: np.ndarray, directions: np.ndarray, colors: np.ndarray) -> np.ndarray:
        """Return the colors ``(..., 3)`` that rays ``(..., 3)`` hit, out of those of the quads and of a miss."""
        if self._empty:
            return np.broadcast_to(colors[-1], origins.shape).copy()
        rays = (np.ascontiguousarray(part.reshape(-1, 3), np.float32) for part in (origins, directions))
        triangles = np.asarray(self._scene.run(*rays))
        return colors[np.where(triangles >= 0, triangles // 2, -1)].reshape(origins.shape)


def annotate_map(picture: np.ndarray, reach: float, title: str) -> np.ndarray:
    """Copy a map of :meth:`BoxPictures.from_above` and add the car, a scale bar and a title."""
    size = len(picture)
    image = Image.fromarray(picture)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(14)
    pixels, middle = size / (2 * reach), size / 2
    draw.polygon(
        [
            (middle, middle - 2.5 * pixels),
            (middle - pixels, middle + 2 * pixels),
            (middle + pixels, middle + 2 * pixels),
        ],
        outline=INK,
        fill=(255, 255, 255),
    )
    draw.rectangle([(0, 0), (size, 24)], fill=(255, 255, 255))
    draw.text((8, 12), f'{title}, from above, forward is up', INK, font, anchor='lm')
    draw.line([(size - 20 - 10 * pixels, 12), (size - 20, 12)], INK, 3)
    draw.text((size - 28 - 10 * pixels, 12), '10 m', INK, font, anchor='rm')
    return np.array(image)
