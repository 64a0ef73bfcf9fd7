"""The lattice on which occupancy is asked for, and what becomes of its answers."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from projects.DistillNeRF.models.voxel_field import VoxelField


class Grid:
    """A grid in which row 1 is filled and row 0 is empty; remembers what it is asked."""

    def __init__(self, level: int, filled) -> None:
        self.fine_level, self.filled, self.asked = level, filled, []

    def rows_at(self, axes: list[Tensor]) -> Tensor:
        self.asked.append([axis.flatten().tolist() for axis in axes])
        x, y, z = torch.broadcast_tensors(*axes)
        return self.filled(x, y, z).long()


def scene(filled=lambda x, y, z: x > 1e9, level: int = 3, logit: float = 1.0, activation: str = 'exp'):
    """A scene whose world is its cube, with two rows of density 0 and exp(logit - 1)."""
    space = SimpleNamespace(
        inner_range=8.0, inner_range_z=2.0, contract_ratio=0.5, contract_axes=lambda axes: list(axes)
    )
    tables = SimpleNamespace(logits=torch.tensor([-30.0, logit]))
    sampling = SimpleNamespace(density_activation=activation)
    field = VoxelField(Grid(level, filled), None, torch.zeros(1), space, sampling)
    object.__setattr__(field, 'tables', lambda: tables)
    return field


def test_sample_points_are_the_middles_of_equal_parts_of_the_voxels():
    """Fine cells are 8 / (4 * 0.5) = 4 m in x and y, 1 m in z: two points a voxel of 2 m there, two in z."""
    made = scene()
    assert made.occupancy((-2.0, 0.0, 1.0), (2.0, 2.0, 3.0), 2.0, 0.5).shape == (2, 1, 1)
    ((x, y, z),) = made.grid.asked
    assert x == [-1.5, -0.5, 0.5, 1.5] and y == [0.5, 1.5] and z == [1.5, 2.5]


def test_points_are_no_farther_apart_than_the_smallest_cells():
    """Level 5: cells of 1 m in x and y, 0.25 m in z; a voxel of 2 m has 2 x 2 x 8 points."""
    made = scene(level=5)
    made.occupancy((0.0, 0.0, 0.0), (2.0, 2.0, 2.0), 2.0, 0.5)
    ((x, y, z),) = made.grid.asked
    assert x == y == [0.5, 1.5]
    assert z == [0.125 + 0.25 * i for i in range(8)]
    made = scene(level=6)
    made.occupancy((0.0, 0.0, 0.0), (2.0, 2.0, 2.0), 2.0, 0.5)
    assert len(made.grid.asked[0][0]) == 4


@pytest.mark.parametrize('point', [(0.5, 2.5, 1.5), (3.5, 0.5, 0.5), (1.5, 1.5, 3.5)])
def test_one_filled_point_fills_its_voxel_and_no_other(point):
    """Axes are x, y, z."""

    def filled(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        return (x == point[0]) & (y == point[1]) & (z == point[2])

    occupied = scene(filled).occupancy((0.0, 0.0, 0.0), (4.0, 4.0, 4.0), 2.0, 0.5)
    assert occupied.nonzero().tolist() == [[int(p // 2) for p in point]]


def test_density_decides():
    """Row 1 has a density of exp(2 - 1) = 2.718 per meter."""
    box = ((0.0, 0.0, 0.0), (2.0, 2.0, 2.0), 2.0)
    full = scene(lambda x, y, z: x > -1, logit=2.0)
    assert full.occupancy(*box, 2.71).all() and not full.occupancy(*box, 2.73).any()
    soft = scene(lambda x, y, z: x > -1, logit=2.0, activation='sigmoid')
    assert soft.occupancy(*box, 0.73).all() and not soft.occupancy(*box, 0.74).any()


def test_parts_are_whole_voxels_one_after_the_other(monkeypatch):
    def filled(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        return (x > 4) & (x < 6) & (y < 2)

    monkeypatch.setattr('projects.DistillNeRF.models.voxel_field.POINTS_PER_CHUNK', 1)
    made = scene(filled)
    occupied = made.occupancy((0.0, 0.0, 0.0), (8.0, 4.0, 2.0), 2.0, 0.5)
    assert [asked[0] for asked in made.grid.asked] == [[0.5, 1.5], [2.5, 3.5], [4.5, 5.5], [6.5, 7.5]]
    assert occupied.nonzero().tolist() == [[2, 0, 0]]


@pytest.mark.parametrize(
    ('lower', 'upper', 'voxel'),
    [
        ((0, 0, 0), (1, 1, 1.3), 0.5),
        ((0, 0, 0), (1, 1, 0), 0.5),
        ((1, 0, 0), (0, 1, 1), 0.5),
        ((0, 0, 0), (1, 1, 1), 0.0),
    ],
)
def test_boxes_that_hold_no_whole_voxels(lower, upper, voxel):
    with pytest.raises(ValueError, match='not some whole voxels'):
        scene().occupancy(lower, upper, voxel, 0.5)


def test_sizes_may_be_off_by_rounding():
    assert scene().occupancy((0.0, 0.0, 0.0), (0.3, 0.6, 0.1 * 3), 0.1, 0.5).shape == (3, 6, 3)
