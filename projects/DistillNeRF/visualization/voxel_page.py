"""Write cells as an interactive web page that opens offline."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
import torch

from ..geometry.box_surface import box_surface
from ..geometry.cameras import Cameras
from ..utils.files import atomic_path
from .voxels import ColoredCells

# More boxes than this make browsers slow: those nearest to the car are kept, and the page says so.
LARGEST_PAGE = 50_000
# What the axes are called in the LiDAR frame and in the ego frame, and the side from which a page looks first.
LIDAR_AXES = {'x': 'x, right (m)', 'y': 'y, forward (m)', 'z': 'z, up (m)', 'eye': (0.0, -0.6, 0.35)}
EGO_AXES = {'x': 'x, forward (m)', 'y': 'y, left (m)', 'z': 'z, up (m)', 'eye': (-0.6, 0.0, 0.35)}
# Length of the drawn edges of a camera, meters.
FRUSTUM = 1.5


def write_page(
    path: str | os.PathLike,
    levels: Sequence[ColoredCells],
    cameras: Cameras | None,
    names: Sequence[str],
    title: str,
    axes: Mapping[str, Any] = LIDAR_AXES,
    boxes: str = 'cells',
) -> int:
    """Write one HTML file that needs no other; a click on the legend shows or hides a level.

    Args:
        path: file to write.
        levels: cells of the levels; the page begins with the first.
        cameras: ``(V,)`` cameras, drawn as pyramids; None: none.
        names: names of the cameras.
        title: title of the page.
        axes: of the frame of reference.
        boxes: what the boxes are called.

    Returns:
        The number of cells left out because there are more than :data:`LARGEST_PAGE` on a level.
    """
    figure, left_out = go.Figure(), 0
    for number, level in enumerate(levels):
        kept = _nearest(level.cells.centers, LARGEST_PAGE)
        left_out += len(level.cells) - len(kept)
        figure.add_trace(_boxes(level, kept, number == 0, boxes))
    for camera, name in enumerate(names):
        figure.add_trace(_pyramid(cameras[camera], name))
    if left_out:
        title = f'{title} (the nearest {LARGEST_PAGE} {boxes} of a level; {left_out} farther ones are left out)'
    figure.update_layout(
        title=title,
        scene={
            'aspectmode': 'data',
            **{f'{axis}axis_title': axes[axis] for axis in 'xyz'},
            'camera': {'up': {'x': 0, 'y': 0, 'z': 1}, 'eye': dict(zip('xyz', axes['eye'], strict=True))},
        },
        legend={'x': 0, 'y': 1},
        margin={'l': 0, 'r': 0, 'b': 0, 't': 40},
    )
    with atomic_path(path) as temporary:
        figure.write_html(temporary, include_plotlyjs=True, full_html=True)
    return left_out


def _nearest(centers: torch.Tensor, count: int) -> np.ndarray:
    """Return the indices of the ``count`` cells nearest to the LiDAR, ascending."""
    return centers.norm(dim=1).argsort()[:count].sort().values.cpu().numpy()


def _boxes(level: ColoredCells, kept: np.ndarray, shown: bool, noun: str) -> go.Mesh3d:
    mesh = box_surface(level.cells.corners.cpu().numpy()[kept])
    x, y, z = mesh.vertices.T
    i, j, k = mesh.triangles.T
    codes = np.array([f'#{r:02x}{g:02x}{b:02x}' for r, g, b in level.colors[kept]], dtype='<U7')
    return go.Mesh3d(
        x=x,
        y=y,
        z=z,
        i=i,
        j=j,
        k=k,
        facecolor=np.repeat(codes[mesh.quad_box], 2) if len(codes) else None,
        flatshading=True,
        lighting={'ambient': 0.8, 'diffuse': 0.4, 'specular': 0.0, 'roughness': 1.0, 'fresnel': 0.0},
        name=f'{level.level} {noun} ({len(kept)})',
        showlegend=True,
        visible=True if shown else 'legendonly',
        hoverinfo='x+y+z',
    )


def _pyramid(camera: Cameras, name: str) -> go.Scatter3d:
    """Draw the edges of one camera's view."""
    origin, directions = camera.rays(2, 2)
    a, b, d, c = (origin + FRUSTUM * directions).reshape(4, 3)  # row by row
    x, y, z = torch.stack([origin, a, b, origin, b, c, origin, c, d, origin, d, a]).cpu().numpy().T
    return go.Scatter3d(x=x, y=y, z=z, mode='lines', line={'color': 'black', 'width': 3}, name=name, showlegend=False)
