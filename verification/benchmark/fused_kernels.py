"""Compare Triton's instance norm and ray marching with torch, and time both.

    python -m verification.benchmark.fused_kernels --device cuda

Without a GPU it checks small sizes in Triton's interpreter, whose times mean nothing:

    TRITON_INTERPRET=1 python -m verification.benchmark.fused_kernels --device cpu --size small
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor

from projects.DistillNeRF.geometry.contraction import ParameterizedSpace
from projects.DistillNeRF.modules import layers
from projects.DistillNeRF.modules.renderer import (
    RaySampling,
    VoxelTables,
    gather_rows,
    place_samples,
)
from projects.DistillNeRF.modules.segments import segment_offsets, weighted_segment_sum
from projects.DistillNeRF.modules.volume_rendering import alpha_weights, expected_depth
from projects.DistillNeRF.modules.voxels import VoxelGrid, point_codes
from projects.DistillNeRF.utils.errors import command
from verification.benchmark.kernel_timing import difference, kernels_device, milliseconds, parser, report
from verification.benchmark.scenes import ring

# Maps (N, C, H, W) of the pyramids, and the "images" of the candidate scorer.
MAPS = {
    'published': [(6, 16, 128, 228), (6, 64, 64, 114), (6, 128, 32, 57), (6, 320, 8, 15), (6, 16, 15, 128 * 228)],
    'small': [(1, 5, 7, 9)],
}
# Source views, target views, height and width of the rendered maps, levels.
VIEWS = {'published': (6, 12, 64, 114, (7, 9)), 'small': (1, 1, 2, 3, (3, 5))}
CHANNELS = 32
POINTS_PER_RAY = 8
TOLERANCE = {torch.float32: 1e-4, torch.float16: 8 * 2**-11}


@dataclass(frozen=True)
class Timing:
    """A kernel beside torch.

    Attributes:
        what: the kernel, its sizes and direction.
        error: largest difference over the largest value; for marching, the share of rays with other samples.
        torch_ms, triton_ms: milliseconds of one call, mean over the repetitions.
    """

    what: str
    error: float
    torch_ms: float
    triton_ms: float
    agrees: bool


class Benchmark:
    """Compares and times pairs of functions on one device."""

    def __init__(self, device: torch.device, repetitions: int) -> None:
        self.device = device
        self.repetitions = repetitions

    def differentiable(
        self,
        what: str,
        plain: Callable[[], Tensor],
        fused: Callable[[], Tensor],
        leaves: list[Tensor],
        dtype: torch.dtype,
    ) -> Iterator[Timing]:
        """Time the forward pass, and both passes, of two functions of ``leaves`` that return one tensor."""
        y = plain()
        cotangent = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(y)
        del y

        def with_gradient(function: Callable[[], Tensor]) -> Callable[[], tuple[Tensor, ...]]:
            return lambda: torch.autograd.grad(function(), leaves, cotangent)

        with torch.no_grad():
            forward = self._timing(f'{what}, forward', plain, fused, _difference(fused(), plain()), TOLERANCE[dtype])
        yield forward
        pairs = zip(with_gradient(fused)(), with_gradient(plain)(), strict=True)
        error = max(_difference(ours, theirs) for ours, theirs in pairs)
        both = (with_gradient(plain), with_gradient(fused))
        yield self._timing(f'{what}, forward and backward', *both, error, TOLERANCE[dtype])

    def _timing(self, what: str, plain: Callable, fused: Callable, error: float, tolerance: float) -> Timing:
        times = [milliseconds(function, self.device, self.repetitions) for function in (plain, fused)]
        return Timing(what, error, *times, error <= tolerance)

    def instance_norms(self, kernels: ModuleType, size: str) -> Iterator[Timing]:
        """Compare instance norms with a leaky ReLU."""
        for shape in MAPS[size]:
            for dtype in (torch.float32, torch.float16):
                x = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(self.device, dtype)
                x = x.contiguous(memory_format=torch.channels_last).requires_grad_()
                yield from self.differentiable(
                    f'instance norm {"x".join(map(str, shape))} {str(dtype).removeprefix("torch.")}',
                    lambda x=x: layers.instance_norm(x, layers.LEAKY_SLOPE),
                    lambda x=x: kernels.instance_norm(x, layers.LEAKY_SLOPE),
                    [x],
                    dtype,
                )

    def rays(self, kernels: ModuleType, size: str) -> Iterator[Timing]:
        """Compare marching, weights and compositing of the rays of all target views."""
        space, sampling = ParameterizedSpace(), RaySampling(published_quirks=True)
        tables, origins, directions = _scene(space, sampling, size, self.device)
        grid = tables.grid
        marching = kernels.Marching(
            *(space.inner_range, space.inner_range_z, space.contract_ratio, space.far),
            *(grid.coarse_level, grid.fine_level),
            *(sampling.fine_samples, sampling.fine_step, sampling.density_activation, sampling.published_quirks),
        )

        def plain() -> tuple[Tensor, Tensor]:
            return place_samples(tables, space, sampling, origins, directions, False)

        def fused() -> tuple[Tensor, Tensor]:
            edges = space.bin_edges(origins)
            coarse = ((edges[:-1] + edges[1:]) / 2).expand(len(origins), -1)
            return kernels.place_samples(coarse, origins, directions, grid.index, grid.leaves, tables.logits, marching)

        with torch.no_grad():
            depths, rows = plain()
            found, found_rows = fused()
            other = ((depths != found) | (rows != found_rows)).any(1).double().mean().item()
            name = f'{len(rows)} rays x {rows.shape[1]}, {float((rows < grid.empty_row).double().mean()):.1%} hits'
            # Weights that differ by rounding alone make another interval the heaviest.
            marched = self._timing(f'marching of {name}', plain, fused, other, 0.05)
        yield marched
        del found, found_rows
        for how, mean in (('', False), (', of mean densities', True)):
            yield from self.differentiable(
                f'weights, depth and opacity{how}',
                lambda mean=mean: _joined(*_torch_weights(tables.logits, rows, depths, space.far, mean)),
                lambda mean=mean: _joined(*kernels.ray_weights(tables.logits, rows, depths, 'exp', space.far, mean)),
                [tables.logits],
                torch.float32,
            )
        weights = kernels.ray_weights(tables.logits, rows, depths, 'exp', space.far)[1].detach().requires_grad_()
        for name, table, limit, cells in (
            ('fine', tables.fine, grid.num_fine, None),
            ('coarse', tables.coarse, grid.empty_row, _coarse_of_row(grid)),
        ):
            yield from self.differentiable(
                f'composite of {name} features',
                lambda table=table, limit=limit, cells=cells: _torch_composite(table, rows, weights, limit, cells),
                lambda table=table, limit=limit, cells=cells: kernels.composite(table, rows, weights, limit, cells)[0],
                [table, weights],
                torch.float32,
            )


def _difference(ours: Tensor, theirs: Tensor) -> float:
    """Return the largest difference over the largest value; that of the empty row counts as none."""
    return difference(ours[:-1], theirs[:-1]) if ours.dim() == 1 else difference(ours, theirs)


def _scene(
    space: ParameterizedSpace, sampling: RaySampling, size: str, device: torch.device
) -> tuple[VoxelTables, Tensor, Tensor]:
    """Make the cells of rough surfaces that a ring of source views sees, and the rays of the target views."""
    sources, targets, height, width, levels = VIEWS[size]
    generator = torch.Generator().manual_seed(0)
    origins, directions = _rays(sources, height, width)
    coarse = F.interpolate(torch.randn(sources, 1, 4, 7, generator=generator), (height, width), mode='bilinear')
    depths = 5 + 40 * torch.sigmoid(coarse.view(-1, 1)) + 0.1 * torch.arange(POINTS_PER_RAY)
    points = origins[:, None] + depths[..., None] * directions[:, None]
    grid, _ = VoxelGrid.build(point_codes(space.contract(points).view(-1, 3), levels[1]).to(device), *levels)
    voxels = [torch.randn(n, CHANNELS + 1, generator=generator).to(device) for n in (grid.num_coarse, grid.num_fine)]
    tables = VoxelTables.build(grid, *voxels, sampling.logit_bound, sampling.published_quirks)
    for table in (tables.logits, tables.fine, tables.coarse):
        table.requires_grad_()
    origins, directions = _rays(targets, height, width)
    return tables, origins.to(device), directions.to(device)


def _rays(views: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    origins, directions = ring(views, height, width).rays(height, width)
    return origins[:, None, None].expand_as(directions).reshape(-1, 3), directions.reshape(-1, 3)


def _coarse_of_row(grid: VoxelGrid) -> Tensor:
    coarse = torch.arange(grid.num_coarse, dtype=grid.parents.dtype, device=grid.parents.device)
    return torch.cat([grid.parents, coarse])


def _torch_weights(logits: Tensor, rows: Tensor, depths: Tensor, far: float, mean: bool) -> tuple[Tensor, ...]:
    weights = alpha_weights(gather_rows(logits, rows), depths, 'exp', mean)
    halves = (F.pad(weights, (1, 0)) + F.pad(weights, (0, 1))) / 2
    return weights, halves, expected_depth(weights, depths, far), weights.sum(-1)


def _joined(weights: Tensor, halves: Tensor, depth: Tensor, opacity: Tensor) -> Tensor:
    """Join what training uses: the weights of samples, depth (in 100 m, where anything is seen) and opacity."""
    depth = torch.where(opacity.detach() > 0.01, depth / 100, 0)
    return torch.cat([halves, depth[:, None], opacity[:, None]], 1)


def _torch_composite(table: Tensor, rows: Tensor, weights: Tensor, limit: int, cells: Tensor | None) -> Tensor:
    hit = rows < limit
    chosen = rows[hit] if cells is None else cells.index_select(0, rows[hit])
    return weighted_segment_sum(table, chosen, weights[hit], segment_offsets(hit.sum(1)))


def parse_args() -> argparse.Namespace:
    """Parse the options."""
    options = parser(__doc__)
    options.add_argument('--size', choices=sorted(MAPS), default='published')
    return options.parse_args()


def _row(timing: Timing) -> list[str]:
    times = (f'{timing.torch_ms:.3f}', f'{timing.triton_ms:.3f}', f'{timing.torch_ms / timing.triton_ms:.1f}')
    return [timing.what, f'{timing.error:.1e}', 'yes' if timing.agrees else 'NO', *times]


@command
def main() -> None:
    """Print a table; exit with 1 if a kernel disagrees with torch."""
    args = parse_args()
    benchmark = Benchmark(kernels_device(args.device), args.repetitions)
    from projects.DistillNeRF.kernels import instance_norm, ray_marching

    timings = [*benchmark.instance_norms(instance_norm, args.size), *benchmark.rays(ray_marching, args.size)]
    report(timings, ['kernel', 'error', 'agrees', 'torch, ms', 'Triton, ms', 'ratio'], _row, args.json)


if __name__ == '__main__':
    main()
