"""What is told of space above all beams, against slow versions."""

from __future__ import annotations

import numpy as np
import torch

from projects.DistillNeRF.scene_nerf.beams import Beams
from projects.DistillNeRF.scene_nerf.columns import Columns, above_walls, walls_of
from projects.DistillNeRF.scene_nerf.evidence import gather_evidence
from projects.DistillNeRF.scene_nerf.nested_grid import NestedBoxes, NestedGrid


def test_walls_that_beams_hit_highest_go_on_above():
    boxes = NestedBoxes.around(torch.zeros(1, 3), 0.5, 2, (4.0, 2.0, 4.0), coarsest=0.5)
    generator = torch.Generator().manual_seed(0)
    walls = torch.randn(40, 3, generator=generator) * 3
    levels = torch.randint(2, (500,), generator=generator)
    coordinates = (torch.rand(500, 3, generator=generator) * 8 * boxes.blocks[levels]).long()
    found = above_walls(boxes, levels, coordinates, walls)
    for cell, level, above in zip(coordinates, levels, found, strict=True):
        corner = boxes.lower[level] + cell * boxes.sizes[level]
        inside = ((walls >= boxes.lower[level]) & (walls < boxes.upper[level])).all(1)
        column = inside & ((walls - corner)[:, :2] >= 0).all(1) & ((walls - corner)[:, :2] < boxes.sizes[level]).all(1)
        assert above == (bool(column.any()) and bool(corner[2] > walls[column, 2].max()))
    assert 5 < found.sum() < 400
    assert not above_walls(boxes, levels, coordinates, torch.zeros(0, 3)).any()
    ends = np.float32([[10, 0, 2], [10, 0, 1.9], [10, 0, 1], [5, 0, -1]])
    beams = Beams(np.zeros((4, 3), np.float32), ends, np.zeros(4, np.int32), np.zeros(1))
    np.testing.assert_array_equal(walls_of(beams).numpy(), ends[:2])
    assert len(walls_of(None)) == 0


def random_columns(seed: int) -> Columns:
    rng = np.random.default_rng(seed)
    tops = rng.integers(-1, 9, (30, 40)).astype(np.int32)
    return Columns(np.array([-4.0, -5.0, -1.0]), 0.25, tops, (tops >= 0) & (rng.random(tops.shape) < 0.02))


def test_the_highest_voxel_of_each_column_is_found():
    rng = np.random.default_rng(0)
    origins = np.zeros((60, 3), np.float32)
    ends = rng.uniform(-6, 6, (60, 3)).astype(np.float32)
    evidence = gather_evidence(Beams(origins, ends, np.zeros(60, np.int32), np.zeros(1)), 0.5)
    columns = Columns.of(evidence)
    known: dict[tuple[int, int], list[tuple[int, bool]]] = {}
    for (x, y, z), hits, _ in zip(*evidence.voxels(), strict=True):
        known.setdefault((x, y), []).append((z, hits > 0))
    assert {tuple(column) for column in np.argwhere(columns.tops >= 0)} == set(known)
    for column, voxels in known.items():
        top = max(z for z, _ in voxels)
        assert columns.tops[column] == top
        # 1.5 m are three voxels.
        assert columns.solid[column] == any(hit for z, hit in voxels if z > top - 3)
    assert 5 < columns.solid.sum() < (columns.tops >= 0).sum() - 5
    assert not columns.solid[columns.tops < 0].any()


def test_space_above_free_columns_is_free():
    columns = random_columns(1)
    boxes = NestedBoxes.around(torch.zeros(1, 3), 0.5, 2, (2.0, 2.0, 2.0), coarsest=0.5)
    cells = [torch.cartesian_prod(*(torch.arange(0, int(n) * 8, 3) for n in blocks)) for blocks in boxes.blocks]
    levels = torch.arange(2).repeat_interleave(torch.tensor([len(x) for x in cells]))
    grid = NestedGrid.build(boxes, levels, torch.cat(cells))
    found = columns.free_above(grid)
    for center, level, free in zip(grid.centers.numpy(), grid.levels, found, strict=True):
        x, y, z = np.floor((center - columns.corner) / columns.voxel).astype(int)
        far = int(np.ceil(float(boxes.sizes[level]) / 2 / columns.voxel))
        inside = 0 <= x < 30 and 0 <= y < 40
        around = columns.solid[max(x - far, 0) : x + far + 1, max(y - far, 0) : y + far + 1]
        assert free == (inside and 0 <= columns.tops[x, y] < z and not around.any())
    assert 20 < found.sum() < len(found) - 20


def test_nothing_is_free_where_nothing_is_known():
    nothing = Columns(np.zeros(3), 0.5, np.zeros((0, 0), np.int32), np.zeros((0, 0), bool))
    boxes = NestedBoxes.around(torch.zeros(1, 3), 0.5, 1, (2.0, 2.0, 2.0), coarsest=0.5)
    for count in (0, 1, 5):
        cells = torch.arange(count)[:, None].expand(-1, 3)
        grid = NestedGrid.build(boxes, torch.zeros(count, dtype=torch.int64), cells)
        assert nothing.free_above(grid).tolist() == [False] * count
