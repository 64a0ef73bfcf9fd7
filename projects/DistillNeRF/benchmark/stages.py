"""Run a network stage by stage, in our way or in the plain one, and measure each stage."""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ..models.network import DistillNeRF
from ..modules.fine_depth import FineDepth, FineDepthNet
from ..modules.pooling import pool_views
from ..modules.views import Views
from . import plain

METHODS = ('ours', 'plain')
STAGES = ('coarse', 'fine', 'pooling', 'sparse convolution', 'rendering', 'decoder', 'backward')
MEBI = 1 << 20

T = TypeVar('T')


@dataclass
class Measured:
    """Seconds per stage (median over the repetitions), work, and peak memory.

    Attributes:
        seconds: stage -> seconds; ``backward`` only with gradients.
        gflop: stage -> 1e9 floating point operations of its convolutions and matrix products.
        peak: MiB above what was in use before the first repetition.
        cells: occupied cells of the coarse and the fine level.
    """

    seconds: dict[str, float]
    gflop: dict[str, float]
    peak: float
    cells: tuple[int, int]

    @property
    def total(self) -> float:
        """Seconds of all stages."""
        return sum(self.seconds.values())


class _Clock:
    """Time of named stages; waits for the device before it looks."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: dict[str, list[float]] = {}

    def __call__(self, stage: str, work: Callable[[], T]) -> T:
        start = self._now()
        result = work()
        self.seconds.setdefault(stage, []).append(self._now() - start)
        return result

    def _now(self) -> float:
        """Seconds since some moment."""
        if self.device.type == 'cuda':
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


class _Counter:
    """Floating point operations of named stages."""

    def __init__(self) -> None:
        self.gflop: dict[str, float] = {}

    def __call__(self, stage: str, work: Callable[[], T]) -> T:
        with FlopCounterMode(display=False) as counter:
            result = work()
        self.gflop[stage] = counter.get_total_flops() / 1e9
        return result


def measure(network: DistillNeRF, views: Views, method: str, gradients: bool, repetitions: int = 3) -> Measured:
    """All stages of one scene: ``views`` go in, and their cameras are rendered.

    Args:
        method: ``ours`` or ``plain``.
        gradients: record them, and run the backward pass of mean |image| + mean depth + mean coarse depth.
    """
    run = {'ours': _ours, 'plain': _plain}[method]
    device = views.images.device
    clock = _Clock(device)
    before = _reset_peak(device)
    cells = (0, 0)
    for _ in range(repetitions):
        cells = _step(run, network, views, clock, gradients)
    peak = _peak(device) - before
    counter = _Counter()
    _step(run, network, views, counter, gradients)
    seconds = {stage: statistics.median(times) for stage, times in clock.seconds.items()}
    return Measured(seconds, counter.gflop, peak / MEBI, cells)


def _step(
    run: Callable, network: DistillNeRF, views: Views, watch: _Clock | _Counter, gradients: bool
) -> tuple[int, int]:
    network.zero_grad(set_to_none=True)
    with nullcontext() if gradients else torch.no_grad():
        loss, cells = run(network, views, watch)
    if gradients:
        watch('backward', loss.backward)
    return cells


def ceilings(device: torch.device) -> dict[str, float]:
    """1e9 operations per second that this machine reaches in a large matrix product and in a 3x3 convolution."""
    a, b = (torch.rand(2048, 2048, device=device) for _ in range(2))
    images = torch.rand(4, 64, 128, 228, device=device).contiguous(memory_format=torch.channels_last)
    conv = nn.Conv2d(64, 64, 3, padding=1).to(device, memory_format=torch.channels_last)
    with torch.no_grad():
        return {
            'matrix product': _rate(lambda: a @ b, 2 * 2048**3, device),
            '3x3 convolution': _rate(lambda: conv(images), 2 * 9 * 64 * 64 * images.numel() / 64, device),
        }


def _rate(work: Callable[[], Tensor], operations: float, device: torch.device, repetitions: int = 7) -> float:
    clock = _Clock(device)
    for _ in range(repetitions):
        clock('work', work)
    return operations / min(clock.seconds['work']) / 1e9


def _loss(image: Tensor, depth: Tensor, coarse_depth: Tensor) -> Tensor:
    return image.abs().mean() + depth.mean() + coarse_depth.mean()


def _ours(network: DistillNeRF, views: Views, clock: _Clock | _Counter) -> tuple[Tensor, tuple[int, int]]:
    images = views.images.contiguous(memory_format=torch.channels_last)
    edges = network.space.bin_edges(images)
    coarse = clock('coarse', lambda: network.coarse_net(images, views.depth_features, edges))
    fine = clock('fine', lambda: network.fine_net(images, coarse))
    levels = network.coarse_level, network.fine_level
    grid, pooled, pooled_fine = clock('pooling', lambda: pool_views(views.cameras, fine, network.space, *levels))
    processed = clock('sparse convolution', lambda: network.voxel_net(pooled, pooled_fine, grid))
    scene = network.scene(grid, processed, pooled_fine)
    rays = clock('rendering', lambda: scene.render_composite(views.cameras))
    image = clock('decoder', lambda: _decode(network, rays.composite, views))
    return _loss(image, rays.depth, coarse.depth), (grid.num_coarse, grid.num_fine)


def _plain(network: DistillNeRF, views: Views, clock: _Clock | _Counter) -> tuple[Tensor, tuple[int, int]]:
    space, sampling = network.space, network.sampling
    edges = space.bin_edges(views.images)
    coarse = clock('coarse', lambda: network.coarse_net(views.images, views.depth_features, edges))
    fine = clock('fine', lambda: _plain_fine(network.fine_net, views.images, coarse))
    levels = network.coarse_level, network.fine_level
    pooled = clock('pooling', lambda: plain.pool(views.cameras, fine, space, levels))
    processed = clock('sparse convolution', lambda: plain.sparse_network(network.voxel_net, *pooled))
    height, width = views.cameras.height // network.downscale, views.cameras.width // network.downscale
    origins, directions = views.cameras.rays(height, width)
    origins = origins[:, None, None].expand_as(directions).reshape(-1, 3)
    both = (processed, pooled[1])
    composite, depth = clock(
        'rendering', lambda: plain.render(both, space, sampling, origins, directions.reshape(-1, 3))
    )
    composite = composite.view(len(views), height, width, -1).permute(0, 3, 1, 2)
    image = clock('decoder', lambda: _decode(network, composite, views))
    return _loss(image, depth, coarse.depth), tuple(len(level.codes) for level in pooled)


def _plain_fine(net: FineDepthNet, images: Tensor, coarse) -> FineDepth:
    """The fine net with literal 3-D convolutions in the scorer."""
    forward = net.scorer.forward
    net.scorer.forward = lambda features, candidates: plain.score(net.scorer, features, candidates)
    try:
        return net(images, coarse)
    finally:
        net.scorer.forward = forward


def _decode(network: DistillNeRF, composite: Tensor, views: Views) -> Tensor:
    classes = torch.ones(len(views), dtype=torch.int64, device=composite.device)
    return network.head(composite, classes)


def _reset_peak(device: torch.device) -> int:
    """Forget the peak so far; returns the memory in use, bytes."""
    if device.type == 'cuda':
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)
    # Linux: makes the peak equal to what is resident now.
    Path('/proc/self/clear_refs').write_text('5')
    return _peak(device)


def _peak(device: torch.device) -> int:
    if device.type == 'cuda':
        return torch.cuda.max_memory_allocated(device)
    for line in Path('/proc/self/status').read_text().splitlines():
        if line.startswith('VmHWM'):
            return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
