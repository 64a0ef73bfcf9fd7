"""CPU time and bytes of a sample, by transform: python -m verification.benchmark.loading CONFIG [--cfg-options ...]

``--make DIR`` writes a data set of the sizes of nuScenes first (DIR/nuscenes, DIR/nuscenes_emernerf) and measures that.
"""

from __future__ import annotations

import argparse
import platform
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import torch
from torch import Tensor

from projects.DistillNeRF.configuration.config import load_config
from projects.DistillNeRF.datasets.dataset import DistillNeRFDataset, own_datasets
from projects.DistillNeRF.engine.builders import build_dataset
from projects.DistillNeRF.engine.command_line import config_parser, file_path
from projects.DistillNeRF.evaluation.report import text_table
from projects.DistillNeRF.geometry.tensors import TensorFields
from projects.DistillNeRF.geometry.views import Views
from projects.DistillNeRF.utils.errors import InputError, command
from projects.DistillNeRF.utils.files import save_json
from verification.benchmark.loading_data import make

RECORDS, RESIZE, HAND_OVER = 'records', 'resize_teacher', 'to shared memory'
# Counts the bytes that this process has read, from disk or the page cache; Linux alone has it.
IO = Path('/proc/self/io')


@dataclass
class Cost:
    """What the loading of one sample costs, by part.

    Attributes:
        seconds: CPU time of all threads.
        read: bytes read from files, -1 where the system does not count them.
        handed: bytes of the tensors of the sample.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    read: dict[str, int] = field(default_factory=dict)
    handed: int = 0


def measure(dataset: DistillNeRFDataset, repetitions: int) -> Cost:
    """Load all samples as a worker does, several times; of the repetitions the fastest counts for each part."""
    rounds = [_round(dataset, number) for number in range(repetitions + 1)][1:]  # the first fills the page cache
    best = Cost(handed=rounds[0].handed)
    for name in rounds[0].seconds:
        best.seconds[name] = min(one.seconds[name] for one in rounds)
        best.read[name] = rounds[0].read[name]
    return best


def _round(dataset: DistillNeRFDataset, number: int) -> Cost:
    """Return the mean cost of a sample."""
    cost, count = Cost(), len(dataset)
    for index in range(count):
        random.seed(f'{number} {index}')
        sample: Any = index
        for name, step in _steps(dataset):
            began, before = time.process_time(), _bytes_read()
            sample = step(sample)
            cost.seconds[name] = cost.seconds.get(name, 0.0) + (time.process_time() - began) / count
            cost.read[name] = cost.read.get(name, 0) + (_bytes_read() - before) // count
        cost.handed += sum(tensor.nbytes for views in sample['inputs'].values() for tensor in _tensors(views)) // count
    return cost


def _steps(dataset: DistillNeRFDataset) -> Iterator[tuple[str, Any]]:
    yield RECORDS, dataset.get_data_info
    for transform in dataset.pipeline.transforms:
        yield type(transform).__name__, transform
    if dataset.resize_teacher:
        yield RESIZE, dataset.finish
    yield HAND_OVER, _share


def _share(sample: dict[str, Any]) -> dict[str, Any]:
    """Move the tensors of a sample to where the training process can read them, as a worker does."""
    for views in sample['inputs'].values():
        for tensor in _tensors(views):
            tensor.share_memory_()
    return sample


def _tensors(fields: TensorFields) -> Iterator[Tensor]:
    for value in vars(fields).values():
        if isinstance(value, TensorFields):
            yield from _tensors(value)
        elif isinstance(value, Tensor):
            yield value


def _bytes_read() -> int:
    return int(IO.read_text().split()[1]) if IO.is_file() else -1


def table(costs: dict[str, Cost]) -> str:
    """Return a table with a row per part and columns for every way of loading."""
    names = list(dict.fromkeys(name for cost in costs.values() for name in cost.seconds))
    rows = []
    for name in [*names, 'all']:
        row = [name]
        for cost in costs.values():
            chosen = names if name == 'all' else [name]
            row.append(f'{1e3 * sum(cost.seconds.get(part, 0) for part in chosen):.1f}')
            row.append(f'{sum(cost.read.get(part, 0) for part in chosen) / 1e6:.2f}')
        rows.append(row)
    rows.append(['handed over', *(text for cost in costs.values() for text in ('', f'{cost.handed / 1e6:.2f}'))])
    return text_table(['', *(f'{way} {unit}' for way in costs for unit in ('CPU ms', 'MB'))], rows)


def cache_bytes(dataset: DistillNeRFDataset) -> dict[str, float]:
    """Return the mean size of the files of a cache, by kind."""
    sizes: dict[str, list[int]] = {}
    for path in Path(dataset.cache).rglob('*.cache'):
        sizes.setdefault(path.relative_to(dataset.cache).parts[0], []).append(path.stat().st_size)
    return {kind: sum(found) / len(found) for kind, found in sizes.items()}


def parse_args() -> argparse.Namespace:
    """Parse the options."""
    parser = config_parser(__doc__, checkpoint=False)
    parser.add_argument('--repetitions', type=int, default=5)
    parser.add_argument('--make', type=file_path, help='write a data set of the sizes of nuScenes here, and measure it')
    parser.add_argument('--json', type=file_path, help='write the figures to this file, too')
    return parser.parse_args()


@command
def main() -> None:
    """Measure the training data of a config, without its cache and, where it has one, with it."""
    args = parse_args()
    if args.repetitions < 1:
        raise InputError('--repetitions: give 1 or more')
    options = args.cfg_options or {}
    if args.make is not None:
        options = {'data_root': str(make(args.make)), **options}
    # As in a worker.
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    costs, sizes = {}, {}
    config = load_config(args.config, options)
    (dataset,) = own_datasets(build_dataset(config, 'train'))
    folder, dataset.cache = dataset.cache, None
    costs['plain'] = measure(dataset, args.repetitions)
    if folder is not None:
        dataset.cache = folder
        costs['cached'], sizes = measure(dataset, args.repetitions), cache_bytes(dataset)
    views: Views = dataset[0]['inputs']['target_views']
    height, width = views.images.shape[-2:]
    machine = platform.processor() or platform.machine()
    print(f'{len(dataset)} samples, {len(views)} target views of {height}x{width}, machine {machine}')
    print(table(costs))
    for kind, size in sizes.items():
        print(f'{kind}: {size / 1e3:.1f} kB a file')
    if args.json:
        figures = {way: vars(cost) for way, cost in costs.items()}
        save_json(args.json, {'costs': figures, 'bytes of a cached file': sizes}, indent=2)


if __name__ == '__main__':
    main()
