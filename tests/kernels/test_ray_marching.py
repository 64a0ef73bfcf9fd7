"""Ray marching and compositing in Triton against the torch path."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

pytest.importorskip('triton')

from projects.DistillNeRF.geometry.contraction import ParameterizedSpace
from projects.DistillNeRF.kernels import ray_marching as kernels
from projects.DistillNeRF.modules.renderer import (
    RaySampling,
    VoxelTables,
    gather_rows,
    place_coarse_samples,
    place_samples,
    rows_along,
)
from projects.DistillNeRF.modules.volume_rendering import alpha_weights, expected_depth
from projects.DistillNeRF.modules.voxels import VoxelGrid, point_codes

LEVELS = (3, 4)
SPACE = ParameterizedSpace(inner_range=8, inner_range_z=4.7, contract_ratio=0.8, near=0.2, step=0.7, far=12.0)
SAMPLING = RaySampling(fine_samples=5, fine_step=0.15)


def scene(count: int, quirks: bool, dtype: torch.dtype) -> VoxelTables:
    """The cells of ``count`` points in the middle of the cube; the logits are a leaf."""
    generator = torch.Generator().manual_seed(11)
    points = torch.rand(count, 3, generator=generator) * 1.6 - 0.8
    grid, _ = VoxelGrid.build(point_codes(points, LEVELS[1]), *LEVELS)
    voxels = [3 * torch.randn(n, 4, generator=generator) for n in (grid.num_coarse, grid.num_fine)]
    tables = VoxelTables.build(grid, *(table.to(dtype) for table in voxels), SAMPLING.logit_bound, quirks)
    return replace(tables, logits=tables.logits.requires_grad_())


def rays(count: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Random rays, and one along each axis, whose samples lie on borders of cells."""
    generator = torch.Generator().manual_seed(13)
    origins = torch.randn(count, 3, generator=generator).to(dtype)
    directions = F.normalize(torch.randn(count, 3, generator=generator).to(dtype), dim=-1)
    axes = torch.eye(3, dtype=dtype)
    return torch.cat([origins, torch.zeros_like(axes)]), torch.cat([directions, axes])


def march(tables: VoxelTables, sampling: RaySampling, coarse: Tensor, origins: Tensor, directions: Tensor):
    grid = tables.grid
    settings = kernels.Marching(
        SPACE.inner_range,
        SPACE.inner_range_z,
        SPACE.contract_ratio,
        SPACE.far,
        *LEVELS,
        sampling.fine_samples,
        sampling.fine_step,
        sampling.density_activation,
        sampling.published_quirks,
        sampling.mean_density,
    )
    return kernels.place_samples(coarse, origins, directions, grid.index, grid.leaves, tables.logits, settings)


@pytest.mark.parametrize('precision', [torch.float64, torch.float32])
@pytest.mark.parametrize('quirks', [True, False])
@pytest.mark.parametrize(
    ('count', 'jitter', 'mean'),
    [(0, False, False), (1, False, False), (60, False, False), (60, True, False), (60, False, True)],
)
def test_samples_and_rows_equal_the_torch_path(count, jitter, mean, quirks, precision):
    tables, (origins, directions) = scene(count, quirks, precision), rays(7, precision)
    sampling = replace(SAMPLING, published_quirks=quirks, mean_density=mean)
    torch.manual_seed(3)
    coarse, _ = place_coarse_samples(tables, SPACE, sampling, origins, directions, jitter)
    torch.manual_seed(3)
    expected, expected_rows = place_samples(tables, SPACE, sampling, origins, directions, jitter)
    depths, rows = march(tables, sampling, coarse, origins, directions)
    if count == 60:
        assert (rows < tables.grid.empty_row).any(1).sum() > 4, 'the rays miss the scene: the test shows nothing'
    assert rows.dtype == torch.int32
    assert torch.equal(rows, rows_along(tables.grid, SPACE, origins, directions, depths))
    assert (depths.diff(dim=1) >= 0).all()
    # Where weights differ by their rounding alone, any of them is the largest.
    same = (depths == expected).all(1)
    assert same.all() if precision == torch.float64 else same.sum() >= len(same) - 2
    assert torch.equal(rows[same], expected_rows[same])


@pytest.mark.parametrize('precision', [torch.float64, torch.float32])
def test_samples_at_the_borders_of_cells_hit_the_same_cells(precision):
    """Every cell is occupied, and samples lie at the borders and a few roundings beside them."""
    cells = torch.arange(16)
    codes = point_codes((torch.cartesian_prod(cells, cells, cells) + 0.5) / 8 - 1, LEVELS[1])
    grid, _ = VoxelGrid.build(codes, *LEVELS)
    tables = VoxelTables(grid, torch.zeros(grid.empty_row + 1, dtype=precision), torch.zeros(0), torch.zeros(0))
    directions = torch.eye(3, dtype=precision)[[0, 2]]
    directions = torch.cat([directions, -directions])
    borders = torch.tensor([[0.0, 0.0, k / 8] for k in range(1, 8)], dtype=precision)
    x, z = SPACE.expand(borders.flip(1))[:, 0], SPACE.expand(borders)[:, 2]
    near = []
    for depths in (x, z):
        beside = depths[:, None] * (1 + torch.finfo(precision).eps * torch.arange(-4, 5, dtype=precision))
        near.append(beside.flatten().sort().values)
    coarse = torch.stack([*near, *near])
    depths, rows = march(tables, SAMPLING, coarse, torch.zeros_like(directions), directions)
    assert torch.equal(rows, rows_along(grid, SPACE, torch.zeros_like(directions), directions, depths))
    assert all(len(row.unique()) == 8 for row in rows)


def test_samples_at_both_ends_of_a_ray(dtype):
    """A wall right before the camera, and one at the far plane: fine samples are clamped, and lie on coarse ones."""
    tables = scene(60, False, dtype)
    coarse = torch.tensor([[0.0, 0.05, 0.3, 2.0], [11.6, 11.9, 11.95, 12.0]], dtype=dtype)
    origins, directions = torch.zeros(2, 3, dtype=dtype), torch.eye(3, dtype=dtype)[:2]
    logits = tables.logits.detach().clone()
    logits[:] = 5.0
    depths, _ = march(replace(tables, logits=logits), replace(SAMPLING, fine_samples=7), coarse, origins, directions)
    steps = 0.15 * (torch.arange(7, dtype=dtype) - 3)
    for ray, center in enumerate((0.025, 11.75)):
        expected = torch.cat([coarse[ray], (center + steps).clamp(0, 12)]).sort().values
        torch.testing.assert_close(depths[ray], expected)


def weights_of_torch(
    logits: Tensor, rows: Tensor, depths: Tensor, activation: str, mean: bool = False
) -> tuple[Tensor, ...]:
    weights = alpha_weights(gather_rows(logits, rows), depths, activation, mean)
    halves = (F.pad(weights, (1, 0)) + F.pad(weights, (0, 1))) / 2
    return weights, halves, expected_depth(weights, depths, SPACE.far), weights.sum(-1)


def gradient(outputs: tuple[Tensor, ...], used: tuple[int, ...], logits: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(19)
    cotangents = [torch.randn(x.shape, dtype=torch.float64, generator=generator).to(x) for x in outputs]
    return torch.autograd.grad([outputs[i] for i in used], logits, [cotangents[i] for i in used])[0]


ALL = (0, 1, 2, 3)


@pytest.mark.parametrize(
    ('count', 'quirks', 'activation', 'used', 'mean'),
    [
        *((0, True, activation, ALL, False) for activation in kernels.ACTIVATIONS),
        *((60, quirks, activation, ALL, False) for activation in kernels.ACTIVATIONS for quirks in (True, False)),
        (1, False, 'exp', ALL, False),
        *((60, False, 'exp', used, False) for used in ((1, 2), (0,), (3,))),
        *((60, False, activation, ALL, True) for activation in kernels.ACTIVATIONS),
        *((count, True, 'exp', ALL, True) for count in (0, 1, 60)),
    ],
)
def test_weights_and_gradients_equal_the_torch_path(count, quirks, activation, used, mean, dtype):
    tables, (origins, directions) = scene(count, quirks, dtype), rays(5, dtype)
    with torch.no_grad():
        depths, rows = place_samples(tables, SPACE, SAMPLING, origins, directions, False)
    ours = kernels.ray_weights(tables.logits, rows, depths, activation, SPACE.far, mean)
    theirs = weights_of_torch(tables.logits, rows, depths, activation, mean)
    if count == 60:
        assert (ours[0] - kernels.ray_weights(tables.logits, rows, depths, activation, SPACE.far, not mean)[0]).any()
    for i in (0, 1, 3):
        torch.testing.assert_close(ours[i], theirs[i])
    # The depth of a ray is a quotient by its opacity, whose 1 - exp(-x) is rounded to multiples of 1e-16.
    rounding = 64 * torch.finfo(dtype).eps * SPACE.far / theirs[3]
    assert ((ours[2] - theirs[2]).abs() <= rounding + 1e-10).all()
    assert count < 60 or rounding.min() < 1e-11
    grad, expected = (gradient(outputs, used, tables.logits) for outputs in (ours, theirs))
    torch.testing.assert_close(grad[:-1], expected[:-1])
    assert grad[-1] == 0
    assert count < 60 or grad.abs().max() > 1e-3


@pytest.mark.parametrize('mean', [False, True])
@pytest.mark.parametrize('activation', ['exp', 'softplus', 'sigmoid'])
def test_single_precision_is_as_exact_as_that_of_torch(activation, mean):
    tables, (origins, directions) = scene(60, True, torch.float32), rays(5, torch.float32)
    with torch.no_grad():
        depths, rows = place_samples(tables, SPACE, SAMPLING, origins, directions, False)
    exact_logits = tables.logits.detach().double().requires_grad_()
    exact = weights_of_torch(exact_logits, rows, depths.double(), activation, mean)
    exact_grad = gradient(exact, (0, 1, 3), exact_logits)
    ours = kernels.ray_weights(tables.logits, rows, depths, activation, SPACE.far, mean)
    for i in (0, 1, 3):
        torch.testing.assert_close(ours[i].double(), exact[i], rtol=0, atol=1e-6)
    clear = exact[3] < 0.01  # the depth of a ray that sees almost nothing is a quotient of rounding
    torch.testing.assert_close(ours[2].double()[~clear], exact[2][~clear], rtol=1e-5, atol=0)
    grad = gradient(ours, (0, 1, 3), tables.logits).double()
    torch.testing.assert_close(grad[:-1], exact_grad[:-1], rtol=0, atol=1e-5)


def test_small_densities_keep_their_digits(dtype):
    """softplus(x) is log(1 + exp(x)), whose sum loses what exp(x) is where x is far below zero."""
    logits = torch.tensor([-35.0, -20.0, -5.0, 0.0, 5.0, 40.0], dtype=dtype)
    rows = torch.arange(len(logits), dtype=torch.int32)[:, None].expand(-1, 2)
    lengths = 1 / F.softplus(logits - 1)
    depths = torch.stack([torch.zeros_like(lengths), lengths], 1)
    weights = kernels.ray_weights(logits, rows, depths, 'softplus', SPACE.far)[0]
    torch.testing.assert_close(weights, torch.full_like(weights, 1 - math.exp(-1) + 1e-10), rtol=1e-12, atol=0)


@pytest.mark.parametrize('mean', [False, True])
def test_opaque_clear_and_broken_rays(mean, dtype):
    """Optical depths beyond the clamp, none at all, and a logit that is not a number."""
    logits = torch.tensor([100.0, -60.0, float('nan'), -30.0], dtype=dtype, requires_grad=True)
    rows = torch.tensor([[0, 0, 1, 3], [1, 3, 3, 1], [3, 2, 3, 3]], dtype=torch.int32)
    depths = torch.tensor([1.0, 2.0, 4.0, 7.0], dtype=dtype).expand(3, 4)
    ours = kernels.ray_weights(logits, rows, depths, 'exp', SPACE.far, mean)
    theirs = weights_of_torch(logits, rows, depths, 'exp', mean)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, equal_nan=True)
    assert ours[2][2] == SPACE.far and ours[3][2].isnan()
    grad, expected = (gradient(outputs, (0, 2), logits) for outputs in (ours, theirs))
    torch.testing.assert_close(grad[:2], expected[:2])


def test_an_unknown_activation_is_refused(dtype):
    depths = torch.ones(1, 2, dtype=dtype)
    with pytest.raises(ValueError, match="unknown density activation 'relu'"):
        kernels.ray_weights(depths[0], torch.zeros(1, 2, dtype=torch.int32), depths, 'relu', 1.0)


def composite_of_torch(table: Tensor, rows: Tensor, weights: Tensor, limit: int, cells: Tensor | None):
    hit = rows < limit
    if not limit:
        nothing = weights.sum(1) * 0 + table.sum() * 0
        return nothing[:, None].expand(-1, table.shape[1]), nothing
    chosen = torch.where(hit, rows, 0).long()
    values = table[chosen if cells is None else cells.long()[chosen]]
    shares = torch.where(hit, weights, 0)
    return (shares[..., None] * values).sum(1), shares.sum(1)


@pytest.mark.parametrize('mapped', [True, False])
@pytest.mark.parametrize('channels', [1, 5, 48, 130])
@pytest.mark.parametrize('limit', [0, 1, 40])
def test_composites_and_gradients_equal_the_torch_path(limit, channels, mapped, dtype):
    generator = torch.Generator().manual_seed(5)
    rows = torch.randint(limit, limit + 9, (4, 71), generator=generator)
    rows[1, 30:45] = torch.randint(0, max(limit, 1), (15,), generator=generator)
    rows[2, ::7] = rows[3, 70] = 0
    rows = rows.int()
    cells = torch.randint(0, 7, (limit,), generator=generator).int() if mapped else None
    table = torch.randn(7 if mapped else limit, channels, dtype=dtype, generator=generator).requires_grad_()
    weights = torch.rand(4, 71, dtype=dtype, generator=generator).requires_grad_()
    table, weights = (x.detach().requires_grad_() for x in (table, weights))
    ours = kernels.composite(table, rows, weights, limit, cells)
    theirs = composite_of_torch(table, rows, weights, limit, cells)
    cotangents = [torch.randn(x.shape, dtype=dtype, generator=generator).to(x) for x in theirs]
    for used in ((0, 1), (0,)):
        gradients = [
            torch.autograd.grad(
                [outputs[i] for i in used], (table, weights), [cotangents[i] for i in used], retain_graph=True
            )
            for outputs in (ours, theirs)
        ]
        for one, other in zip((*ours, *gradients[0]), (*theirs, *gradients[1]), strict=True):
            torch.testing.assert_close(one, other)


def test_half_precision_tables_are_summed_in_single_precision():
    table = torch.full((3, 4), 1.0009765625).half().requires_grad_()
    weights = torch.full((2, 64), 1 / 64, requires_grad=True)
    rows = torch.zeros(2, 64, dtype=torch.int32)
    sums, _ = kernels.composite(table, rows, weights, 2)
    assert sums.dtype == torch.float32
    torch.testing.assert_close(sums, torch.full_like(sums, 1.0009765625))
    grad_table, grad_weights = torch.autograd.grad(sums.sum(), (table, weights))
    assert grad_table.dtype == torch.float16 and grad_weights.dtype == torch.float32
    torch.testing.assert_close(grad_table[:, 0].float(), torch.tensor([2.0, 0.0, 0.0]))
    torch.testing.assert_close(grad_weights, torch.full_like(grad_weights, 4 * 1.0009765625))


def test_no_rays(dtype):
    tables = scene(60, False, dtype)
    nothing = torch.zeros(0, 3, dtype=dtype)
    depths, rows = march(tables, SAMPLING, torch.zeros(0, 8, dtype=dtype), nothing, nothing)
    assert depths.shape == rows.shape == (0, 13)
    weights, halves, *_ = kernels.ray_weights(tables.logits, rows, depths, 'exp', SPACE.far)
    sums, _ = kernels.composite(tables.fine, rows, halves, tables.grid.num_fine)
    assert torch.autograd.grad(weights.sum() + sums.sum(), tables.logits)[0].eq(0).all()
