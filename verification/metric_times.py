"""Measure what the metrics of tools/test.py take beside the network.

    OMP_NUM_THREADS=1 python -m verification.metric_times CONFIG CHECKPOINT [--samples 8] [--repetitions 5] [--command]

Prints milliseconds of CPU time per sample: the network, then each --eval, the least of all repetitions, and its share
of the time of the network. Reading data is not counted.

With --command it does what the command does over all the test data, once, and prints the seconds of CPU time of each
metric, with compiled loops that are loaded and intervals, and its share of all the rest, from imports on.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Any
from unittest import mock

import torch
from mmdet3d.registry import METRICS
from mmengine.config import Config
from mmengine.structures import BaseDataElement

import projects.DistillNeRF.register  # noqa: F401
from projects.DistillNeRF.configuration.config import building, load_config, work_dir_of
from projects.DistillNeRF.engine.builders import prepare, runner_with_weights
from projects.DistillNeRF.engine.command_line import config_parser
from projects.DistillNeRF.engine.evaluate import EVALUATIONS, evaluate
from projects.DistillNeRF.evaluation.metrics import SampleMetric
from projects.DistillNeRF.evaluation.report import text_table
from projects.DistillNeRF.utils.errors import InputError, command

USUAL = ('psnr', 'novel_view', 'depth', 'occupancy')
NETWORK = 'network'
# Methods of a metric in which all its work is done.
WATCHED = ('process', 'evaluate', 'intervals')


@torch.no_grad()
def predicted(config: Config, checkpoint: str | None, count: int) -> Iterator[tuple[BaseDataElement, float]]:
    """Yield what the network predicts of the first samples of the test data, and the seconds that each took it."""
    config = prepare(config, work_dir_of(config, None, None))
    runner = runner_with_weights(config, checkpoint)
    with building(config):
        loader = runner.build_dataloader(config.test_dataloader)
    runner.model.eval()
    for batch in loader:
        begin = time.process_time()
        samples = runner.model.test_step(batch)
        seconds = (time.process_time() - begin) / len(samples)
        for sample in samples:
            yield sample, seconds
            count -= 1
            if not count:
                return


def measure(samples: Sequence[dict[str, Any]], evaluation: str, repetitions: int) -> float:
    """Return the seconds per sample that an evaluation takes, the least of all repetitions."""
    # What is compiled, or allocated once, does not count.
    METRICS.build(EVALUATIONS[evaluation]).process(None, samples[:1])
    seconds = []
    for _ in range(repetitions):
        metric = METRICS.build(EVALUATIONS[evaluation])
        begin = time.process_time()
        metric.process(None, samples)
        seconds.append((time.process_time() - begin) / len(samples))
    return min(seconds)


@contextmanager
def watched(seconds: dict[str, float]) -> Iterator[None]:
    """Add up the CPU time of metrics, by the name of their class, while they are evaluated."""
    with ExitStack() as stack:
        for name in WATCHED:
            timed = _timed(getattr(SampleMetric, name), seconds)
            stack.enter_context(mock.patch.object(SampleMetric, name, timed))
        yield


def _timed(method: Callable[..., Any], seconds: dict[str, float]) -> Callable[..., Any]:
    """Return a method that adds up its time."""

    @wraps(method)
    def measured(self: SampleMetric, *args: Any, **kwargs: Any) -> Any:
        begin = time.process_time()
        try:
            return method(self, *args, **kwargs)
        finally:
            name = type(self).__name__
            seconds[name] = seconds.get(name, 0.0) + time.process_time() - begin

    return measured


def measure_command(config: Config, checkpoint: str | None, evaluations: Sequence[str]) -> list[list[str]]:
    """Evaluate as tools/test.py does; return the rows of the table."""
    seconds: dict[str, float] = {}
    with watched(seconds):
        evaluate(config, checkpoint, work_dir_of(config, None, None), evaluations)
    total = sum(seconds.values())
    rest = time.process_time() - total
    rows = {'the rest': rest, **seconds, 'all metrics': total}
    return [[name, f'{value:.2f}', f'{value / rest:.1%}'] for name, value in rows.items()]


def parse_args() -> argparse.Namespace:
    """Parse the options."""
    parser = config_parser(__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    about = f'default: {" ".join(USUAL)}'
    parser.add_argument('--eval', nargs='+', choices=sorted(EVALUATIONS), default=USUAL, dest='evaluations', help=about)
    parser.add_argument('--samples', type=int, default=8, help='of the test data; default: 8')
    parser.add_argument('--repetitions', type=int, default=5, help='of each metric; default: 5')
    parser.add_argument('--command', action='store_true', help='what metrics take of the whole command')
    return parser.parse_args()


@command
def main() -> None:
    """Print the table."""
    args = parse_args()
    if min(args.samples, args.repetitions) < 1:
        raise InputError('--samples and --repetitions count; give 1 or more')
    options = {'test_dataloader.num_workers': 0, 'test_dataloader.persistent_workers': False}
    config = load_config(args.config, options | (args.cfg_options or {}))
    if args.command:
        print(text_table(['', 's', 'of the rest'], measure_command(config, args.checkpoint, args.evaluations)))
        return
    found = list(predicted(config, args.checkpoint, args.samples))
    samples = [sample.to_dict() for sample, _ in found]
    times = {NETWORK: min(seconds for _, seconds in found)}
    times |= {name: measure(samples, name, args.repetitions) for name in args.evaluations}
    rows = [[name, f'{1e3 * value:.1f}', f'{value / times[NETWORK]:.1%}'] for name, value in times.items()]
    print(text_table(['', 'ms', 'of the network'], rows))


if __name__ == '__main__':
    main()
