"""One measurement, in a process of its own, so that memory is that of this one alone."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

from ..engine.processor import prepare_processor
from .scenes import SIZES, build_network, random_views
from .stages import Measured, measure


@dataclass(frozen=True)
class Case:
    """What is measured: a network and image size, how many cameras, which way, with gradients or not."""

    size: str
    cameras: int
    method: str
    backward: bool
    repetitions: int
    device: str


def run(case: Case) -> Measured:
    """Measure in a fresh process."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context('spawn')) as pool:
        return pool.submit(_run, case).result()


def _run(case: Case) -> Measured:
    prepare_processor()
    network = build_network(case.size).to(case.device)
    views = random_views(network, SIZES[case.size], case.cameras).to(case.device)
    return measure(network, views, case.method, case.backward, case.repetitions)
