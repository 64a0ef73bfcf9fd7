"""Scenes whose every cell is known, and cameras that look at them."""

from __future__ import annotations

import torch

from projects.DistillNeRF.geometry.cameras import Cameras
from projects.DistillNeRF.geometry.contraction import ParameterizedSpace
from projects.DistillNeRF.geometry.views import Views
from projects.DistillNeRF.models.scene import Scene
from projects.DistillNeRF.modules.heads import build_head
from projects.DistillNeRF.modules.renderer import RaySampling
from projects.DistillNeRF.modules.voxels import VoxelGrid, point_codes

HEIGHT, WIDTH = 24, 40
# Columns: the camera's x (right), y (down) and z (forward) in the world.
FORWARD = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])
BACKWARD = torch.tensor([[-1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, -1.0, 0.0]])


def scene_of(points: torch.Tensor, head: str = 'feature', logit: float = 6.0, **settings) -> Scene:
    """One dense fine cell, a cube of 3.9 m, per point ``(P, 3)`` with its number, from 1 on, as feature."""
    space = ParameterizedSpace(step=0.5, inner_range_z=50.0)
    grid, cell = VoxelGrid.build(point_codes(space.contract(points), 5), 3, 5)
    fine = torch.zeros(grid.num_fine, 5)
    fine[cell.long(), :4] = torch.arange(1.0, len(points) + 1)[:, None] * torch.tensor([1.0, -1.0, 0.5, 0.0])
    fine[cell.long(), 4] = logit
    coarse = torch.zeros(grid.num_coarse, 5)
    coarse[:, 4] = -9.0
    torch.manual_seed(0)
    made = build_head(head, 4, **settings)
    return Scene(grid, coarse, fine, space, RaySampling(), made, 1)


def front_and_back() -> Views:
    """A camera that looks forward and one that looks back, both at the origin."""
    poses = torch.eye(4).repeat(2, 1, 1)
    poses[0, :3, :3], poses[1, :3, :3] = FORWARD, BACKWARD
    intrinsics = torch.tensor([[20.0, 0.0, 19.5], [0.0, 20.0, 11.5], [0.0, 0.0, 1.0]]).repeat(2, 1, 1)
    images = torch.rand(2, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))
    return Views(images, Cameras(intrinsics, poses, HEIGHT, WIDTH), ('FRONT', 'BACK'), (0, 0))
