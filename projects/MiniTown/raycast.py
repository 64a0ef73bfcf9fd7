"""First hits and shadows of many rays on one mesh, through embree."""

from __future__ import annotations

from typing import Any

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene

from .mesh import Mesh

NO_FACE = -1
# Embree works in float32; where the exact plane says something else by more than this share, the ray grazes the plane.
_GRAZING = 2e-3
_FAR = np.float32(1e6)


class Caster:
    """A mesh in an embree scene. Deterministic: distances come from the planes of the faces, in float64."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        self._scene = EmbreeScene(robust=True)
        # Apart from the other fields of the faces: gathering whole records takes as long as casting the rays.
        self._normals, self._anchors = mesh.faces['normal'].copy(), mesh.faces['anchor'].copy()
        if len(mesh.triangles):
            vertices = np.ascontiguousarray(mesh.vertices, dtype=np.float32)
            TriangleMesh(self._scene, vertices, np.ascontiguousarray(mesh.triangles, dtype=np.int32))

    def first(
        self, origins: np.ndarray, directions: np.ndarray, limits: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Find the first face on each ray.

        Args:
            origins: ``(n, 3)``.
            directions: ``(n, 3)``; distances are in multiples of their length.
            limits: ``(n,)`` where each ray ends, if it ends.

        Returns:
            distances ``(n,)`` float64, ``inf`` on a miss, and face indices ``(n,)``, :data:`NO_FACE` on a miss.
        """
        distances = np.full(len(origins), np.inf)
        if not len(self.mesh.triangles):
            return distances, np.full(len(origins), NO_FACE, np.int32)
        hit = self._run(origins, directions, limits, output=True)
        faces = np.where(hit['primID'] >= 0, hit['primID'], NO_FACE)
        rows = np.flatnonzero(faces >= 0)
        rough = hit['tfar'][rows].astype(np.float64)
        hit_faces = faces[rows]
        normal = self._normals[hit_faces]
        toward = np.einsum('nc,nc->n', self._anchors[hit_faces] - origins[rows], normal)
        speed = np.einsum('nc,nc->n', directions[rows], normal)
        with np.errstate(divide='ignore', invalid='ignore'):
            exact = toward / speed
        distances[rows] = np.where(np.abs(exact - rough) < _GRAZING * (1.0 + rough), exact, rough)
        return distances, faces

    def blocked(self, origins: np.ndarray, directions: np.ndarray, limits: np.ndarray | None = None) -> np.ndarray:
        """Return ``(n,)`` whether anything lies on each ray."""
        if not len(self.mesh.triangles):
            return np.zeros(len(origins), bool)
        return self._run(origins, directions, limits, query='OCCLUDED') >= 0

    def _run(self, origins: np.ndarray, directions: np.ndarray, limits: np.ndarray | None, **options: Any) -> Any:
        """Call embree, which takes contiguous float32."""
        if limits is not None:
            options['dists'] = np.ascontiguousarray(np.minimum(limits, _FAR), dtype=np.float32)
        return self._scene.run(
            np.ascontiguousarray(origins, dtype=np.float32),
            np.ascontiguousarray(directions, dtype=np.float32),
            **options,
        )
