"""The occupied cells of a scene as colored boxes, which pictures, PLY files and the viewer draw."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..geometry.box_surface import CORNERS
from ..geometry.cameras import Cameras
from ..geometry.tensors import TensorFields
from ..modules.volume_rendering import activate_density
from .voxel_field import MIN_DENSITY, VoxelField

LEVEL_NAMES = ('fine', 'coarse')
# The color of cells that no pixel shows.
UNSEEN_COLOR = (128, 128, 128)
# A pixel shows a cell if its depth is within this of the cell's center, meters; about half a cell's diagonal.
DEPTH_TOLERANCE = {'fine': 1.0, 'coarse': 2.0}


@dataclass(frozen=True)
class Cells(TensorFields):
    """N cells in the LiDAR frame, meters.

    Cells are cubes in the parameterized space; in the world they are boxes along the axes, the larger the farther
    they are outside the inner range.

    Attributes:
        centers: ``(N, 3)`` the cells' centers.
        corners: ``(N, 8, 3)`` in the order of :data:`..geometry.box_surface.CORNERS`.
        density: ``(N,)`` per meter.
        features: ``(N, 2 * channels)`` voxel features of the fine cell (zero for coarse cells) and of its coarse cell.
    """

    centers: Tensor
    corners: Tensor
    density: Tensor
    features: Tensor

    def __len__(self) -> int:
        return len(self.centers)

    def __getitem__(self, index: Tensor) -> Cells:
        return self.map(lambda tensor: tensor[index])


def occupied_cells(field: VoxelField, level: str = 'fine', min_density: float = MIN_DENSITY) -> Cells:
    """Select the cells of one level whose density is at least ``min_density`` per meter, as rendered.

    Raises:
        ValueError: no such level.
    """
    require_level(level)
    grid, tables = field.grid, field.tables()
    fine = level == 'fine'
    if fine:
        logits = tables.logits[: grid.num_fine]
        features = torch.cat([tables.fine, tables.coarse[grid.parents]], dim=1)
    else:
        logits = tables.logits[grid.num_fine : grid.empty_row]
        features = torch.cat([torch.zeros_like(tables.coarse), tables.coarse], dim=1)
    density = activate_density(logits, field.sampling.density_activation)
    keep = density >= min_density
    number = grid.fine_level if fine else grid.coarse_level
    lower = grid.cells(number)[keep].to(density.dtype)
    steps = lower.new_tensor(CORNERS)

    def to_world(cells: Tensor) -> Tensor:
        return field.space.expand(cells * 2.0 ** (1 - number) - 1)

    # The faces of the cube itself are infinitely far away.
    corners = (lower[:, None] + steps).clamp(0.25, 2**number - 0.25)
    return Cells(to_world(lower + 0.5), to_world(corners), density[keep], features[keep])


def require_level(level: str) -> None:
    """Refuse a level that does not exist.

    Raises:
        ValueError: names the levels.
    """
    if level not in LEVEL_NAMES:
        raise ValueError(f'level is {level!r}: choose one of {", ".join(LEVEL_NAMES)}')


def colors_seen(
    cells: Cells, cameras: Cameras, rgb: Tensor, depth: Tensor, tolerance: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Average, for each cell, the rendered pixels that show it.

    A pixel shows a cell if the cell's center projects into it and is as far away as the rendered depth, within
    ``tolerance`` meters or a tenth of the distance, whichever is more.

    Args:
        cameras: ``(V,)`` cameras of the rendering.
        rgb: ``(V, 3, H, W)`` rendered colors.
        depth: ``(V, h, w)`` rendered distance along the ray, meters.
        tolerance: meters.

    Returns:
        ``(N, 3)`` RGB in [0, 1], and ``(N,)`` bool: seen by any camera. Colors of the others are zero.
    """
    total, count = torch.zeros_like(cells.centers), torch.zeros_like(cells.density)
    pixels, z = cameras.project(cells.centers)
    for camera in range(len(cameras)):
        u, v = (pixels[camera] + 0.5).floor().long().unbind(-1)
        inside = (z[camera] > 0) & (u >= 0) & (u < cameras.width) & (v >= 0) & (v < cameras.height)
        index = inside.nonzero()[:, 0]
        u, v = u[index], v[index]
        distance = (cells.centers[index] - cameras.cam2world[camera, :3, 3]).norm(dim=1)
        rows = (v * depth.shape[1]) // cameras.height
        columns = (u * depth.shape[2]) // cameras.width
        shown = (depth[camera, rows, columns] - distance).abs() <= (distance / 10).clamp_min(tolerance)
        index, u, v = index[shown], u[shown], v[shown]
        total.index_add_(0, index, rgb[camera, :, v, u].T.clamp(0, 1).to(total))
        count.index_add_(0, index, torch.ones_like(count[index]))
    return total / count.clamp_min(1)[:, None], count > 0


def rgb_of_cells(cells: Cells, level: str, cameras: Cameras, rgb: Tensor, depth: Tensor) -> np.ndarray:
    """Color cells by the pixels that show them, ``(N, 3)`` uint8 RGB; :data:`UNSEEN_COLOR` where there are none."""
    colors, seen = colors_seen(cells, cameras, rgb, depth, DEPTH_TOLERANCE[level])
    array = (colors * 255).round().byte().cpu().numpy()
    array[~seen.cpu().numpy()] = UNSEEN_COLOR
    return array
