"""Cells as PLY files, which every 3D program opens."""

from __future__ import annotations

import os

import numpy as np

from ..models.cells import Cells
from ..utils.files import atomic_path
from .boxes import surface

_VERTEX = np.dtype(
    [('x', '<f4'), ('y', '<f4'), ('z', '<f4'), ('red', 'u1'), ('green', 'u1'), ('blue', 'u1')],
)
_FACE = np.dtype([('count', 'u1'), ('vertices', '<i4', 4)])
_TYPES = {'<f4': 'float', '|u1': 'uchar'}


def write_ply(path: str | os.PathLike, cells: Cells, colors: np.ndarray, as_boxes: bool = True) -> None:
    """Write N cells as a binary PLY; the file is whole or absent.

    Coordinates are those of the cells (x right, y forward, z up, meters).

    Args:
        colors: ``(N, 3)`` uint8 RGB.
        as_boxes: a mesh of the cells' boxes, without the sides between two of them; else their centers as points.

    Raises:
        ValueError: not one color per cell.
        InputError: nothing can be written there.
    """
    colors = np.asarray(colors)
    if colors.shape != (len(cells), 3) or colors.dtype != np.uint8:
        raise ValueError(f'colors are {colors.dtype} {colors.shape}: give uint8 ({len(cells)}, 3)')
    if as_boxes:
        mesh = surface(cells.corners.detach().cpu().numpy())
        vertices, faces = _vertices(mesh.vertices, colors[mesh.vertex_box]), np.empty(len(mesh.quads), _FACE)
        faces['count'], faces['vertices'] = 4, mesh.quads
    else:
        vertices, faces = _vertices(cells.centers.detach().cpu().numpy(), colors), np.empty(0, _FACE)
    with atomic_path(path) as temporary:
        temporary.write_bytes(_header(len(vertices), len(faces)) + vertices.tobytes() + faces.tobytes())


def _vertices(positions: np.ndarray, colors: np.ndarray) -> np.ndarray:
    """Positions ``(n, 3)`` and colors ``(n, 3)`` as records."""
    vertices = np.empty(len(positions), _VERTEX)
    for axis, name in enumerate(('x', 'y', 'z')):
        vertices[name] = positions[:, axis]
    for channel, name in enumerate(('red', 'green', 'blue')):
        vertices[name] = colors[:, channel]
    return vertices


def _header(vertices: int, faces: int) -> bytes:
    lines = ['ply', 'format binary_little_endian 1.0', f'element vertex {vertices}']
    lines += [f'property {_TYPES[_VERTEX[name].str]} {name}' for name in _VERTEX.names]
    if faces:
        lines += [f'element face {faces}', 'property list uchar int vertex_indices']
    return '\n'.join([*lines, 'end_header', '']).encode()
