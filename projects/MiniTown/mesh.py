"""Triangle meshes whose faces know their surface: what they are made of and where their texture begins.

Faces carry an exact plane and a texture frame: the ``anchor`` is a point of the plane, ``u`` and ``v`` are unit axes in
it, ``extent`` is the size of the polygon along them. The two triangles of a quad share all of it, so that what a ray
sees does not depend on which of the two it hits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

FACE = np.dtype(
    [
        ('material', 'u1'),
        ('label', 'u1'),
        ('instance', 'i4'),
        ('color', 'f4', 3),
        ('accent', 'f4', 3),
        ('variant', 'f4'),
        ('gloss', 'f4'),
        ('anchor', 'f8', 3),
        ('normal', 'f8', 3),
        ('u', 'f4', 3),
        ('v', 'f4', 3),
        ('extent', 'f4', 2),
    ],
    align=True,
)

NO_INSTANCE = -1
Size = tuple[float, float, float]
"""Width, length, height of an object, meters."""


@dataclass(frozen=True)
class Surface:
    """What a face is made of.

    Attributes:
        material: id of the texture, see :mod:`.materials`.
        label: class id, see :mod:`.classes`.
        color, accent: the two linear RGB albedos that the texture mixes, in [0, 1].
        variant: a number in [0, 1) by which textures of one kind differ.
        gloss: share of mirror reflection, 0 (matte) to 1 (glass).
    """

    material: int
    label: int
    color: tuple[float, float, float]
    accent: tuple[float, float, float] = (0.5, 0.5, 0.5)
    variant: float = 0.0
    gloss: float = 0.0


@dataclass(frozen=True)
class Mesh:
    """Triangles with surfaces.

    Attributes:
        vertices: ``(n, 3)`` meters.
        triangles: ``(m, 3)`` vertex indices.
        faces: ``(m,)`` records of :data:`FACE`, one per triangle.
    """

    vertices: np.ndarray
    triangles: np.ndarray
    faces: np.ndarray

    def placed(
        self, position: Sequence[float], yaw: float = 0.0, instance: int | None = None, scale: float = 1.0
    ) -> Mesh:
        """Return the mesh scaled, turned by ``yaw`` and moved.

        Args:
            position: where its origin goes, meters.
            yaw: radians about z.
            instance: index of the object that its faces belong to.
            scale: factor of its size.
        """
        cos, sin = np.cos(yaw), np.sin(yaw)
        rotation = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
        faces = self.faces.copy()
        faces['anchor'] = scale * self.faces['anchor'] @ rotation.T + position
        faces['extent'] *= scale
        for axis in ('normal', 'u', 'v'):
            faces[axis] = self.faces[axis] @ rotation.T
        if instance is not None:
            faces['instance'] = instance
        return replace(self, vertices=scale * self.vertices @ rotation.T + position, faces=faces)


def merge(meshes: Sequence[Mesh]) -> Mesh:
    """Join ``meshes`` to one, in order."""
    if not meshes:
        return Mesh(np.zeros((0, 3)), np.zeros((0, 3), np.int32), np.zeros(0, FACE))
    starts = np.cumsum([0] + [len(mesh.vertices) for mesh in meshes[:-1]])
    return Mesh(
        vertices=np.concatenate([mesh.vertices for mesh in meshes]),
        triangles=np.concatenate([mesh.triangles + start for mesh, start in zip(meshes, starts, strict=True)]),
        faces=np.concatenate([mesh.faces for mesh in meshes]),
    )


def polygons(corners: np.ndarray, surface: Surface) -> Mesh:
    """Build flat convex polygons.

    Args:
        corners: ``(n, k, 3)`` corners of n polygons, counter-clockwise seen from outside; the first edge is the u axis.
        surface: what they are made of.
    """
    corners = np.asarray(corners, dtype=np.float64)
    count, sides = corners.shape[:2]
    u = corners[:, 1] - corners[:, 0]
    u /= np.linalg.norm(u, axis=-1, keepdims=True)
    # The sum over the triangles of the fan is right also where one of them is flat.
    spread = corners - corners[:, :1]
    normal = _cross(spread[:, 1:-1], spread[:, 2:]).sum(axis=1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    v = _cross(normal, u)
    along_u, along_v = np.einsum('nkc,nc->nk', spread, u), np.einsum('nkc,nc->nk', spread, v)

    faces = np.zeros(count, FACE)
    faces['material'], faces['label'], faces['instance'] = surface.material, surface.label, NO_INSTANCE
    faces['color'], faces['accent'] = surface.color, surface.accent
    faces['variant'], faces['gloss'] = surface.variant, surface.gloss
    faces['anchor'] = corners[:, 0] + along_u.min(axis=1)[:, None] * u
    faces['normal'], faces['u'], faces['v'] = normal, u, v
    faces['extent'] = np.stack([np.ptp(along_u, axis=1), np.ptp(along_v, axis=1)], axis=-1)

    fan = np.stack([np.zeros(sides - 2, int), np.arange(1, sides - 1), np.arange(2, sides)], axis=-1)
    triangles = (np.arange(count)[:, None, None] * sides + fan).reshape(-1, 3)
    return Mesh(corners.reshape(-1, 3), triangles.astype(np.int32), np.repeat(faces, sides - 2))


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return ``np.cross`` of vectors ``(..., 3)``, several times as fast on few of them."""
    (ax, ay, az), (bx, by, bz) = np.moveaxis(a, -1, 0), np.moveaxis(b, -1, 0)
    return np.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx], axis=-1)


# Corners of the unit cube per side, counter-clockwise from outside, first edge horizontal.
_CUBE = {
    'front': ((1, 0, 0), (1, 1, 0), (1, 1, 1), (1, 0, 1)),
    'back': ((0, 1, 0), (0, 0, 0), (0, 0, 1), (0, 1, 1)),
    'left': ((1, 1, 0), (0, 1, 0), (0, 1, 1), (1, 1, 1)),
    'right': ((0, 0, 0), (1, 0, 0), (1, 0, 1), (0, 0, 1)),
    'top': ((0, 0, 1), (1, 0, 1), (1, 1, 1), (0, 1, 1)),
    'bottom': ((0, 1, 0), (1, 1, 0), (1, 0, 0), (0, 0, 0)),
}
SIDES = ('front', 'back', 'left', 'right')
SHELL = (*SIDES, 'top')
ALL_SIDES = (*SHELL, 'bottom')


def box(low: Sequence[float], high: Sequence[float], surface: Surface, sides: Sequence[str] = SHELL) -> Mesh:
    """Build an upright box between two corners; ``front`` is +x, ``left`` is +y."""
    low, high = np.asarray(low, float), np.asarray(high, float)
    unit = np.array([_CUBE[side] for side in sides], dtype=float)
    return polygons(low + unit * (high - low), surface)


def frustum(
    base: Sequence[float], radii: tuple[float, float], height: float, sides: int, surface: Surface, cap: bool = True
) -> Mesh:
    """Build an upright prism around ``base`` that narrows from ``radii[0]`` to ``radii[1]`` (not 0) over ``height``."""
    angle = np.arange(sides + 1) * (2 * np.pi / sides)
    ring = np.stack([np.cos(angle), np.sin(angle), np.zeros(sides + 1)], axis=-1)
    low = np.asarray(base, float) + radii[0] * ring
    high = np.asarray(base, float) + radii[1] * ring + (0.0, 0.0, height)
    mantle = polygons(np.stack([low[:-1], low[1:], high[1:], high[:-1]], axis=1), surface)
    return merge([mantle, polygons(high[None, :-1], surface)]) if cap else mantle


def extruded(profile: np.ndarray, half_width: float, surface: Surface, flanks: Surface | None = None) -> Mesh:
    """Extrude a convex side view (x, z), counter-clockwise, along y to both sides.

    Args:
        profile: ``(k, 2)`` corners (x, z) with x forward and z up.
        half_width: from the middle to each flank, meters.
        surface: of the strip around it.
        flanks: of the two flat flanks; ``surface`` if absent.
    """
    x, z = np.asarray(profile, float).T
    right = np.stack([x, np.full_like(x, -half_width), z], axis=-1)
    left = right * (1, -1, 1)
    around = np.stack([right, left, np.roll(left, -1, axis=0), np.roll(right, -1, axis=0)], axis=1)
    sides = np.stack([right, left[::-1]])
    return merge([polygons(around, surface), polygons(sides, flanks or surface)])
