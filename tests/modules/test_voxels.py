"""The two-level grid against the published vectors and a dictionary of cells."""

from __future__ import annotations

import itertools

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


@pytest.mark.parametrize('neighbors', [2, 6, 26])
@pytest.mark.parametrize('levels', [(1, 1), (2, 3), (3, 5)])
def test_grown_grids_equal_dictionaries(neighbors, levels):
    """Count cells within a step of each other one by one; a query finds the fine cell, else the coarse one."""
    points = random_points(12, seed=2)
    grid, _ = VoxelGrid.build(point_codes(points, levels[1]), *levels)
    grown, places = grid.with_coarse(grid.beside(neighbors))
    former = {tuple(cell) for cell in grid.cells(levels[0]).tolist()}

    def is_beside(cell: tuple[int, ...], other: tuple[int, ...]) -> bool:
        x, y, z = (abs(a - b) for a, b in zip(cell, other, strict=True))
        return {2: (x, y) == (0, 0) and z <= 1, 6: x + y + z <= 1, 26: max(x, y, z) <= 1}[neighbors]

    every = itertools.product(range(2 ** levels[0]), repeat=3)
    expected = {cell for cell in every if any(is_beside(cell, other) for other in former)}
    found = [tuple(cell) for cell in grown.cells(levels[0]).tolist()]
    assert set(found) == expected and len(found) == len(expected) > len(former)
    assert found == sorted(found, key=reference.morton)
    assert grown.cells(levels[0])[places.long()].tolist() == grid.cells(levels[0]).tolist()
    assert torch.equal(grown.fine_codes, grid.fine_codes)
    assert torch.equal(grown.coarse_codes[grown.parents.long()], grid.coarse_codes[grid.parents.long()])

    queries = torch.cat([points, random_points(300, seed=1)])
    rows, fine, coarse = (values.tolist() for values in (grown.rows(queries), grid.rows(queries), queries))
    for row, before, query in zip(rows, fine, coarse, strict=True):
        cell = reference.query_cell(query, levels[0])
        if before < grid.num_fine:
            assert row == before
        else:
            assert row == (grown.num_fine + found.index(cell) if cell in expected else grown.empty_row)


def test_more_coarse_cells_are_those_of_points_without_their_fine_ones():
    few, more = random_points(20, seed=3), random_points(60, seed=4)
    grid, _ = VoxelGrid.build(point_codes(few, 5), 3, 5)
    both, _ = VoxelGrid.build(point_codes(torch.cat([few, more]), 5), 3, 5)
    grown, _ = grid.with_coarse(point_codes(more, 3))
    assert torch.equal(grown.coarse_codes, both.coarse_codes) and torch.equal(grown.index, both.index)
    again, places = grid.with_coarse(grid.coarse_codes[:0])
    assert places.tolist() == list(range(grid.num_coarse)) and torch.equal(again.leaves, grid.leaves)
    nothing, _ = VoxelGrid.build(torch.zeros(0, dtype=torch.int32), 3, 5)
    assert len(nothing.beside(26)) == 0 and nothing.with_coarse(nothing.beside(26))[0].num_coarse == 0


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
