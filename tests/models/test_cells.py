"""Cells of a scene as boxes in the world."""

from __future__ import annotations

import pytest
import torch

from projects.DistillNeRF.geometry.box_surface import CORNERS
from projects.DistillNeRF.geometry.cameras import Cameras
from projects.DistillNeRF.models.cells import Cells, colors_seen, occupied_cells
from tests.helpers.cameras import facing, level_cameras, pinhole
from tests.helpers.scenes import logit_cells

POINTS = torch.tensor([[3.0, 10.0, 0.5], [-20.0, 4.0, 2.0], [70.0, -90.0, 9.0]])


def test_a_cell_lies_around_its_point():
    cells = occupied_cells(logit_cells(POINTS, torch.ones(3)))
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
    scene = logit_cells(POINTS, torch.tensor([1.0, -3.0, 1.0]))
    assert sorted(occupied_cells(scene, min_density=0.5).features[:, 0].tolist()) == [1, 3]
    assert len(occupied_cells(scene, min_density=5.0)) == 0


def test_coarse_cells_hold_the_fine_ones():
    scene = logit_cells(POINTS, torch.ones(3))
    fine, coarse = occupied_cells(scene, 'fine'), occupied_cells(scene, 'coarse')
    assert len(coarse) == 3
    inside = (coarse.corners[None, :, 0] <= fine.centers[:, None]) & (
        fine.centers[:, None] <= coarse.corners[None, :, 7]
    )
    assert inside.all(-1).any(1).all()


def test_corners_of_the_outermost_cells_are_finite():
    cells = occupied_cells(logit_cells(torch.tensor([[1e6, 0.0, 0.0]]), torch.ones(1)))
    assert cells.corners.isfinite().all()


def test_unknown_level():
    with pytest.raises(ValueError, match='fine, coarse'):
        occupied_cells(logit_cells(POINTS, torch.ones(3)), 'middle')


def test_a_cell_has_the_color_of_the_pixel_that_shows_it():
    # A camera at the origin that looks along +y (world), its x to the right: the first point is right of the middle.
    cameras = Cameras(pinhole(20.0, (20, 10)), torch.eye(4)[None], 20, 40)
    cameras.cam2world[0, :3, :3] = facing()
    cells = occupied_cells(logit_cells(POINTS, torch.ones(3)))
    first = int((cells.features[:, 0] == 1).nonzero())
    image = torch.zeros(1, 3, 20, 40)
    u, v = cameras.project(cells.centers)[0][0, first].round().long().tolist()
    assert u > 20 and v < 10  # to the right and above
    image[0, :, v, u] = torch.tensor([0.25, 0.5, 0.75])
    distance = cells.centers[first].norm()
    colors, seen = colors_seen(cells, cameras, image, torch.full((1, 10, 20), float(distance)))
    assert seen.tolist() == [i == first for i in range(3)]
    assert colors[first].tolist() == [0.25, 0.5, 0.75]
    _, seen = colors_seen(cells, cameras, image, torch.full((1, 10, 20), float(distance) + 3))
    assert not seen.any()


def test_cells_of_the_inner_range_by_hand():
    """Level 3: 8 cells over 2 / 0.8 * 50 m = 125 m in x and y, over 16 m in z."""
    scene = logit_cells(torch.tensor([[1.0, -20.0, 1.0]]), torch.tensor([2.0]), (2, 3))
    cells = occupied_cells(scene)
    lower, upper = torch.tensor([0.0, -31.25, 0.0]), torch.tensor([15.625, -15.625, 2.0])
    torch.testing.assert_close(cells.centers, ((lower + upper) / 2)[None])
    expected = [[(upper if bit else lower)[axis] for axis, bit in enumerate(corner)] for corner in CORNERS]
    torch.testing.assert_close(cells.corners[0], torch.tensor(expected))
    torch.testing.assert_close(cells.features, torch.tensor([[1.0] * 4 + [0.5] * 4]))
    torch.testing.assert_close(cells.density, torch.exp(10 * torch.tanh(torch.tensor([0.2])) - 1))
    coarse = occupied_cells(scene, 'coarse')
    # Its density is exp(0.5 - 1) = 0.6 per meter; there is no fine cell to have features.
    torch.testing.assert_close(coarse.features, torch.tensor([[0.0] * 4 + [0.5] * 4]))
    torch.testing.assert_close(coarse.density, torch.tensor([0.6065]), atol=1e-3, rtol=0)
    torch.testing.assert_close(coarse.corners[0, 7] - coarse.corners[0, 0], torch.tensor([31.25, 31.25, 4.0]))


def test_the_corners_of_the_cube_are_drawn_a_quarter_of_a_cell_inside():
    scene = logit_cells(torch.tensor([[1e6, -1e6, 0.1]]), torch.ones(1), (2, 3))
    corners = occupied_cells(scene).corners[0]
    inside = scene.space.contract(corners)
    torch.testing.assert_close(inside[7, 0], torch.tensor(1 - 0.25 / 4), atol=1e-4, rtol=0)
    torch.testing.assert_close(inside[0, 1], torch.tensor(-1 + 0.25 / 4), atol=1e-4, rtol=0)


def ahead(height: int = 10, width: int = 20, count: int = 1) -> Cameras:
    """Cameras at the origin that look along +y; one pixel is a tenth of the depth."""
    return level_cameras((0.0,) * count, height, width)


def points(*positions: tuple[float, float, float]) -> Cells:
    centers = torch.tensor(positions)
    return Cells(centers, centers[:, None].expand(-1, 8, 3), torch.ones(len(centers)), torch.zeros(len(centers), 2))


def test_colors_are_the_mean_of_the_cameras_that_show_a_cell():
    images = torch.zeros(3, 3, 10, 20)
    images[0], images[1], images[2] = 0.2, 0.6, 5.0
    depth = torch.full((3, 5, 10), 10.0)
    depth[2] = 30.0
    colors, seen = colors_seen(points((0.0, 10.0, 0.0)), ahead(count=3), images, depth)
    assert seen.tolist() == [True]
    torch.testing.assert_close(colors, torch.full((1, 3), 0.4))
    depth[2] = 10.0
    colors, _ = colors_seen(points((0.0, 10.0, 0.0)), ahead(count=3), images, depth)
    torch.testing.assert_close(colors, torch.full((1, 3), (0.2 + 0.6 + 1.0) / 3))


@pytest.mark.parametrize(
    ('distance', 'tolerance', 'off', 'shown'),
    [
        (5.0, 1.0, 0.9, True),
        (5.0, 1.0, 1.1, False),
        (5.0, 2.0, 1.9, True),
        (30.0, 1.0, 2.9, True),
        (30.0, 1.0, 3.1, False),
    ],
)
def test_a_pixel_shows_what_is_within_a_meter_or_a_tenth_of_the_distance(distance, tolerance, off, shown):
    for sign in (-1, 1):
        depth = torch.full((1, 10, 20), distance + sign * off)
        seen = colors_seen(points((0.0, distance, 0.0)), ahead(), torch.zeros(1, 3, 10, 20), depth, tolerance)[1]
        assert seen.tolist() == [shown]


def test_pixels_are_those_into_which_centers_project():
    """Row 2, column 15 is 5.5 pixels to the right and 2.5 up; depth maps of half the size hold it in (1, 7)."""
    cells = points((5.6, 10.0, 2.6), (0.0, -10.0, 0.0), (10.1, 10.0, 0.0), (-10.1, 10.0, 0.0), (0.0, 10.0, 5.1))
    image, depth = torch.zeros(1, 3, 10, 20), torch.full((1, 5, 10), 99.0)
    image[0, :, 2, 15] = torch.tensor([0.1, 0.2, 0.3])
    depth[0, 1, 7] = cells.centers[0].norm()
    colors, seen = colors_seen(cells, ahead(), image, depth)
    assert seen.tolist() == [True, False, False, False, False]
    torch.testing.assert_close(colors[0], torch.tensor([0.1, 0.2, 0.3]))
    # Behind and beside the image nothing is seen even if the depth fits.
    everywhere = torch.full((1, 5, 10), 10.0)
    assert colors_seen(cells[torch.tensor([1])], ahead(), image, everywhere)[1].tolist() == [False]
    assert not colors_seen(cells[torch.tensor([2, 3, 4])], ahead(), image, torch.full((1, 5, 10), 13.0), 9.0)[1].any()
