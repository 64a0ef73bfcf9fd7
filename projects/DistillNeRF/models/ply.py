"""Write cells as PLY files, which every 3D program opens."""

from __future__ import annotations

import os

import numpy as np
from plyfile import PlyData, PlyElement

from ..geometry.box_surface import box_surface
from ..utils.files import atomic_path
from .cells import Cells

_VERTEX = np.dtype(
    [('x', '<f4'), ('y', '<f4'), ('z', '<f4'), ('red', 'u1'), ('green', 'u1'), ('blue', 'u1')],
)
_FACE = np.dtype([('vertex_indices', '<i4', (4,))])


def write_ply(path: str | os.PathLike, cells: Cells, colors: np.ndarray, as_boxes: bool = True) -> None:
    """Write N cells as a binary PLY; the file is whole or absent.

    Coordinates are those of the cells (x right, y forward, z up, meters).

    Args:
        path: file to write.
        cells: the cells.
        colors: ``(N, 3)`` uint8 RGB.
        as_boxes: write a mesh of the cells' boxes, without the sides between two of them; else their centers as points.

    Raises:
        ValueError: there is not one color per cell.
        InputError: nothing can be written there.
    """
    colors = np.asarray(colors)
    if colors.shape != (len(cells), 3) or colors.dtype != np.uint8:
        raise ValueError(f'colors are {colors.dtype} {colors.shape}: give uint8 ({len(cells)}, 3)')
    elements = []
    if as_boxes:
        mesh = box_surface(cells.corners.detach().cpu().numpy())
        vertices = _vertices(mesh.vertices, colors[mesh.vertex_box])
        faces = np.empty(len(mesh.quads), _FACE)
        faces['vertex_indices'] = mesh.quads
        elements.append(PlyElement.describe(faces, 'face', val_types={'vertex_indices': 'i4'}))
    else:
        vertices = _vertices(cells.centers.detach().cpu().numpy(), colors)
    elements.insert(0, PlyElement.describe(vertices, 'vertex'))
    with atomic_path(path) as temporary:
        PlyData(elements, byte_order='<').write(str(temporary))


def _vertices(positions: np.ndarray, colors: np.ndarray) -> np.ndarray:
    """Make records of positions ``(n, 3)`` and colors ``(n, 3)``."""
    vertices = np.empty(len(positions), _VERTEX)
    for axis, name in enumerate(('x', 'y', 'z')):
        vertices[name] = positions[:, axis]
    for channel, name in enumerate(('red', 'green', 'blue')):
        vertices[name] = colors[:, channel]
    return vertices
