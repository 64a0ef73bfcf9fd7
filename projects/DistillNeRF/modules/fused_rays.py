"""Render rays with the Triton kernels of :mod:`..kernels.ray_marching` where they are chosen, else with torch."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..geometry.contraction import ParameterizedSpace
from ..kernels.selection import Comparison, Kernel, compared
from . import renderer
from .renderer import Hits, RayRendering, RaySampling, VoxelTables, coarse_depths, gather_rows, rows_along
from .volume_rendering import alpha_weights, expected_depth
from .voxels import VoxelGrid, point_codes


@dataclass(frozen=True)
class FusedHits:
    """The samples of rays for kernels, which find by themselves those that hit something.

    Attributes:
        rows: ``(rays, n)`` the rows of the voxel tables that they hit, int32.
        kernel: the file of the kernels.
    """

    rows: Tensor
    kernel: ModuleType

    def composite(
        self, table: Tensor, weights: Tensor, limit: int, cells: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Sum weighted rows of ``table`` over samples whose row is below ``limit``.

        Args:
            table: ``(T, channels)``.
            weights: ``(rays, n)``.
            cells: ``(limit,)`` row of the table for each row, if it is not the same.

        Returns:
            the sums ``(rays, channels)``, and the weights that took part, summed, ``(rays,)``.
        """
        return self.kernel.composite(table, self.rows, weights, limit, cells)


def march(
    kernel: ModuleType,
    tables: VoxelTables,
    space: ParameterizedSpace,
    sampling: RaySampling,
    coarse: Tensor,
    origins: Tensor,
    directions: Tensor,
) -> tuple[Tensor, Tensor]:
    """Do as :func:`renderer.place_samples`, of coarse samples at depths ``coarse``, ``(rays, S)``, with the kernel."""
    grid = tables.grid
    marching = kernel.Marching(
        inner_range=space.inner_range,
        inner_range_z=space.inner_range_z,
        contract_ratio=space.contract_ratio,
        far=space.far,
        coarse_level=grid.coarse_level,
        fine_level=grid.fine_level,
        fine_samples=sampling.fine_samples,
        fine_step=sampling.fine_step,
        density_activation=sampling.density_activation,
        published_quirks=sampling.published_quirks,
        mean_density=sampling.mean_density,
    )
    return kernel.place_samples(coarse, origins, directions, grid.index, grid.leaves, tables.logits, marching)


def render_rays(
    tables: VoxelTables,
    space: ParameterizedSpace,
    sampling: RaySampling,
    composite: renderer.Compositor,
    origins: Tensor,
    directions: Tensor,
    jitter: bool = False,
    kernels: str = 'torch',
) -> RayRendering:
    """Render rays as :func:`renderer.render_rays`; ``kernels`` chooses how, see :mod:`..kernels.selection`.

    Raises:
        InputError: ``kernels='triton'`` cannot be done.
    """
    activation, mean_density = sampling.density_activation, sampling.mean_density
    kernel = RAY_MARCHING.choose(kernels, origins, activation, tables.fine.shape[1], mean_density)
    if kernel is None:
        return renderer.render_rays(tables, space, sampling, composite, origins, directions, jitter)
    with torch.no_grad():
        coarse = coarse_depths(space, sampling, origins, jitter)
        depths, rows = march(kernel, tables, space, sampling, coarse, origins, directions)
    weights, halves, depth, opacity = kernel.ray_weights(
        tables.logits, rows, depths, activation, space.far, mean_density
    )
    color = 2 * composite(FusedHits(rows, kernel), halves) - 1
    return RayRendering(color, depth, opacity, weights, depths)


def _compare(
    module: ModuleType, device: torch.device, dtype: torch.dtype, activation: str, channels: int, mean_density: bool
) -> list[Comparison]:
    """Compare all kernels of the file with torch on random rays through a cube that is nearly full."""
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(device, dtype)

    space = ParameterizedSpace(inner_range=8, inner_range_z=4.7, near=0.2, step=0.7, far=12.0)
    sampling = RaySampling(fine_samples=6, fine_step=0.15, density_activation=activation, mean_density=mean_density)
    points = torch.rand(700, 3, generator=generator) * 2 - 1
    grid, _ = VoxelGrid.build(point_codes(points, 3).to(device), 2, 3)
    coarse, fine = random(grid.num_coarse, channels + 1), random(grid.num_fine, channels + 1)
    tables = VoxelTables.build(grid, coarse, fine, sampling.logit_bound, published_quirks=False)
    origins, directions = random(20, 3), F.normalize(random(20, 3), dim=1)
    with torch.no_grad():
        samples = coarse_depths(space, sampling, origins, jitter=False)
        depths, rows = march(module, tables, space, sampling, samples, origins, directions)
        expected, _ = renderer.place_samples(tables, space, sampling, origins, directions, jitter=False)
        expected_rows = rows_along(grid, space, origins, directions, depths)
    hits, exact_hits = FusedHits(rows, module), Hits.find(rows, grid.empty_row)

    def weigh(logits: Tensor) -> Tensor:
        logits = torch.cat([logits, tables.logits[-1:]])
        return torch.cat(_as_columns(*module.ray_weights(logits, rows, depths, activation, space.far, mean_density)), 1)

    def weigh_exactly(logits: Tensor) -> Tensor:
        logits = torch.cat([logits, tables.logits[-1:].double()])
        weights = alpha_weights(gather_rows(logits, rows), depths.double(), activation, mean_density)
        halves = (F.pad(weights, (1, 0)) + F.pad(weights, (0, 1))) / 2
        depth = expected_depth(weights, depths.double(), space.far)
        return torch.cat(_as_columns(weights, halves, depth, weights.sum(1)), 1)

    def composite(table: Tensor, weights: Tensor) -> Tensor:
        sums, occupied = hits.composite(table, weights, grid.num_fine)
        return torch.cat([sums, occupied[:, None]], 1)

    def composite_exactly(table: Tensor, weights: Tensor) -> Tensor:
        table = F.pad(table, (0, 1), value=1.0)
        shares = torch.where(rows < grid.num_fine, weights, 0)
        return (shares[..., None] * table[rows.clamp_max(grid.num_fine - 1).long()]).sum(1)

    (logits,), (exact_logits,) = _leaves(tables.logits[:-1])
    pair, exact_pair = _leaves(tables.fine, random(*rows.shape).abs())
    return [
        Comparison('depths of samples', depths, expected),
        Comparison('rows of samples', rows, expected_rows),
        Comparison('samples that hit', (rows < grid.empty_row).float(), exact_hits.occupied.float()),
        *compared(weigh(logits), logits, weigh_exactly(exact_logits), exact_logits),
        *compared(composite(*pair), pair, composite_exactly(*exact_pair), exact_pair),
    ]


def _as_columns(weights: Tensor, halves: Tensor, depth: Tensor, opacity: Tensor) -> list[Tensor]:
    """Return all that the weights of a ray give, ``(rays, ...)``; depths of about one, as the others are."""
    return [weights, halves, depth[:, None] / 10, opacity[:, None]]


def _leaves(*tensors: Tensor) -> tuple[list[Any], list[Any]]:
    """Return leaves of the same values, and in float64."""
    leaves = [tensor.detach().clone().requires_grad_() for tensor in tensors]
    return leaves, [leaf.detach().double().requires_grad_() for leaf in leaves]


RAY_MARCHING = Kernel('ray marching', 'ray_marching', _compare, dtypes=(torch.float32,))
