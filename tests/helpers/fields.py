"""Fields made by hand."""

from __future__ import annotations

import torch

from projects.DistillNeRF.scene_nerf.field import SceneField
from projects.DistillNeRF.scene_nerf.marching import CHANNELS, Marching
from projects.DistillNeRF.scene_nerf.nested_grid import NestedBoxes, NestedGrid


def red_block(images: int = 0) -> SceneField:
    """A dense red block of 2 m, 6 to 8 m ahead and 1 m around the axis, in a green sky."""
    boxes = NestedBoxes(torch.tensor([[-8.0, -8, -8]]), torch.tensor([[8.0, 8, 8]]), torch.tensor([1.0]))
    spots = torch.cartesian_prod(torch.tensor([7, 8]), torch.tensor([14, 15]), torch.tensor([7, 8]))
    grid = NestedGrid.build(boxes, torch.zeros(len(spots), dtype=torch.int64), spots)
    values = torch.zeros(grid.num_vertices, CHANNELS)
    values[:, 0], values[:, 1], values[:, 2:4] = 10.0, 6.0, -6.0
    field = SceneField(grid, values, images, Marching())
    with torch.no_grad():
        field.sky[:] = torch.tensor([-6.0, 6, -6])[:, None, None]
    return field.eval()
