"""A scene of known geometry, made by hand: a wall and a street ahead of the car."""

from __future__ import annotations

import torch

from projects.DistillNeRF.geometry.contraction import ParameterizedSpace
from projects.DistillNeRF.models.scene import Scene
from projects.DistillNeRF.modules.heads import build_head
from projects.DistillNeRF.modules.renderer import RaySampling
from projects.DistillNeRF.modules.voxels import VoxelGrid, point_codes

# As the small network of MiniTown.
SPACE = ParameterizedSpace(inner_range=50.0, inner_range_z=6.4, near=0.5, step=1.2)
SAMPLING = RaySampling(fine_samples=16, fine_step=0.2)
CHANNELS = 16
WALL = 20.0


def make_scene(head: str = 'color', **settings) -> Scene:
    """A wall from y = 20 m on, thicker than the steps of a ray, from the left to x = 10 m, and a street 1.6 m below.

    Features differ from cell to cell.
    """
    torch.manual_seed(0)
    wall = torch.cartesian_prod(
        torch.arange(-30, 10, 0.3), torch.arange(WALL, WALL + 2, 0.3), torch.arange(-1.6, 5, 0.04)
    )
    street = torch.cartesian_prod(torch.arange(-30, 30, 0.3), torch.arange(-30, 30, 0.3), torch.tensor([-1.6]))
    grid, _ = VoxelGrid.build(point_codes(SPACE.contract(torch.cat([wall, street])), 8), 6, 8)
    fine, coarse = torch.rand(grid.num_fine, CHANNELS + 1), torch.rand(grid.num_coarse, CHANNELS + 1)
    fine[:, -1], coarse[:, -1] = 3.0, -10.0
    settings = settings or ({'width': 64, 'num_layers': 2} if head == 'color' else {'out_channels': 64})
    return Scene(grid, coarse, fine, SPACE, SAMPLING, build_head(head, CHANNELS, **settings).eval(), 2)
