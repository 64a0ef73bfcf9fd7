"""Pooling against the plain version with its points x channels tensor: values and gradients."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
import torch
from torch import Tensor

from projects.DistillNeRF.geometry.cameras import Cameras
from projects.DistillNeRF.geometry.contraction import ParameterizedSpace
from projects.DistillNeRF.modules.fine_depth import FineDepth
from projects.DistillNeRF.modules.pooling import candidate_positions, pool_views
from tests.helpers.cameras import random_cameras, unit_cameras
from verification.reference import kernels as reference

HEIGHT, WIDTH, CANDIDATES, CHANNELS = 3, 5, 4, 6


def rig(count: int, dtype: torch.dtype = torch.float64) -> Cameras:
    """Cameras in the middle of the world that look in different directions."""
    generator = torch.Generator().manual_seed(5)
    return random_cameras(count, HEIGHT, WIDTH, generator, focal=3.0, center=(2, 1), dtype=dtype)


def random_fine_depth(count: int) -> FineDepth:
    generator = torch.Generator().manual_seed(7)
    shape = (count, HEIGHT, WIDTH, CANDIDATES)

    def rand(*shape: int) -> Tensor:
        return torch.rand(*shape, dtype=torch.float64, generator=generator)

    return FineDepth(
        depth=rand(*shape[:3]),
        weights=rand(*shape),
        # Near and close together, so that many points share a cell.
        candidates=(rand(*shape) * 20).sort(dim=-1).values.requires_grad_(),
        occupancy=rand(*shape).requires_grad_(),
        logits=(rand(*shape) * 60 - 30).requires_grad_(),
        features=(rand(count, CHANNELS, HEIGHT, WIDTH) - 0.5).requires_grad_(),
    )


@pytest.mark.parametrize('count', [1, 3])
@pytest.mark.parametrize('levels', [(1, 2), (3, 5), (2, 3)])
def test_values_and_gradients_equal_the_reference(count, levels, dtype):
    cameras, fine, space = rig(count), random_fine_depth(count), ParameterizedSpace()
    grid, *pooled = pool_views(cameras, fine, space, *levels)

    points = space.contract(candidate_positions(cameras, fine.candidates)).reshape(-1, 3)
    lifted = reference.lift(fine.features, fine.occupancy, fine.logits)
    half = CHANNELS // 2
    leaves = (fine.features, fine.occupancy, fine.logits)
    for level, voxels, chosen in zip(levels, pooled, (slice(0, half), slice(half, CHANNELS)), strict=True):
        features = torch.cat([lifted[:, :-1][:, chosen], lifted[:, -1:]], 1)
        cells, expected = reference.pool(points, features, level)
        assert len(cells) < len(points)
        morton_order = sorted(range(len(cells)), key=lambda i: reference.morton(cells[i].tolist()))
        assert grid.cells(level).tolist() == cells[morton_order].tolist()
        expected = expected[morton_order]
        torch.testing.assert_close(voxels, expected)
        cotangent = torch.randn(voxels.shape, dtype=dtype, generator=torch.Generator().manual_seed(1))
        torch.testing.assert_close(
            torch.autograd.grad(voxels, leaves, cotangent, retain_graph=True),
            torch.autograd.grad(expected, leaves, cotangent, retain_graph=True),
        )


@pytest.mark.parametrize('rows', [3, 5])
def test_columns_of_points_equal_the_reference(rows, dtype):
    """Of each candidate those points count in coarse cells that are in another one than it, one by one."""
    cameras, fine, space, levels = rig(2), random_fine_depth(2), ParameterizedSpace(), (4, 6)
    grid, coarse, voxels = pool_views(cameras, fine, space, *levels, rows)
    plain, _, expected_fine = pool_views(cameras, fine, space, *levels)
    assert torch.equal(grid.fine_codes, plain.fine_codes) and torch.equal(voxels, expected_fine)
    lifted = reference.lift(fine.features, fine.occupancy, fine.logits)
    lifted = torch.cat([lifted[:, : CHANNELS // 2], lifted[:, -1:]], 1).unflatten(0, fine.candidates.shape)
    points, features = [], []
    for n, v, u, k in itertools.product(*map(range, fine.candidates.shape)):
        column = []
        for row in range(-(rows // 2), rows // 2 + 1):
            pixel = torch.tensor([u, v + row / rows, 1], dtype=dtype)
            ray = torch.linalg.solve(cameras.intrinsics[n], pixel)
            ray = cameras.cam2world[n, :3, :3] @ (ray / ray.norm())
            point = cameras.cam2world[n, :3, 3] + fine.candidates[n, v, u, k].detach() * ray
            column.append(space.contract(point[None]))
        own = reference.insertion_cells(column[rows // 2], levels[0])
        kept = [p for p in column if p is column[rows // 2] or reference.insertion_cells(p, levels[0]) != own]
        points += kept
        features += [lifted[n, v, u, k]] * len(kept)
    assert len(points) > fine.candidates.numel()
    cells, expected = reference.pool(torch.cat(points), torch.stack(features), levels[0])
    morton_order = sorted(range(len(cells)), key=lambda i: reference.morton(cells[i].tolist()))
    assert grid.cells(levels[0]).tolist() == cells[morton_order].tolist()
    assert grid.num_coarse > plain.num_coarse
    expected = expected[morton_order]
    torch.testing.assert_close(coarse, expected)
    cotangent = torch.randn(coarse.shape, dtype=dtype, generator=torch.Generator().manual_seed(1))
    leaves = (fine.features, fine.occupancy, fine.logits)
    torch.testing.assert_close(
        torch.autograd.grad(coarse, leaves, cotangent), torch.autograd.grad(expected, leaves, cotangent)
    )


def test_positions_carry_no_gradient():
    fine = random_fine_depth(1)
    _, coarse, voxels = pool_views(rig(1), fine, ParameterizedSpace(), 3, 5)
    assert not candidate_positions(rig(1), fine.candidates).requires_grad
    gradients = torch.autograd.grad(coarse.sum() + voxels.sum(), (fine.candidates, fine.features), allow_unused=True)
    assert gradients[0] is None


def test_depth_is_measured_along_the_ray():
    cameras, fine = rig(2), random_fine_depth(2)
    positions = candidate_positions(cameras, fine.candidates)
    centers = cameras.cam2world[:, :3, 3]
    distances = (positions - centers[:, None, None, None]).norm(dim=-1)
    torch.testing.assert_close(distances, fine.candidates.detach())
    pixels, _ = cameras[1].project(positions[1, :, :, -1].reshape(-1, 3))
    torch.testing.assert_close(pixels, cameras.pixel_grid(HEIGHT, WIDTH).reshape(-1, 2))


def test_half_precision_features_are_averaged_in_float32():
    exact = random_fine_depth(2)
    single = FineDepth(*(getattr(exact, field.name).detach().float() for field in dataclasses.fields(exact)))
    half = dataclasses.replace(single, features=single.features.bfloat16(), occupancy=single.occupancy.bfloat16())
    cameras = rig(2, torch.float32)
    _, coarse, fine = pool_views(cameras, single, ParameterizedSpace(), 3, 5)
    _, half_coarse, half_fine = pool_views(cameras, half, ParameterizedSpace(), 3, 5)
    assert half_coarse.dtype == half_fine.dtype == torch.float32
    torch.testing.assert_close((half_coarse, half_fine), (coarse, fine), rtol=0.02, atol=0.02)


def test_two_pixels_by_hand():
    """One camera at the origin that looks along +z; two candidates of each of two pixels.

    The space is linear up to 8 m, which are 0.8 of the cube: coarse cells of 5 m, fine ones of 2.5 m. Depths along the
    axis of 1, 2, 6 m and, to the side, of 3 m at pixel (1, 0), which is 3 m / sqrt(2) right and ahead.
    """
    space = ParameterizedSpace(inner_range=8.0, inner_range_z=8.0, contract_ratio=0.8)
    cameras = unit_cameras(1, 1, 2)
    fine = FineDepth(
        depth=torch.zeros(1, 1, 2),
        weights=torch.zeros(1, 1, 2, 1),
        candidates=torch.tensor([[[[1.0, 2.0], [3.0, 9.0]]]]),
        occupancy=torch.tensor([[[[0.5, 1.0], [0.25, 0.1]]]]),
        logits=torch.tensor([[[[1.0, 3.0], [-2.0, 5.0]]]]),
        features=torch.tensor([[10.0, 40.0], [20.0, 80.0]]).view(1, 2, 1, 2),
    )
    grid, coarse, pooled = pool_views(cameras, fine, space, 2, 3)
    # Fine cells (x, y, z): (4, 4, 4) holds three candidates (1, 2 and 3 m), (6, 4, 6) the one at 9 m, 6.4 m ahead.
    assert grid.cells(3).tolist() == [[4, 4, 4], [6, 4, 6]]
    assert grid.cells(2).tolist() == [[2, 2, 2], [3, 2, 3]]
    near = (0.5 * 10 + 1.0 * 10 + 0.25 * 40) / 3, (0.5 * 20 + 1.0 * 20 + 0.25 * 80) / 3, (1.0 + 3.0 - 2.0) / 3
    torch.testing.assert_close(coarse, torch.tensor([[near[0], near[2]], [0.1 * 40, 5.0]]))
    torch.testing.assert_close(pooled, torch.tensor([[near[1], near[2]], [0.1 * 80, 5.0]]))


def test_half_precision_candidates_are_lifted_in_single_precision():
    """Whole meters below 256 are exact in bfloat16: they must land in the same cells."""
    exact = random_fine_depth(1)
    single = FineDepth(*(getattr(exact, field.name).detach().float() for field in dataclasses.fields(exact)))
    whole = dataclasses.replace(single, candidates=single.candidates.round())
    half = dataclasses.replace(whole, candidates=whole.candidates.bfloat16())
    cameras = rig(1, torch.float32)
    grids = [pool_views(cameras, fine, ParameterizedSpace(), 5, 7)[0] for fine in (whole, half)]
    assert torch.equal(grids[0].fine_codes, grids[1].fine_codes)
