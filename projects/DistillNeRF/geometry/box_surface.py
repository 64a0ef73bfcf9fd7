"""The outer surface of many boxes as a mesh: pictures, web pages and PLY files draw occupied cells with it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# The corner with bits (x, y, z) set lies on the upper side of these axes.
CORNERS = tuple((i >> 2 & 1, i >> 1 & 1, i & 1) for i in range(8))
# Corners of each side, counter-clockwise seen from outside, for the order of :data:`CORNERS`: -x, +x, -y, +y, -z, +z.
SIDES = np.array([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]])


@dataclass(frozen=True)
class BoxSurface:
    """A mesh of the outer sides of boxes; every box has vertices of its own, so that it can have its color.

    Attributes:
        vertices: ``(M, 3)`` float32, meters.
        quads: ``(F, 4)`` int32 indices of vertices, counter-clockwise seen from outside.
        vertex_box: ``(M,)`` the box of each vertex.
        quad_box, quad_side: ``(F,)`` the box of each quad, and its row in :data:`SIDES`.
    """

    vertices: np.ndarray
    quads: np.ndarray
    vertex_box: np.ndarray
    quad_box: np.ndarray
    quad_side: np.ndarray

    @property
    def triangles(self) -> np.ndarray:
        """Split each quad into two triangles, ``(2 * F, 3)`` int32."""
        return self.quads[:, [0, 1, 2, 0, 2, 3]].reshape(-1, 3)


def box_surface(corners: np.ndarray) -> BoxSurface:
    """Collect the sides of boxes that no two boxes share.

    Args:
        corners: ``(N, 8, 3)`` in the order of :data:`CORNERS`; neighbors share exactly equal corners.
    """
    count = len(corners)
    box, side = np.divmod(np.arange(6 * count), 6)
    shown = _unshared(corners).ravel()
    box, side = box[shown], side[shown]
    used, quads = np.unique(box[:, None] * len(CORNERS) + SIDES[side], return_inverse=True)
    return BoxSurface(
        vertices=np.ascontiguousarray(corners.reshape(-1, 3)[used], np.float32),
        quads=quads.reshape(-1, 4).astype(np.int32),
        vertex_box=used // len(CORNERS),
        quad_box=box,
        quad_side=side,
    )


def _unshared(corners: np.ndarray) -> np.ndarray:
    """Return ``(N, 6)`` bool: whether a side belongs to one box alone. Its lowest and highest corner identify it."""
    ends = np.stack([corners[:, SIDES.min(axis=1)], corners[:, SIDES.max(axis=1)]], axis=2)
    keys = np.ascontiguousarray(ends.reshape(-1, 6) + 0.0, np.float32).view(np.dtype((np.void, 24)))[:, 0]
    _, inverse, counts = np.unique(keys, return_inverse=True, return_counts=True)
    return (counts[inverse] == 1).reshape(-1, 6)
