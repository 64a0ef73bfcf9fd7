"""Cells of a scene as boxes in the world."""

from __future__ import annotations

import pytest
import torch

from projects.DistillNeRF.models.cells import CORNERS, colours_seen, occupied_cells
from projects.DistillNeRF.models.scene import Rendering, Scene
from projects.DistillNeRF.modules.cameras import Cameras
from projects.DistillNeRF.modules.heads import build_head
from projects.DistillNeRF.modules.renderer import RaySampling
from projects.DistillNeRF.modules.space import ParameterizedSpace
from projects.DistillNeRF.modules.voxels import VoxelGrid, point_codes

POINTS = torch.tensor([[3.0, 10.0, 0.5], [-20.0, 4.0, 2.0], [70.0, -90.0, 9.0]])


def scene_of(points: torch.Tensor, logits: torch.Tensor, levels: tuple[int, int] = (6, 8)) -> Scene:
    """One fine cell per point, with that density logit and its number as feature."""
    space = ParameterizedSpace()
    grid, cell = VoxelGrid.build(point_codes(space.contract(points), levels[1]), *levels)
    fine = torch.zeros(grid.num_fine, 5)
    fine[cell.long(), :4] = torch.arange(1.0, len(points) + 1)[:, None]
    fine[cell.long(), 4] = logits
    coarse = torch.full((grid.num_coarse, 5), 0.5)
    return Scene(grid, coarse, fine, space, RaySampling(), build_head('feature', 4), 1)


def test_a_cell_lies_around_its_point():
    cells = occupied_cells(scene_of(POINTS, torch.ones(3)))
    order = cells.features[:, 0].argsort()
    cells = cells[order]
    assert len(cells) == 3
    lower, upper = cells.corners[:, CORNERS.index((0, 0, 0))], cells.corners[:, CORNERS.index((1, 1, 1))]
    assert ((lower <= POINTS) & (upper >= POINTS)).all()
    assert ((lower < cells.centers) & (cells.centers < upper)).all()
    # Inside, 256 cells over 2 / 0.8 * 50 m; outside they grow.
    assert upper[0, 0] - lower[0, 0] == pytest.approx(125 / 256, rel=1e-4)
    assert upper[2, 1] - lower[2, 1] > 2 * 125 / 256
    clamped = 10 * torch.tanh(torch.full((3,), 0.1))
    torch.testing.assert_close(cells.density, torch.exp(clamped - 1))
    assert (cells.features[:, 4:] == 0.5).all()


def test_thin_cells_are_left_out():
    scene = scene_of(POINTS, torch.tensor([1.0, -3.0, 1.0]))
    assert sorted(occupied_cells(scene, min_density=0.5).features[:, 0].tolist()) == [1, 3]
    assert len(occupied_cells(scene, min_density=5.0)) == 0


def test_coarse_cells_hold_the_fine_ones():
    scene = scene_of(POINTS, torch.ones(3))
    fine, coarse = occupied_cells(scene, 'fine'), occupied_cells(scene, 'coarse')
    assert len(coarse) == 3
    inside = (coarse.corners[None, :, 0] <= fine.centers[:, None]) & (
        fine.centers[:, None] <= coarse.corners[None, :, 7]
    )
    assert inside.all(-1).any(1).all()


def test_corners_of_the_outermost_cells_are_finite():
    cells = occupied_cells(scene_of(torch.tensor([[1e6, 0.0, 0.0]]), torch.ones(1)))
    assert cells.corners.isfinite().all()


def test_unknown_level():
    with pytest.raises(ValueError, match='coarse, fine'):
        occupied_cells(scene_of(POINTS, torch.ones(3)), 'middle')


def test_a_cell_has_the_colour_of_the_pixel_that_shows_it():
    # A camera at the origin that looks along +y (world), its x to the right: the first point is right of the middle.
    cam2world = torch.eye(4)
    cam2world[:3, :3] = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])
    intrinsics = torch.tensor([[20.0, 0.0, 20.0], [0.0, 20.0, 10.0], [0.0, 0.0, 1.0]])
    cameras = Cameras(intrinsics[None], cam2world[None], 20, 40)
    cells = occupied_cells(scene_of(POINTS, torch.ones(3)))
    first = int((cells.features[:, 0] == 1).nonzero())
    image = torch.zeros(1, 3, 20, 40)
    u, v = cameras.project(cells.centers)[0][0, first].round().long().tolist()
    assert u > 20 and v < 10  # to the right and above
    image[0, :, v, u] = torch.tensor([0.25, 0.5, 0.75])
    distance = cells.centers[first].norm()
    maps = {'opacity': None, 'weights': None, 'depths': None}
    colours, seen = colours_seen(cells, cameras, Rendering(image, torch.full((1, 10, 20), float(distance)), **maps))
    assert seen.tolist() == [i == first for i in range(3)]
    assert colours[first].tolist() == [0.25, 0.5, 0.75]
    _, seen = colours_seen(cells, cameras, Rendering(image, torch.full((1, 10, 20), float(distance) + 3), **maps))
    assert not seen.any()
