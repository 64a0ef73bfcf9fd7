"""Which cells a field begins with and which it keeps: LiDAR says what is occupied, free or unknown.

Cells that beams ended in are surfaces; cells that beams only went through are left out; what no beam met, and a camera
sees, is fog: of little density, for the images to fill; of more above what the highest beams hit, as walls go on
upwards. Fog that no pixel needs is dropped before cells are divided. What large cells next to a wall took up in front
of it is fog again when they have been divided, where there is nothing but free space below.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..geometry.cameras import Cameras
from .columns import Columns, above_walls
from .evidence import FREE, OCCUPIED, UNKNOWN, Evidence
from .marching import CHANNELS
from .nested_grid import BLOCK, NestedBoxes, NestedGrid

# Density logits, before their gain, of surfaces, of what may go on above the highest beams, and of fog.
SURFACE, FACADE, FOG = 0.25, -0.25, -3.5
# Cells that lie less than this beside an image, as a share of it, are seen: those around them are mixed in.
MARGIN = 0.1


@dataclass(frozen=True)
class Known:
    """What LiDAR says of cells.

    Attributes:
        evidence: voxels that are known; None without LiDAR.
        columns: the highest of them; None without LiDAR.
    """

    evidence: Evidence | None
    columns: Columns | None

    @classmethod
    def of(cls, evidence: Evidence | None) -> Known:
        """Find the highest voxels of ``evidence``."""
        return cls(evidence, None if evidence is None else Columns.of(evidence))

    def states(self, boxes: NestedBoxes, levels: Tensor, coordinates: Tensor) -> Tensor:
        """Return ``(n,)`` int8 ``OCCUPIED``, ``FREE`` or ``UNKNOWN`` of cells.

        A cell as small as a voxel or smaller is what the voxel at its middle is. A larger one is occupied if a voxel in
        it is, else free if one is. The evidence lies in main memory: cells elsewhere are asked there.
        """
        device = levels.device
        boxes, levels, coordinates = boxes.map(Tensor.cpu), levels.cpu(), coordinates.cpu()
        states = torch.full_like(levels, UNKNOWN, dtype=torch.int8)
        if self.evidence is None:
            return states.to(device)
        for level in range(boxes.levels):
            chosen = levels == level
            size = float(boxes.sizes[level])
            corner, cells = boxes.lower[level].double().numpy(), coordinates[chosen].double().numpy()
            if size <= 1.5 * self.evidence.voxel:
                found = self.evidence.state(corner + (cells + 0.5) * size)
            else:
                found = self.evidence.states_in(corner + cells * size, corner + (cells + 1) * size)
            states[chosen] = torch.from_numpy(found)
        return states.to(device)


def seen(points: Tensor, cameras: Sequence[Cameras], near: float) -> Tensor:
    """Tell which points ``(n, 3)`` lie in the image of a camera, or a little beside it."""
    visible = torch.zeros(len(points), dtype=torch.bool)
    for camera in cameras:
        left = (~visible).nonzero()[:, 0]
        pixels, z = camera.to(torch.float32).project(points[left])
        size = pixels.new_tensor([camera.width, camera.height])
        inside = ((pixels > -MARGIN * size) & (pixels < (1 + MARGIN) * size)).all(-1) & (z > near)
        visible[left[inside.any(0)]] = True
    return visible


def first_cells(
    boxes: NestedBoxes, known: Known, cameras: Sequence[Cameras], near: float, walls: Tensor
) -> tuple[NestedGrid, Tensor]:
    """Choose the cells that a field begins with, and what their vertices begin with.

    Args:
        boxes: of the largest cells.
        known: what LiDAR says.
        cameras: some of the training cameras, which see all that the images see.
        near: what is nearer to a camera is not seen, meters.
        walls: ``(n, 3)`` what the highest beams hit (:func:`.columns.walls_of`).
    """
    levels, coordinates = [], []
    for level in range(boxes.levels):
        axes = [torch.arange(int(count) * BLOCK) for count in boxes.blocks[level]]
        cells = torch.cartesian_prod(*axes)
        centers = boxes.lower[level] + (cells + 0.5) * boxes.sizes[level]
        inner = boxes.level_of(centers) < level
        cells, centers = cells[~inner], centers[~inner]
        state = known.states(boxes, torch.full((len(cells),), level), cells)
        keep = (state == OCCUPIED) | ((state == UNKNOWN) & seen(centers, cameras, near))
        levels.append(torch.full((int(keep.sum()),), level))
        coordinates.append(cells[keep])
    grid = NestedGrid.build(boxes, torch.cat(levels), torch.cat(coordinates))
    values = torch.zeros(grid.num_vertices, CHANNELS)
    values[:, 0] = FOG
    states = known.states(boxes, grid.levels, grid.coordinates)
    raised = (states == UNKNOWN) & above_walls(boxes, grid.levels, grid.coordinates, walls)
    values[grid.vertices[raised].long().flatten(), 0] = FACADE
    occupied = states == OCCUPIED
    values[grid.vertices[occupied].long().flatten(), 0] = SURFACE
    return grid, values


def divide(grid: NestedGrid, values: Tensor, needed: Tensor, known: Known) -> tuple[NestedGrid, Tensor]:
    """Divide the cells that are needed ``(C,)``; leave out children that LiDAR says are free."""
    grid, values = grid.select(needed, values)
    states = known.states(*grid.children())
    keep = states != FREE
    grid, values = grid.refine(keep, values)
    if known.columns is not None:
        # Children keep their order, as boxes ascend.
        solid = (states[keep] != UNKNOWN) | ~known.columns.free_above(grid)
        thin = torch.ones(grid.num_vertices, dtype=torch.bool, device=values.device)
        thin[grid.vertices[solid].long().flatten()] = False
        values[thin, 0] = values[thin, 0].clamp_max(FOG)
    return grid, values


def path_of(cameras: Sequence[Cameras], origins: np.ndarray | None) -> Tensor:
    """Return the positions of cameras and LiDAR, ``(n, 3)``."""
    positions = [camera.cam2world[:, :3, 3].float() for camera in cameras]
    return torch.cat([*positions, *([] if origins is None else [torch.from_numpy(origins).float()])])
