"""Scenes whose every cell is known."""

from __future__ import annotations

import torch
from torch import Tensor

from projects.DistillNeRF.geometry.contraction import ParameterizedSpace
from projects.DistillNeRF.geometry.views import Views
from projects.DistillNeRF.models.scene import Scene
from projects.DistillNeRF.modules.heads import build_head
from projects.DistillNeRF.modules.renderer import RaySampling
from projects.DistillNeRF.modules.voxels import VoxelGrid, point_codes
from tests.helpers.cameras import level_cameras
from tests.helpers.views import make_views

# Images of the pictures of voxels.
HEIGHT, WIDTH = 24, 40
# The street of the viewer's tests: where its wall begins, and the channels of its voxels.
WALL = 20.0
CHANNELS = 16


def scene_at(
    points: Tensor,
    features: Tensor,
    logits: Tensor | float = 3.0,
    *,
    coarse: tuple[float, float] = (0.0, -10.0),
    levels: tuple[int, int] = (6, 8),
    space: ParameterizedSpace | None = None,
    sampling: RaySampling | None = None,
    downscale: int = 1,
    head: str = 'feature',
    **settings: object,
) -> Scene:
    """Return a scene of one fine cell per point; the weights of its head are always the same.

    Args:
        points: ``(P, 3)`` in the world.
        features: ``(P, C)`` or ``(C,)`` of their fine cells.
        logits: ``(P,)`` or one number: their logits of density.
        coarse: value of all coarse features, and logit of the density of coarse cells.
        levels: coarse and fine level.
        space, sampling: ``None`` for the usual ones.
        downscale: image size over render size.
        head: name of the head.
        settings: of the head.
    """
    space = space or ParameterizedSpace()
    channels = features.shape[-1]
    torch.manual_seed(0)
    grid, cell = VoxelGrid.build(point_codes(space.contract(points), levels[1]), *levels)
    fine = points.new_zeros(grid.num_fine, channels + 1)
    fine[cell.long(), :channels] = features
    fine[cell.long(), channels] = torch.as_tensor(logits, dtype=points.dtype, device=points.device)
    thin = points.new_full((grid.num_coarse, channels + 1), coarse[0])
    thin[:, channels] = coarse[1]
    made = build_head(head, channels, **settings).to(points)
    return Scene(grid, thin, fine, space, sampling or RaySampling(), made, downscale)


def numbered_cells(points: Tensor, head: str = 'feature', logit: float = 6.0, **settings: object) -> Scene:
    """Return a scene of one dense fine cell, a cube of 3.9 m, per point ``(P, 3)``.

    Its features are its number n, counted from 1: (n, -n, n / 2, 0).
    """
    features = torch.arange(1.0, len(points) + 1)[:, None] * torch.tensor([1.0, -1.0, 0.5, 0.0])
    space = ParameterizedSpace(step=0.5, inner_range_z=50.0)
    return scene_at(points, features, logit, coarse=(0.0, -9.0), levels=(3, 5), space=space, head=head, **settings)


def logit_cells(points: Tensor, logits: Tensor, levels: tuple[int, int] = (6, 8)) -> Scene:
    """Return a scene of one fine cell per point ``(P, 3)`` with that logit of density; its features are its number."""
    features = torch.arange(1.0, len(points) + 1)[:, None].expand(-1, 4)
    return scene_at(points, features, logits, coarse=(0.5, 0.5), levels=levels)


def front_and_back() -> Views:
    """Return views of a camera that looks forward and of one that looks back, both at the origin."""
    return make_views(level_cameras((0.0, 180.0), HEIGHT, WIDTH), names=('FRONT', 'BACK'))


def street(head: str = 'color', **settings: object) -> Scene:
    """Return a scene of a wall and of a street; features differ from cell to cell.

    The wall begins at y = 20 m, is thicker than the steps of a ray, and goes from the left to x = 10 m; the street lies
    1.6 m below. Space and sampling are those of the small network of MiniTown.
    """
    space = ParameterizedSpace(inner_range=50.0, inner_range_z=6.4, near=0.5, step=1.2)
    sampling = RaySampling(fine_samples=16, fine_step=0.2)
    torch.manual_seed(0)
    wall = torch.cartesian_prod(
        torch.arange(-30, 10, 0.3), torch.arange(WALL, WALL + 2, 0.3), torch.arange(-1.6, 5, 0.04)
    )
    ground = torch.cartesian_prod(torch.arange(-30, 30, 0.3), torch.arange(-30, 30, 0.3), torch.tensor([-1.6]))
    grid, _ = VoxelGrid.build(point_codes(space.contract(torch.cat([wall, ground])), 8), 6, 8)
    fine, coarse = torch.rand(grid.num_fine, CHANNELS + 1), torch.rand(grid.num_coarse, CHANNELS + 1)
    fine[:, -1], coarse[:, -1] = 3.0, -10.0
    settings = settings or ({'width': 64, 'num_layers': 2} if head == 'color' else {'out_channels': 64})
    return Scene(grid, coarse, fine, space, sampling, build_head(head, CHANNELS, **settings).eval(), 2)
