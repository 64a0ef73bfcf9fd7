"""Dense voxels of scenes, against a version that asks every voxel."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from projects.DistillNeRF.evaluation.occupancy.from_scene import GridSampling, predict_grid
from projects.DistillNeRF.evaluation.occupancy.scene_voxels import SceneVoxels
from projects.DistillNeRF.geometry.contraction import ParameterizedSpace
from projects.DistillNeRF.models.scene import Scene
from projects.DistillNeRF.modules.renderer import RaySampling
from projects.DistillNeRF.modules.volume_rendering import activate_density
from projects.DistillNeRF.semantics.occ3d import FREE, LOWER, SHAPE, VOXEL
from tests.helpers.scenes import numbered_cells, scene_at

LIDAR2EGO = torch.tensor([[0.0, 1, 0, 0.9], [-1, 0, 0, 0], [0, 0, 1, 1.8], [0, 0, 0, 1]], dtype=torch.float64)
EGO2LIDAR = torch.linalg.inv(LIDAR2EGO)
# The inner range ends in the grid, so that boxes of far cells are large.
NEAR = ParameterizedSpace(inner_range=12.0, inner_range_z=2.0)


def turned(yaw: float, pitch: float, roll: float, shift: tuple[float, float, float]) -> Tensor:
    """A pose of degrees and meters."""
    pose = torch.eye(4, dtype=torch.float64)
    for degrees, (i, j) in ((yaw, (0, 1)), (pitch, (0, 2)), (roll, (1, 2))):
        turn, angle = torch.eye(4, dtype=torch.float64), math.radians(degrees)
        turn[i, i] = turn[j, j] = math.cos(angle)
        turn[i, j], turn[j, i] = -math.sin(angle), math.sin(angle)
        pose = turn @ pose
    pose[:3, 3] = torch.tensor(shift)
    return pose


def cloud(seed: int, count: int = 400, far: float = 60.0, **settings: object) -> Scene:
    """A scene of cells anywhere, no two of one density; coarse cells are dense, too."""
    generator = torch.Generator().manual_seed(seed)
    points = (torch.rand(count, 3, generator=generator) * 2 - 1) * torch.tensor([far, far, 6.0])
    logits = torch.randperm(count, generator=generator) / count * 8 - 3
    return scene_at(points, torch.rand(count, 4, generator=generator), logits, coarse=(0.5, 0.7), **settings)


def ask_every_voxel(scene: Scene, ego2lidar: Tensor, lattice: int) -> tuple[Tensor, Tensor]:
    """Return the row of the densest point and the density there of each voxel of the grid, ``(640000,)``."""
    pose = ego2lidar.float()
    x, y, z = torch.meshgrid(
        *(low + VOXEL * torch.arange(n).float() for low, n in zip(LOWER.tolist(), SHAPE, strict=True)), indexing='ij'
    )
    parts = VOXEL * (torch.arange(lattice).float() + 0.5) / lattice
    tables, rows = scene.tables(), []
    for dx, dy, dz in itertools.product(parts, repeat=3):
        ego = (x + dx, y + dy, z + dz)
        points = torch.stack([row[0] * ego[0] + row[1] * ego[1] + row[2] * ego[2] + row[3] for row in pose[:3]], -1)
        rows.append(scene.grid.rows(scene.space.contract(points)).reshape(-1))
    rows = torch.stack(rows)
    logits = tables.logits[rows.long()]
    densest = logits.argmax(0, keepdim=True)
    density = activate_density(logits.gather(0, densest)[0], scene.sampling.density_activation)
    return rows.gather(0, densest)[0], density


def compare(scene: Scene, ego2lidar: Tensor, lattice: int = 2, min_density: float = 0.5) -> int:
    """Check that voxels, rows and densities are those of the slow version; return the number of voxels."""
    rows, density = ask_every_voxel(scene, ego2lidar, lattice)
    dense = (density >= min_density) & (rows != scene.grid.empty_row)
    found = SceneVoxels.find(scene, ego2lidar, lattice, min_density)
    assert torch.equal(found.indices, dense.nonzero().squeeze(1))
    assert torch.equal(found.rows, rows[dense]) and torch.equal(found.density, density[dense])
    return len(found)


@pytest.mark.parametrize(
    ('pose', 'settings', 'lattice'),
    [
        (EGO2LIDAR, {}, 1),
        (turned(90.4, 0.3, -0.5, (0.0, -0.9, -1.8)), {}, 2),
        (turned(37, 8, -15, (3.0, 11.0, -2.0)), {'space': NEAR}, 3),
        (turned(180, 0, 0, (0.0, 0.0, 0.0)), {'levels': (5, 6), 'space': NEAR}, 1),
    ],
)
def test_dense_voxels_are_those_that_asking_all_finds(pose, settings, lattice):
    """In any pose, also where cells reach to infinity."""
    assert compare(cloud(0, **settings), pose, lattice) > 1000


@pytest.mark.parametrize('min_density', [1e-6, 0.9])
def test_any_density_can_be_asked_for(min_density):
    """Coarse cells have some 0.7 per meter: from 0.9 on they are not dense."""
    assert compare(cloud(1), EGO2LIDAR, 1, min_density) > 0


def test_far_cells_reach_to_infinity():
    """Points 300 m away are in the outermost cells."""
    points = torch.tensor([[300.0, 0.0, 0.0], [0.0, -400.0, 0.0], [2.0, 3.0, 90.0]])
    scene = scene_at(points, torch.ones(3, 4), torch.tensor([2.0, 3.0, 4.0]), levels=(3, 4), space=NEAR)
    assert compare(scene, EGO2LIDAR, 1) > 100


def test_cells_beyond_the_grid_and_scenes_without_density_have_no_voxels():
    beyond = numbered_cells(torch.tensor([[5.0, 49.0, 1.0]]))
    assert compare(beyond, EGO2LIDAR, 1) == 0
    thin = numbered_cells(torch.tensor([[5.0, 12.0, 1.0]]), logit=-8.0)
    assert compare(thin, EGO2LIDAR, 1) == 0 and (predict_grid(thin, EGO2LIDAR) == FREE).all()


def test_fog_of_the_published_code_is_no_voxel():
    """There empty space has a little density."""
    scene = cloud(2, sampling=RaySampling(published_quirks=True))
    assert 0 < compare(scene, EGO2LIDAR, 1, 1e-7) < np.prod(SHAPE)


def test_double_precision_is_kept():
    """Also where it moves points to other cells."""
    scene = cloud(3).to(torch.float64)
    found = SceneVoxels.find(scene, EGO2LIDAR, 1, 0.5)
    rows = scene.grid.rows(scene.space.contract(found.centers()))
    assert found.density.dtype == torch.float64 and torch.equal(found.rows, rows) and len(found) > 1000


def test_a_higher_density_keeps_those_that_asking_for_it_finds():
    """So a sweep asks once, for the lowest."""
    scene = cloud(4)
    every = SceneVoxels.find(scene, EGO2LIDAR, 2, 0.05)
    kept, which = every.at_least(1.3)
    asked = SceneVoxels.find(scene, EGO2LIDAR, 2, 1.3)
    assert 0 < len(kept) < len(every) and torch.equal(every.indices[which], kept.indices)
    for name in ('indices', 'rows', 'density'):
        assert torch.equal(getattr(kept, name), getattr(asked, name))


def test_centers_are_in_the_lidar_frame():
    """Voxel (100, 100, 2) begins at the ego's origin, 0.2 m below it; the LiDAR is 0.9 m ahead of it, 1.8 m higher."""
    scene = numbered_cells(torch.tensor([[5.0, 12.0, 1.0]]))
    voxels = SceneVoxels.find(scene, EGO2LIDAR, 1, GridSampling.min_density)
    places = torch.stack(torch.meshgrid(*map(torch.arange, SHAPE), indexing='ij'), -1).reshape(-1, 3)[voxels.indices]
    ego = torch.from_numpy(LOWER) + VOXEL * (places + 0.5)
    expected = torch.stack([-ego[:, 1], ego[:, 0] - 0.9, ego[:, 2] - 1.8], 1)
    assert torch.allclose(voxels.centers().double(), expected, atol=1e-4)
    low, high = voxels.centers().amin(0), voxels.centers().amax(0)
    assert (low > torch.tensor([3.9, 11.7, 0.0])).all() and (high < torch.tensor([7.82, 15.63, 3.91])).all()
