"""Measure in a process of its own, so that the memory is that of one case alone."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import torch

from projects.DistillNeRF.engine.machine import prepare_processor
from projects.DistillNeRF.models.network import DistillNeRF
from verification.benchmark.profiler import now
from verification.benchmark.scenes import NOISE_PIXELS, SIZES, build_network, random_views
from verification.benchmark.stages import Measurement, measure

A = TypeVar('A')
T = TypeVar('T')


@dataclass(frozen=True)
class Case:
    """A measurement: network and image size, number of cameras, way of computing, with gradients or without."""

    size: str
    cameras: int
    method: str
    backward: bool
    repetitions: int
    device: str


def run(case: Case) -> Measurement:
    """Measure in a fresh process."""
    return in_fresh_process(_run, case)


def _run(case: Case) -> Measurement:
    network = _network(case)
    views = random_views(network, SIZES[case.size], case.cameras).to(case.device)
    return measure(network, views, case.method, case.backward, case.repetitions)


@dataclass(frozen=True)
class Scaling:
    """How the forward time grows.

    Attributes:
        cameras: number of cameras -> seconds of everything.
        rays: number of rays -> seconds of rendering them in the scene of one camera.
        voxels: number of fine cells -> seconds of pooling, kernel maps and sparse convolutions of one camera.
    """

    cameras: dict[int, float]
    rays: dict[int, float]
    voxels: dict[int, float]


def scaling(case: Case) -> Scaling:
    """Measure in a fresh process; the case's number of cameras is not used."""
    return in_fresh_process(_scaling, case)


def _scaling(case: Case) -> Scaling:
    network, size = _network(case), SIZES[case.size]

    def measured(cameras: int, noise_pixels: int = NOISE_PIXELS) -> Measurement:
        views = random_views(network, size, cameras, noise_pixels=noise_pixels).to(case.device)
        return measure(network, views, 'ours', gradients=False, repetitions=case.repetitions)

    by_cameras = {count: measured(count).total for count in (1, 2, 4, 6)}
    by_voxels = {}
    for noise_pixels in (64, 32, 16, 8):
        result = measured(1, noise_pixels)
        stages = ('pooling', 'kernel maps', 'sparse convolution')
        by_voxels[result.cells[1]] = sum(result.forward[stage] for stage in stages)
    return Scaling(by_cameras, _ray_times(network, case), by_voxels)


@torch.no_grad()
def _ray_times(network: DistillNeRF, case: Case) -> dict[int, float]:
    views = random_views(network, SIZES[case.size], 1).to(case.device)
    scene = network(views)
    times = {}
    for count in (1, 2, 4, 8):
        cameras = type(views.cameras)(
            views.cameras.intrinsics.repeat(count, 1, 1),
            views.cameras.cam2world.repeat(count, 1, 1),
            views.cameras.height,
            views.cameras.width,
        )
        rays = scene.render_composite(cameras).depth.numel()
        times[rays] = min(_seconds(lambda c=cameras: scene.render_composite(c), case) for _ in range(case.repetitions))
    return times


def _seconds(work: Callable[[], object], case: Case) -> float:
    device = torch.device(case.device)
    start = now(device)
    work()
    return now(device) - start


def _network(case: Case) -> DistillNeRF:
    prepare_processor()
    return build_network(case.size).to(case.device)


def in_fresh_process(work: Callable[[A], T], argument: A) -> T:
    """Return the result of a fresh process, beside which no threads of this one run."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context('spawn')) as pool:
        return pool.submit(work, argument).result()
