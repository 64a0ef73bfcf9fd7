"""The two-level grid against the published vectors and a dictionary of cells."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from projects.DistillNeRF.modules.voxels import VoxelGrid, morton_decode, morton_encode, point_codes
from verification.reference import kernels as reference


def indices_at(grid: VoxelGrid, points: Tensor, level: int) -> Tensor:
    """Index of the occupied cell at each point, -1 for none."""
    rows = grid.rows(points)
    fine = rows < grid.num_fine
    if level == grid.fine_level:
        return torch.where(fine, rows, -1)
    parents = torch.cat([grid.parents, torch.arange(grid.num_coarse, dtype=torch.int32), torch.tensor([-1]).int()])
    return parents[rows.long()]


def random_points(count: int, seed: int) -> Tensor:
    """Points of the cube, some of them on cell borders, corners and outside."""
    generator = torch.Generator().manual_seed(seed)
    points = torch.rand(count, 3, generator=generator) * 2 - 1
    points[: count // 4] = (points[: count // 4] * 8).round() / 8
    points[:4] = torch.tensor([[1.0, 1, 1], [-1, -1, -1], [1, -1, 0], [-1.5, 0, 2]])
    return points


def test_morton_codes_of_random_cells_go_both_ways():
    cells = torch.randint(0, 1024, (500, 3), generator=torch.Generator().manual_seed(0))
    codes = morton_encode(cells)
    assert codes.tolist() == [reference.morton(cell) for cell in cells.tolist()]
    assert morton_decode(codes).tolist() == cells.tolist()


@pytest.mark.parametrize('levels', [(1, 1), (1, 2), (3, 4), (2, 4), (3, 6)])
@pytest.mark.parametrize('count', [5, 400])
def test_random_scenes_equal_dictionaries(levels, count):
    points = random_points(count, seed=count)
    grid, fine_of_point = VoxelGrid.build(point_codes(points, levels[1]), *levels)
    queries = torch.cat([points, random_points(300, seed=1)])
    for level in levels:
        of_point = reference.insertion_cells(points, level)
        cells = reference.number(of_point)
        assert [tuple(cell) for cell in grid.cells(level).tolist()] == list(cells)
        expected = [cells.get(reference.query_cell(q, level), -1) for q in queries.tolist()]
        assert indices_at(grid, queries, level).tolist() == expected
    assert fine_of_point.tolist() == [cells[cell] for cell in of_point]


def test_borders_are_inserted_inwards_and_looked_up_outside():
    """Insertion clamps to the grid, a query does not (docs/NETWORK.md#voxels): s = 1 is stored, but not found."""
    corners = torch.tensor([[1.0, 1, 1], [-1, -1, -1], [7, 0, 0]])
    grid, _ = VoxelGrid.build(point_codes(corners, 3), 1, 3)
    assert grid.cells(3).tolist() == [[0, 0, 0], [7, 4, 4], [7, 7, 7]]
    queries = torch.tensor([[1.0, 1, 1], [-1, -1, -1], [7, 0, 0], [1 - 2**-24, 0.99, 0.8], [-1.0001, -1, -1]])
    assert grid.rows(queries).tolist() == [grid.empty_row, 0, grid.empty_row, 2, grid.empty_row]


@pytest.mark.parametrize('far', [1e4, float('inf'), -float('inf')])
def test_queries_far_outside_hit_nothing(far):
    grid, _ = VoxelGrid.build(point_codes(torch.zeros(1, 3), 9), 7, 9)
    assert grid.rows(torch.tensor([[far, 0.0, 0.0]])).tolist() == [grid.empty_row]


def test_rows_fall_back_to_the_coarse_cell():
    grid, _ = VoxelGrid.build(point_codes(torch.tensor([[0.01, 0.01, 0.01]]), 4), 2, 4)
    queries = torch.tensor([[0.1, 0.1, 0.1], [0.2, 0.1, 0.1], [0.6, 0.1, 0.1]])
    assert grid.rows(queries).tolist() == [0, 1, 2]


def test_an_empty_scene():
    grid, of_point = VoxelGrid.build(torch.zeros(0, dtype=torch.int32), 3, 5)
    assert (grid.num_fine, grid.num_coarse, grid.empty_row, len(of_point)) == (0, 0, 0, 0)
    assert grid.cells(3).shape == grid.cells(5).shape == grid.centers(5).shape == (0, 3)
    assert grid.rows(random_points(10, 0)).tolist() == [0] * 10


def test_centers_lie_in_their_cells():
    points = random_points(50, 0).clamp(-0.999, 0.999)
    grid, _ = VoxelGrid.build(point_codes(points, 5), 3, 5)
    assert indices_at(grid, grid.centers(5), 5).tolist() == list(range(grid.num_fine))
    assert indices_at(grid, grid.centers(3), 3).tolist() == list(range(grid.num_coarse))


def test_rows_work_for_any_leading_shape():
    grid, _ = VoxelGrid.build(point_codes(random_points(50, 0), 4), 2, 4)
    queries = random_points(24, 1)
    assert grid.rows(queries.view(2, 3, 4, 3)).flatten().tolist() == grid.rows(queries).tolist()


def test_codes_by_hand():
    """x is the most significant of the three bits, at every level."""
    cells = torch.tensor([[1, 0, 0], [0, 1, 0], [0, 0, 1], [2, 0, 0], [3, 1, 2], [1023, 1023, 1023]])
    assert morton_encode(cells).tolist() == [4, 2, 1, 32, 32 + 4 + 2 + 8, 2**30 - 1]


def test_cells_of_points_by_hand():
    """Level 2: four cells of 0.5 per axis, from -1 on; a border belongs to the upper cell."""
    points = torch.tensor([[-1.0, -0.5, 0.0], [0.49, 0.5, 0.99], [-0.51, -0.49, 2.0]])
    assert morton_decode(point_codes(points, 2)).tolist() == [[0, 1, 2], [2, 3, 3], [0, 1, 3]]


def test_tables_by_hand():
    """Fine cells 5, 6 (of coarse cell 0) and 63 (of coarse cell 7) of levels 1 and 2."""
    grid, of_point = VoxelGrid.build(torch.tensor([63, 5, 6, 5], dtype=torch.int32), 1, 2)
    assert of_point.tolist() == [2, 0, 1, 0]
    assert grid.coarse_codes.tolist() == [0, 7] and grid.fine_codes.tolist() == [5, 6, 63]
    assert grid.parents.tolist() == [0, 0, 1]
    assert grid.index.tolist() == [0, 2, 2, 2, 2, 2, 2, 1]
    assert grid.leaves.tolist() == [3, 3, 3, 3, 3, 0, 1, 3] + [4] * 7 + [2] + [5] * 8
    assert (grid.num_coarse, grid.num_fine, grid.empty_row) == (2, 3, 5)
    assert grid.rows_of_codes(torch.tensor([[5, 4], [63, 8]], dtype=torch.int32)).tolist() == [[0, 3], [2, 5]]
    assert grid.centers(1).tolist() == [[-0.5] * 3, [0.5] * 3]
    assert grid.centers(2).tolist() == [[-0.25, -0.75, -0.25], [-0.25, -0.25, -0.75], [0.75] * 3]
    assert grid.cells(2).tolist() == [[1, 0, 1], [1, 1, 0], [3, 3, 3]]


def test_cells_of_codes_of_any_shape():
    codes = torch.tensor([[4, 2], [1, 32]])
    assert morton_decode(codes).tolist() == [[[1, 0, 0], [0, 1, 0]], [[0, 0, 1], [2, 0, 0]]]
