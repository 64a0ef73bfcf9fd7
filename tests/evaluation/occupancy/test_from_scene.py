"""Grids of scenes whose every cell is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from projects.DistillNeRF.evaluation.occupancy.from_scene import (
    UNSEEN,
    Classify,
    GridSampling,
    dilate,
    finish_grid,
    predict_grid,
)
from projects.DistillNeRF.evaluation.occupancy.voxel_classes import by_features
from projects.DistillNeRF.models.scene import Scene
from projects.DistillNeRF.semantics.occ3d import FREE
from tests.helpers.grids import CAR, ROAD, TRUCK, block, empty
from tests.helpers.scenes import numbered_cells, scene_at

# The LiDAR looks to the right of the car, as that of nuScenes: its x is to the right, its y ahead.
LIDAR2EGO = torch.tensor([[0.0, 1, 0, 0.9], [-1, 0, 0, 0], [0, 0, 1, 1.8], [0, 0, 0, 1]], dtype=torch.float64)
EGO2LIDAR = torch.linalg.inv(LIDAR2EGO)
# In a cell, a cube of 3.90625 m: x 3.9 to 7.8, y 11.7 to 15.6, z 0 to 3.9 m in the LiDAR frame; in the ego frame x 12.6
# to 16.5, y -7.8 to -3.9, z 1.8 to 5.7 m; in voxels 131.55 to 141.3, 80.5 to 90.2, 7.0 to 16.8.
POINT = torch.tensor([5.0, 12.0, 1.0])
MIDDLES, QUARTERS = ((132, 80, 7), (141, 90, 16)), ((131, 80, 7), (142, 90, 16))


@pytest.mark.parametrize(('lattice', 'bounds'), [(1, MIDDLES), (2, QUARTERS)])
def test_voxels_of_a_cell_are_where_it_is_in_the_ego_frame(lattice, bounds):
    """One point is in the middle of a voxel, of two per axis the first is at a quarter; 5.4 m is the top."""
    grid = predict_grid(numbered_cells(POINT[None]), EGO2LIDAR, None, GridSampling(lattice))
    assert np.array_equal(grid, block(*bounds, kind=0)) and grid.dtype == np.uint8


def test_the_pose_moves_the_grid():
    """The car is 0.8 m farther back."""
    pose = LIDAR2EGO.clone()
    pose[0, 3] += 0.8
    grid = predict_grid(numbered_cells(POINT[None]), torch.linalg.inv(pose))
    assert np.array_equal(grid, np.roll(block(*QUARTERS, kind=0), 2, 0))


def test_only_dense_cells_are_occupied():
    """A logit of 6 is some 90 per meter, softly clamped."""
    scene = numbered_cells(POINT[None])
    density = scene.query(POINT[None])[0].item()
    assert (predict_grid(scene, EGO2LIDAR, None, GridSampling(1, density * 0.99)) != FREE).any()
    assert np.array_equal(predict_grid(scene, EGO2LIDAR, None, GridSampling(1, density * 1.01)), empty())


def test_empty_space_is_free_whatever_the_threshold():
    grid = predict_grid(
        numbered_cells(POINT[None]), EGO2LIDAR, lambda voxels: torch.full((len(voxels),), CAR), GridSampling(1, 1e-30)
    )
    assert (grid == FREE).sum() > grid.size / 2


def classify_by(scene: Scene, *pairs: tuple[list[float], int]) -> Classify:
    """Tell classes by what the head makes of (fine, coarse) features."""
    known = scene.head.opaque(torch.tensor([features for features, _ in pairs]))
    classes = torch.tensor([kind for _, kind in pairs])

    def classify(features: Tensor) -> Tensor:
        distances = torch.cdist(features, known, compute_mode='donot_use_mm_for_euclid_dist')
        assert distances.min(1).values.max() < 1e-4
        return classes[distances.argmin(1)]

    return by_features(classify)


def test_classes_are_those_of_the_features_of_the_cells():
    """A car ahead on the right, a truck behind."""
    scene = numbered_cells(torch.stack([POINT, torch.tensor([1.0, -20.0, 1.0])]))
    one, other = [1.0, -1.0, 0.5, 0.0], [2.0, -2.0, 1.0, 0.0]
    grid = predict_grid(scene, EGO2LIDAR, classify_by(scene, (one + [0.0] * 4, CAR), (other + [0.0] * 4, TRUCK)))
    assert set(np.unique(grid)) == {CAR, TRUCK, FREE}
    assert np.array_equal(np.where(grid == CAR, CAR, FREE), block(*QUARTERS))
    assert np.argwhere(grid == TRUCK)[:, 0].max() < 100


def test_the_densest_cell_of_a_voxel_says_its_class():
    """The coarse cell around is dense, too, but less so: it has the voxels of which no point is in the fine cell."""
    features = torch.tensor([1.0, -1.0, 0.5, 0.0])
    settings = {'levels': (3, 5), 'space': numbered_cells(POINT[None]).space}
    scene = scene_at(POINT[None], features, 6.0, coarse=(0.5, 3.0), **settings)
    fine, coarse = [*features.tolist(), *[0.5] * 4], [0.0] * 4 + [0.5] * 4
    grid = predict_grid(scene, EGO2LIDAR, classify_by(scene, (fine, CAR), (coarse, ROAD)))
    assert np.array_equal(np.where(grid == CAR, CAR, FREE), block(*QUARTERS))
    assert (grid == ROAD).sum() > 1000


def test_what_is_dilated_has_the_class_of_the_nearest():
    grid = empty()
    grid[50, 50, 5], grid[55, 50, 5] = CAR, TRUCK
    assert dilate(grid, 0) is grid
    grown = dilate(grid, 1)
    assert np.array_equal(grown == CAR, block((49, 49, 4), (52, 52, 7)) == CAR)
    assert np.array_equal(grown == TRUCK, block((54, 49, 4), (57, 52, 7)) == CAR)
    twice = dilate(grid, 2)
    assert (twice == CAR).sum() == (twice == TRUCK).sum() == 125
    assert np.array_equal(dilate(empty(), 3), empty())


def test_a_prediction_is_dilated_if_asked():
    grid = predict_grid(numbered_cells(POINT[None]), EGO2LIDAR, None, GridSampling(lattice=1, dilation=2))
    assert np.array_equal(grid, block((130, 78, 5), (143, 92, 16), kind=0))


def test_unseen_voxels_have_the_class_of_the_nearest_seen_one_before_they_grow():
    """Far from both, the nearest counts along the diagonal, too; a class that is seen stays."""
    grid = empty()
    grid[50, 50, 5], grid[60, 50, 5] = CAR, TRUCK
    grid[54, 50, 5] = grid[51, 51, 6] = grid[56, 50, 5] = grid[199, 199, 15] = UNSEEN
    filled = finish_grid(grid, 0)
    assert [filled[i, 50, 5] for i in (50, 54, 56, 60)] == [CAR, CAR, TRUCK, TRUCK]
    assert filled[51, 51, 6] == CAR and filled[199, 199, 15] == TRUCK and (filled != FREE).sum() == 6
    assert finish_grid(grid, 1)[198, 198, 14] == TRUCK


def test_where_nothing_is_seen_all_are_others():
    grid = empty()
    grid[1, 2, 3] = grid[100, 2, 3] = UNSEEN
    assert np.argwhere(finish_grid(grid, 0) == 0).tolist() == [[1, 2, 3], [100, 2, 3]]
