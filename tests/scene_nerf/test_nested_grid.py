"""Cells of nested boxes: which cell a point lies in, shared vertices, selection and refinement."""

from __future__ import annotations

import math

import pytest
import torch

from projects.DistillNeRF.scene_nerf.nested_grid import BLOCK, NestedBoxes, NestedGrid, corner_weights

PATH = torch.tensor([[0.0, 0.0, 0.0], [3.0, 20.0, 0.5]])


def boxes(size: float = 0.5) -> NestedBoxes:
    return NestedBoxes.around(PATH, size, 3, (6.0, 2.0, 4.0), coarsest=1.0).to(torch.float64)


def grid(count: int = 400, seed: int = 0) -> NestedGrid:
    generator = torch.Generator().manual_seed(seed)
    points = torch.rand(count, 3, generator=generator, dtype=torch.float64) * torch.tensor([40.0, 60, 14]) - 10
    levels = boxes().level_of(points)
    inside = levels < 3
    levels, points = levels[inside], points[inside]
    positions = ((points - boxes().lower[levels]) / boxes().sizes[levels][:, None]).floor().long()
    cells = torch.cat([levels[:, None], positions], 1).unique(dim=0)
    return NestedGrid.build(boxes(), cells[:, 0], cells[:, 1:])


def test_boxes_are_nested_whole_and_the_same_for_all_sizes():
    made = boxes()
    assert (made.lower[1:] <= made.lower[:-1]).all() and (made.upper[1:] >= made.upper[:-1]).all()
    assert (made.lower[0] <= PATH.amin(0) - torch.tensor([6.0, 6, 2])).all()
    assert (made.upper[0] >= PATH.amax(0) + torch.tensor([6.0, 6, 4])).all()
    whole = (made.upper - made.lower) / (8 * made.sizes[:, None])
    torch.testing.assert_close(whole, whole.round())
    # The border of a box lies between cells of the next one.
    aligned = (made.lower[:-1] - made.lower[1:]) / made.sizes[1:, None]
    torch.testing.assert_close(aligned, aligned.round())
    for size in (1.0, 0.25):
        torch.testing.assert_close(boxes(size).lower, made.lower)


def test_the_innermost_box_counts():
    points = torch.tensor([[1.0, 10, 1], [25.0, 10, 1], [500.0, 0, 0]], dtype=torch.float64)
    assert boxes().level_of(points).tolist() == [0, 2, 3]


def test_cells_are_found_where_they_are_and_nowhere_else():
    made = grid()
    found, inner = made.find(made.levels, made.coordinates + 0.25)
    assert torch.equal(found, torch.arange(len(made)))
    torch.testing.assert_close(inner, torch.full_like(inner, 0.25))
    generator = torch.Generator().manual_seed(3)
    near = torch.randint(len(made), (2000,), generator=generator)
    places = made.coordinates[near] + 3 * torch.rand(2000, 3, generator=generator, dtype=torch.float64) - 1
    levels = made.levels[near]
    found, _ = made.find(levels, places)
    cells = [(int(level), *cell) for level, cell in zip(made.levels, made.coordinates.tolist(), strict=True)]
    there = {cell: index for index, cell in enumerate(cells)}
    asked = zip(levels.tolist(), places.floor().long().tolist(), strict=True)
    expected = [there.get((level, *cell), -1) for level, cell in asked]
    assert found.tolist() == expected
    assert 50 < sum(index < 0 for index in expected) < 1950


def test_neighbors_share_vertices_within_a_box_alone():
    made = NestedGrid.build(boxes(), torch.tensor([0, 0, 1]), torch.tensor([[0, 0, 0], [0, 0, 1], [0, 0, 0]]))
    assert made.num_vertices == 12 + 8
    first, second, third = (set(row) for row in made.vertices.tolist())
    assert len(first & second) == 4 and not third & (first | second)


@pytest.mark.parametrize('count', [0, 1])
def test_few_cells(count):
    made = NestedGrid.build(boxes(), torch.zeros(count, dtype=torch.int64), torch.zeros(count, 3, dtype=torch.int64))
    assert len(made) == count and made.num_vertices == 8 * count
    assert made.find(torch.tensor([0]), torch.tensor([[0.5, 0.5, 0.5]]).double())[0].tolist() == [count - 1]


def test_empty_blocks_tell_how_far_the_nearest_occupied_one_is():
    generator = torch.Generator().manual_seed(4)
    wide = NestedBoxes(
        torch.zeros(3, 3), torch.tensor([[28.0, 20, 12], [28, 8, 8], [16, 24, 8]]), torch.full((3,), 0.5)
    )
    cells = (torch.rand(2, 3, generator=generator) * 8 * wide.blocks[0]).long()
    made = NestedGrid.build(wide, torch.tensor([0, 0, 2]), torch.cat([cells, torch.tensor([[3, 40, 9]])]))
    for level, start in enumerate(made.block_starts[:-1].tolist()):
        side = wide.blocks[level].tolist()
        table = made.blocks[start : start + math.prod(side)]
        occupied = made.coordinates[made.levels == level] // BLOCK
        places = torch.cartesian_prod(*[torch.arange(n) for n in side])
        away = (places[:, None] - occupied).abs().amax(-1)
        away = away.amin(1) if len(occupied) else torch.full((len(places),), max(side))
        assert torch.equal(table < 0, away > 0) and torch.equal(-table[away > 0], away[away > 0].int())
    assert sorted(made.blocks[made.blocks >= 0].tolist()) == list(range(len(made.leaves))) == [0, 1, 2]


def positions(made: NestedGrid) -> torch.Tensor:
    """Positions of the vertices, meters."""
    corners = torch.tensor([(x, y, z) for x in (0, 1) for y in (0, 1) for z in (0, 1)], dtype=torch.float64)
    places = made.boxes.lower[made.levels][:, None] + (made.coordinates[:, None] + corners) * made.boxes.sizes[
        made.levels
    ].view(-1, 1, 1)
    where = torch.zeros(made.num_vertices, 3, dtype=torch.float64)
    where[made.vertices.long()] = places
    return where


def linear(where: torch.Tensor) -> torch.Tensor:
    """A value that trilinear mixing reproduces everywhere."""
    return torch.stack([where @ torch.tensor([1.0, -2, 0.5]).double() + 3, where[:, 0] * where[:, 1] * where[:, 2]], 1)


def test_selection_keeps_the_values_of_what_is_left():
    made = grid()
    keep = torch.arange(len(made)) % 3 > 0
    less, values = made.select(keep, linear(positions(made)))
    assert len(less) == int(keep.sum())
    torch.testing.assert_close(values, linear(positions(less)))


def test_refinement_mixes_the_values_of_the_parents():
    made = grid()
    keep = torch.rand(8 * len(made), generator=torch.Generator().manual_seed(1)) < 0.4
    fine, values = made.refine(keep, linear(positions(made)))
    assert len(fine) == int(keep.sum())
    torch.testing.assert_close(fine.boxes.sizes, made.boxes.sizes / 2)
    torch.testing.assert_close(values, linear(positions(fine)))
    _, levels, coordinates = made.children()
    assert torch.equal(fine.levels, levels[keep]) and torch.equal(fine.coordinates, coordinates[keep])


def test_weights_of_corners():
    inner = torch.rand(50, 3, dtype=torch.float64)
    weights = corner_weights(inner)
    corners = torch.tensor([(x, y, z) for x in (0, 1) for y in (0, 1) for z in (0, 1)], dtype=torch.float64)
    torch.testing.assert_close(weights @ corners, inner)
    torch.testing.assert_close(weights.sum(1), torch.ones(50, dtype=torch.float64))


def test_cells_beside_chosen_ones_share_a_vertex():
    made = NestedGrid.build(boxes(), *dense_cells())
    chosen = torch.zeros(len(made), dtype=torch.bool)
    chosen[[5, 200]] = True
    found = made.beside(chosen)
    apart = (made.coordinates[:, None] - made.coordinates[chosen]).abs().amax(2)
    same = made.levels[:, None] == made.levels[chosen]
    assert torch.equal(found, ((apart <= 1) & same).any(1))
    assert 8 < found.sum() <= 54
    assert not made.beside(torch.zeros(len(made), dtype=torch.bool)).any()


def dense_cells() -> tuple[torch.Tensor, torch.Tensor]:
    """All cells of a block of each of two boxes."""
    cells = torch.cartesian_prod(*3 * [torch.arange(6)])
    return torch.arange(2).repeat_interleave(len(cells)), cells.repeat(2, 1)
