"""Compare the images per second of an extraction of features with those of the model alone.

    python -m verification.extractor_throughput {clip,dino,siglip,onnx} MODEL INFOS.. [--root DIR] [--images 64]
        [--size HEIGHT WIDTH] [--normalize NAME] [--device cpu] [--batch 8] [--workers 2] [--rounds 3]

The model alone computes the same batches, read before. Both take turns, so that a busy machine slows both; of each the
fastest round counts. Files go to a temporary folder.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from projects.DistillNeRF.engine.extract_features import FeatureChoice, Maps, feature_files, feature_stages, usual_size
from projects.DistillNeRF.engine.extraction import ExtractionOptions, ImageTask, Stages, list_tasks, run_stages
from projects.DistillNeRF.foundation_models.features import KINDS
from projects.DistillNeRF.foundation_models.preprocess import NORMALIZATIONS, named_normalization
from projects.DistillNeRF.foundation_models.reduction import ReductionFit
from projects.DistillNeRF.utils.errors import command


@dataclass(frozen=True)
class Throughput:
    """Images per second.

    Attributes:
        alone: of the model.
        whole: of reading, computing and writing.
    """

    alone: float
    whole: float


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
    alone, whole = [], []
    for _ in range(rounds):
        start = time.perf_counter()
        for one in batches:
            stages.compute(one)
        alone.append(time.perf_counter() - start)
        start = time.perf_counter()
        for _ in run_stages(tasks, stages, batch, workers):
            pass
        whole.append(time.perf_counter() - start)
    return Throughput(len(tasks) / min(alone), len(tasks) / min(whole))


def measure_features(
    tasks: Sequence[ImageTask], choice: FeatureChoice, batch: int = 8, workers: int = 2, rounds: int = 3
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
    parser.add_argument('--device', default='cpu')
    for name, default in (('--batch', 8), ('--workers', 2), ('--rounds', 3)):
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


if __name__ == '__main__':
    main()
