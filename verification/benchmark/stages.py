"""Run a network stage by stage, in our way or in the plain way of the reference, and measure each stage."""

from __future__ import annotations

import statistics
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import TypeVar

import torch
from torch import Tensor

from projects.DistillNeRF.geometry.views import Views
from projects.DistillNeRF.models.network import DistillNeRF
from projects.DistillNeRF.modules.coarse_depth import COLORS
from projects.DistillNeRF.modules.pooling import pool_views
from verification.benchmark.profiler import BACKWARD, Clock, StageProfiler, Work, WorkCounter
from verification.reference import network as reference

# ``features``: pyramid and combiner of the coarse net. ``coarse``: its depth bins. ``fine``: the fine net.
STAGES = ('features', 'coarse', 'fine', 'pooling', 'kernel maps', 'sparse convolution', 'rendering', 'decoder')
MEBI = 1 << 20
T = TypeVar('T')


@dataclass
class Measurement:
    """Time and memory of a step in one way of computing it.

    Attributes:
        forward, backward: stage -> seconds, the median over the repetitions; ``backward`` is empty without gradients.
        peaks: stage -> MiB at its peak in the first repetition, with all that earlier stages keep. Stages of the
            backward pass end on ``backward``.
        peak: MiB, the largest over all repetitions.
        work: ``forward`` and ``backward`` -> stage -> kind of operation -> work of convolutions and matrix products.
        moved: ``forward`` and ``backward`` -> stage -> bytes that it has to read or to leave behind.
        cells: occupied cells of the coarse and the fine level.
    """

    forward: dict[str, float]
    backward: dict[str, float]
    peaks: dict[str, float]
    peak: float
    work: dict[str, dict[str, dict[str, Work]]]
    moved: dict[str, dict[str, int]]
    cells: tuple[int, int]

    @property
    def total(self) -> float:
        """Return the seconds of all stages, both ways."""
        return sum(self.forward.values()) + sum(self.backward.values())

    def figures(self) -> dict:
        """Return all figures, for a file."""
        return {**asdict(self), 'total': self.total}


def measure(network: DistillNeRF, views: Views, method: str, gradients: bool, repetitions: int = 3) -> Measurement:
    """Measure all stages of one scene: ``views`` go in, and their cameras are rendered.

    Args:
        method: one of :data:`METHODS`.
        gradients: record them, and run the backward pass of mean |image| + mean depth + mean coarse depth.
    """
    device = views.images.device
    clock, counter = Clock(device), WorkCounter(device)
    cells = (0, 0)
    if device.type == 'cuda':  # kernels are loaded, compiled and chosen
        _step(method, network, views, StageProfiler(), gradients)
    for _ in range(repetitions):
        cells = _step(method, network, views, clock, gradients)
    with counter.counting():
        _step(method, network, views, counter, gradients)
    seconds = _by_direction({stage: statistics.median(times) for stage, times in clock.seconds.items()})
    return Measurement(
        forward=seconds['forward'],
        backward=seconds.get('backward', {}),
        peaks={stage: peaks[0] / MEBI for stage, peaks in clock.peaks.items()},
        peak=max(max(peaks) for peaks in clock.peaks.values()) / MEBI,
        work=_by_direction(counter.work),
        moved=_by_direction(counter.moved),
        cells=cells,
    )


def _by_direction(values: dict[str, T]) -> dict[str, dict[str, T]]:
    """Divide the stages' values into those of the forward and of the backward pass."""
    directions: dict[str, dict[str, T]] = {}
    for stage, value in values.items():
        direction = 'backward' if stage.endswith(BACKWARD) else 'forward'
        directions.setdefault(direction, {})[stage.removesuffix(BACKWARD)] = value
    return directions


def _step(method: str, network: DistillNeRF, views: Views, profiler: StageProfiler, gradients: bool) -> tuple[int, int]:
    network.zero_grad(set_to_none=True)
    with nullcontext() if gradients else torch.no_grad():
        loss, cells = METHODS[method](network, views, profiler)
    if gradients:
        profiler.backward(loss)
    return cells


def _loss(image: Tensor, depth: Tensor, coarse_depth: Tensor) -> Tensor:
    return image.abs().mean() + depth.mean() + coarse_depth.mean()


def _ours(network: DistillNeRF, views: Views, profiler: StageProfiler) -> tuple[Tensor, tuple[int, int]]:
    images = network.depth_inputs([views])
    coarse_net, voxel_net, levels = network.coarse_net, network.voxel_net, (network.coarse_level, network.fine_level)
    edges = network.bin_edges(images)
    features = profiler('features', lambda: coarse_net.features(images, views.depth_features))
    coarse = profiler('coarse', lambda: coarse_net.render(features, edges, images[:, COLORS:]))
    fine = profiler('fine', lambda: network.fine_net(images, coarse))
    grid, pooled, pooled_fine = profiler('pooling', lambda: pool_views(views.cameras, fine, network.space, *levels))
    maps = profiler('kernel maps', lambda: voxel_net.kernel_maps(grid))
    processed = profiler('sparse convolution', lambda: voxel_net.convolve(pooled, pooled_fine, maps))
    scene = network.scene(grid, processed, pooled_fine)
    rays = profiler('rendering', lambda: scene.render_composite(views.cameras))
    image = profiler('decoder', lambda: _decode(network, rays.composite, views))
    return _loss(image, rays.depth, coarse.depth), (grid.num_coarse, grid.num_fine)


def _plain(network: DistillNeRF, views: Views, profiler: StageProfiler) -> tuple[Tensor, tuple[int, int]]:
    space, sampling = network.space, network.sampling
    edges = space.bin_edges(views.images)
    features = profiler('features', lambda: network.coarse_net.features(views.images, views.depth_features))
    coarse = profiler('coarse', lambda: reference.render_bins(network.coarse_net, features, edges))
    fine = profiler('fine', lambda: reference.fine_depth(network.fine_net, views.images, coarse))
    levels = network.coarse_level, network.fine_level
    pooled = profiler('pooling', lambda: reference.pool_views(views.cameras, fine, space, levels))
    maps = profiler('kernel maps', lambda: reference.kernel_maps(*pooled))
    processed = profiler('sparse convolution', lambda: reference.sparse_network(network.voxel_net, *pooled, pairs=maps))
    height, width = views.cameras.height // network.downscale, views.cameras.width // network.downscale
    origins, directions = views.cameras.rays(height, width)
    origins = origins[:, None, None].expand_as(directions).reshape(-1, 3)
    both = (processed, pooled[1])
    composite, depth = profiler(
        'rendering', lambda: reference.render(both, space, sampling, origins, directions.reshape(-1, 3))
    )
    composite = composite.view(len(views), height, width, -1).permute(0, 3, 1, 2)
    image = profiler('decoder', lambda: _decode(network, composite, views))
    return _loss(image, depth, coarse.depth), tuple(len(level.codes) for level in pooled)


METHODS = {'ours': _ours, 'plain': _plain}


def _decode(network: DistillNeRF, composite: Tensor, views: Views) -> Tensor:
    classes = torch.ones(len(views), dtype=torch.int64, device=composite.device)
    return network.head(composite, classes)
