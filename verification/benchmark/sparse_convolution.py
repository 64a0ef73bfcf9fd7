"""Compare the sparse convolution in Triton with plain torch, and time both on scenes of published size.

    python -m verification.benchmark.sparse_convolution --device cuda

Without a GPU it checks a small scene in Triton's interpreter, whose times mean nothing:

    TRITON_INTERPRET=1 python -m verification.benchmark.sparse_convolution --level 3 --width 16 --precision fp32
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from projects.DistillNeRF.kernels.selection import TF32_TOLERANCE, TOLERANCES
from projects.DistillNeRF.modules.sparse_conv import ConvMaps, SparseConv, build_maps
from projects.DistillNeRF.modules.voxels import VoxelGrid, morton_encode
from projects.DistillNeRF.utils.errors import command
from projects.DistillNeRF.utils.precision import AUTOCAST, PRECISIONS, computing
from verification.benchmark.kernel_timing import difference, kernels_device, milliseconds, parser, report

# Bumpy sheets through the cube, the share of their patches that is occupied, and the noise of the rest in cells: about
# as many cells with as many neighbors as six cameras fill with images of published size.
SHEETS, OCCUPIED, NOISE = 6, 0.5, 0.5
WAYS = ('torch', 'triton')


@dataclass(frozen=True)
class Timing:
    """A layer in a precision, by both.

    Attributes:
        error: of the kernels' values and gradients, against torch in float32; over the largest value.
        forward, both: milliseconds of torch and of Triton, without gradients and with them.
        teraflops: 1e12 operations per second of Triton's forward pass, those of present pairs alone.
    """

    layer: str
    pairs: int
    precision: str
    error: float
    agrees: bool
    forward: tuple[float, float]
    both: tuple[float, float]
    teraflops: float


def layers(width: int) -> list[tuple[str, int, int]]:
    """Return the map and the channels of every kind of layer of a network of a width."""
    fine = [('within fine', 33, width), ('within fine', width, width), ('fine to coarse', width, width)]
    return [
        *fine,
        *(('within coarse', *ends) for ends in ((33, width), (2 * width, width), (width, width), (width, 33))),
    ]


def surface_grid(level: int, device: torch.device) -> VoxelGrid:
    """Make a grid of ``2**level`` cells per axis and of two levels less, occupied along surfaces."""
    generator = torch.Generator().manual_seed(0)
    size, patch = 2**level, max(1, 2 ** (level - 5))
    x, y = torch.meshgrid(torch.arange(size), torch.arange(size), indexing='ij')
    cells = []
    for sheet in range(SHEETS):
        phases = 2 * math.pi * torch.rand(2, generator=generator)
        waves = torch.sin(50 * x / size / 6 + phases[0]) * torch.cos(50 * y / size / 5 + phases[1])
        middle = size * (sheet + 0.5 + waves / 4) / SHEETS
        z = (middle + NOISE * torch.randn(size, size, generator=generator)).round().long().clamp(0, size - 1)
        occupied = torch.rand(size // patch, size // patch, generator=generator) < OCCUPIED
        kept = torch.stack([x, y, z], -1)[occupied.repeat_interleave(patch, 0).repeat_interleave(patch, 1)]
        cells.append(kept if sheet % 2 else kept[:, [2, 0, 1]])
    return VoxelGrid.build(morton_encode(torch.cat(cells).int()).to(device), level - 2, level)[0]


class Benchmark:
    """Compares and times the layers of a scene on one device."""

    def __init__(self, grid: VoxelGrid, width: int, device: torch.device, repetitions: int) -> None:
        self.layers = layers(width)
        self.device = device
        self.repetitions = repetitions
        fine, coarse = grid.fine_level, grid.coarse_level
        ends = {'within fine': (fine, fine), 'fine to coarse': (fine, coarse), 'within coarse': (coarse, coarse)}
        self.maps = {name: build_maps(grid, *levels, channels=2 * width) for name, levels in ends.items()}
        self.inputs = {name: len(grid.cells(levels[0])) for name, levels in ends.items()}

    def timings(self, precision: str) -> Iterator[Timing]:
        """Compare and time all layers in a precision."""
        for name, in_channels, out_channels in self.layers:
            torch.manual_seed(0)
            dtype = AUTOCAST.get(precision, torch.float32)
            conv = SparseConv(in_channels, out_channels).to(self.device)
            conv.weight.data = conv.weight.data.to(dtype).float()
            generator = torch.Generator().manual_seed(1)
            x = torch.randn(self.inputs[name], in_channels, generator=generator).to(self.device, dtype).float()
            yield self._timing(name, conv, x.requires_grad_(), precision)

    def _timing(self, name: str, conv: SparseConv, x: Tensor, precision: str) -> Timing:
        maps = self.maps[name]
        pairs = int((maps.tables[0] >= 0).sum())
        grad = torch.randn(len(maps.tables[0]), conv.weight.shape[2], generator=torch.Generator().manual_seed(2))
        grad = grad.to(self.device, AUTOCAST.get(precision, torch.float32)).float()

        def step(kernels: str) -> tuple[Tensor, ...]:
            conv.kernels = kernels
            value = conv(x, maps)
            return value, *torch.autograd.grad(value, (x, conv.weight), grad)

        with computing('fp32', self.device.type):
            expected = step('torch')
        with computing(precision, self.device.type):
            error = max(difference(*pair) for pair in zip(step('triton'), expected, strict=True))
            del expected
            forward = tuple(self._milliseconds(lambda way=way: _forward(conv, x, maps, way)) for way in WAYS)
            both = tuple(self._milliseconds(lambda way=way: step(way)) for way in WAYS)
        dtype = AUTOCAST.get(precision, torch.float32)
        tolerance = TF32_TOLERANCE if precision == 'tf32' else TOLERANCES[dtype]
        flop = 2 * pairs * conv.weight[0].numel()
        title = f'{name}, {conv.weight.shape[1]} -> {conv.weight.shape[2]}'
        return Timing(title, pairs, precision, error, error <= tolerance, forward, both, flop / forward[1] / 1e9)

    def _milliseconds(self, function: Callable[[], object]) -> float:
        return milliseconds(function, self.device, self.repetitions)

    def ordering(self) -> Iterator[str]:
        """Say for every table how it is ordered, and how long that takes."""
        from projects.DistillNeRF.kernels.sparse_conv import OFFSETS, ROWS, _Plan

        for name, maps in self.maps.items():
            for kind, table in zip(('', ', transposed'), maps.tables, strict=True):
                if table is not None:
                    plan = _Plan.make(table)
                    pairs = int((table >= 0).sum())
                    computed = int(plan.num_offsets.sum()) * ROWS
                    yield (
                        f'{name}{kind}: {len(table)} outputs, {pairs / len(table):.1f} of {OFFSETS} offsets present, '
                        f'{computed / len(table):.1f} computed; ordered in '
                        f'{self._milliseconds(lambda table=table: _Plan.make(table)):.2f} ms'
                    )


def _forward(conv: SparseConv, x: Tensor, maps: ConvMaps, kernels: str) -> Tensor:
    conv.kernels = kernels
    with torch.no_grad():
        return conv(x, maps)


def parse_args() -> argparse.Namespace:
    """Parse the options."""
    options = parser(__doc__)
    options.add_argument('--level', type=int, default=9, help='the scene has 2^LEVEL fine cells per axis (default: 9)')
    options.add_argument('--width', type=int, default=128, help='channels (default: 128)')
    options.add_argument('--precision', choices=PRECISIONS, nargs='+', default=['fp16', 'tf32', 'fp32'])
    return options.parse_args()


HEAD = ['layer', 'precision', 'error', 'agrees', 'forward: torch, ms', 'Triton', 'ratio', 'TFLOP/s']
HEAD += ['both: torch, ms', 'Triton', 'ratio']


def _row(t: Timing) -> list[str]:
    return [
        *(t.layer, t.precision, f'{t.error:.1e}', 'yes' if t.agrees else 'NO'),
        *(f'{t.forward[0]:.2f}', f'{t.forward[1]:.2f}', f'{t.forward[0] / t.forward[1]:.1f}', f'{t.teraflops:.0f}'),
        *(f'{t.both[0]:.2f}', f'{t.both[1]:.2f}', f'{t.both[0] / t.both[1]:.1f}'),
    ]


@command
def main() -> None:
    """Print a table; exit with 1 if a kernel disagrees with torch."""
    args = parse_args()
    device = kernels_device(args.device)
    grid = surface_grid(args.level, device)
    print(f'{grid.num_fine} fine and {grid.num_coarse} coarse cells')
    benchmark = Benchmark(grid, args.width, device, args.repetitions)
    print('\n'.join(benchmark.ordering()))
    timings = [timing for precision in args.precision for timing in benchmark.timings(precision)]
    report(timings, HEAD, _row, args.json, left=(0, 1))


if __name__ == '__main__':
    main()
