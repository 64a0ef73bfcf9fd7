"""Compare the images per second of an extraction of features with those of the model alone.

    python -m verification.extractor_throughput {clip,dino,siglip,onnx} MODEL INFOS.. [--root DIR] [--images 64]
        [--size HEIGHT WIDTH] [--normalize NAME] [--device cpu] [--batch 8] [--workers N] [--rounds 3]

The model alone computes the same batches, read before. Both take turns; of each the fastest round counts. Files go to a
temporary folder. On a busy machine both figures mean little, as threads wait for cores: CPU times of the stages tell
there what an idle core beside the model would have to do. They hold for a model of one thread.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from projects.DistillNeRF.engine.extract_features import FeatureChoice, Maps, feature_files, feature_stages, usual_size
from projects.DistillNeRF.engine.extraction import (
    ExtractionOptions,
    ImageTask,
    Stages,
    list_tasks,
    run_stages,
    usual_workers,
)
from projects.DistillNeRF.foundation_models.features import KINDS
from projects.DistillNeRF.foundation_models.preprocess import NORMALIZATIONS, named_normalization
from projects.DistillNeRF.foundation_models.reduction import ReductionFit
from projects.DistillNeRF.utils.errors import command


@dataclass(frozen=True)
class Throughput:
    """How fast an extraction is.

    Attributes:
        alone: images per second of the model.
        whole: of reading, computing and writing.
        seconds: CPU time per image of each stage, and of what the thread of the model does beside it.
    """

    alone: float
    whole: float
    seconds: dict[str, float]

    def possible(self) -> float:
        """Return the share of the speed of the model that is left, if one core is free for reading and writing."""
        model = self.seconds['compute']
        return model / max(model + self.seconds['beside'], self.seconds['load'] + self.seconds['write'])


class _Clock:
    """Add up the CPU time of each stage over its threads."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(('load', 'compute', 'write'), 0.0)
        self._lock = threading.Lock()

    def stages(self, stages: Stages) -> Stages:
        """Return stages that are timed."""
        return Stages(**{name: self._timed(name, getattr(stages, name)) for name in self.seconds})

    def _timed(self, name: str, stage: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any) -> Any:
            start = time.thread_time()
            result = stage(*arguments)
            with self._lock:
                self.seconds[name] += time.thread_time() - start
            return result

        return timed


def measure(tasks: Sequence[ImageTask], stages: Stages, batch: int, workers: int, rounds: int) -> Throughput:
    """Measure both, in turns.

    Args:
        tasks: the images.
        stages: what is done with them.
        batch, workers: as of an extraction.
        rounds: how often.
    """
    pixels = [stages.load(task).pixels for task in tasks]
    batches = [np.stack(pixels[start : start + batch]) for start in range(0, len(pixels), batch)]
    stages.compute(batches[0])
    alone, whole, clock, beside = [], [], _Clock(), 0.0
    for _ in range(rounds):
        start = time.perf_counter()
        for one in batches:
            stages.compute(one)
        alone.append(time.perf_counter() - start)
        start, own = time.perf_counter(), time.thread_time()
        for _ in run_stages(tasks, clock.stages(stages), batch, workers):
            pass
        whole.append(time.perf_counter() - start)
        beside += time.thread_time() - own
    seconds = {**clock.seconds, 'beside': beside - clock.seconds['compute']}
    per_image = {name: total / len(tasks) / rounds for name, total in seconds.items()}
    return Throughput(len(tasks) / min(alone), len(tasks) / min(whole), per_image)


def measure_features(
    tasks: Sequence[ImageTask], choice: FeatureChoice, batch: int = 8, workers: int = usual_workers(), rounds: int = 3
) -> Throughput:
    """Measure an extraction of features, with a reduction of one batch."""
    maps = Maps(choice, usual_size(tasks))
    found = maps.compute(np.stack([maps.load(task).pixels for task in tasks[:batch]]))
    fit = ReductionFit(choice.channels)
    fit.add(found.transpose(0, 2, 3, 1).reshape(-1, found.shape[1]))
    with tempfile.TemporaryDirectory() as folder:
        options = ExtractionOptions(Path(folder), 'features', {})
        return measure(tasks, feature_stages(maps, fit.reduction(), options), batch, workers, rounds)


@command
def main() -> None:
    """Parse the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('kind', choices=KINDS)
    parser.add_argument('model')
    parser.add_argument('data', nargs='+', type=Path)
    parser.add_argument('--root', type=Path)
    parser.add_argument('--images', type=int, default=64)
    parser.add_argument('--size', nargs=2, type=int)
    parser.add_argument('--normalize', choices=tuple(NORMALIZATIONS), default='unit')
    parser.add_argument('--device', default=str(torch.get_default_device()))
    for name, default in (('--batch', 8), ('--workers', usual_workers()), ('--rounds', 3)):
        parser.add_argument(name, type=int, default=default)
    args = parser.parse_args()
    tasks = list_tasks(args.data, feature_files, args.root)[: args.images]
    normalization = named_normalization(args.normalize) if args.kind == 'onnx' else None
    choice = FeatureChoice(args.kind, args.model, args.device, args.size, normalization=normalization)
    found = measure_features(tasks, choice, args.batch, args.workers, args.rounds)
    print(
        f'{len(tasks)} images, {torch.get_num_threads()} threads of {len(os.sched_getaffinity(0))} cores: the model '
        f'alone {found.alone:.2f} images/s, extracted {found.whole:.2f} images/s, {found.whole / found.alone:.0%}'
    )
    stages = ', '.join(f'{name} {1000 * seconds:.1f}' for name, seconds in found.seconds.items())
    print(f'CPU time per image, ms: {stages}; with one core free beside the model {found.possible():.0%} are possible')


if __name__ == '__main__':
    main()
