"""Measure what the metrics of tools/test.py take beside the network.

    OMP_NUM_THREADS=1 python -m verification.metric_times CONFIG CHECKPOINT [--samples 8] [--repetitions 5] [--command]

Prints milliseconds of CPU time per sample: the network, then each --eval, the least of all repetitions, and its share
of the time of the network. Reading data is not counted.

With --command it prints the seconds of CPU time that the whole command takes, in processes of their own over all the
test data, from imports to intervals: without metrics, with all but occupancy, and with all.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from mmdet3d.registry import METRICS
from mmengine.config import Config
from mmengine.structures import BaseDataElement

import projects.DistillNeRF.register  # noqa: F401
from projects.DistillNeRF.configuration.config import building, load_config, work_dir_of
from projects.DistillNeRF.engine.builders import prepare, runner_with_weights
from projects.DistillNeRF.engine.command_line import config_parser
from projects.DistillNeRF.engine.evaluate import EVALUATIONS, evaluate
from projects.DistillNeRF.evaluation.report import compare, text_table
from projects.DistillNeRF.utils.errors import InputError, command

USUAL = ('psnr', 'novel_view', 'depth', 'occupancy')
NETWORK = 'network'


def predicted(config: Config, checkpoint: str | None, count: int) -> Iterator[tuple[BaseDataElement, float]]:
    """Yield what the network predicts of the first samples of the test data, and the seconds that each took it."""
    config = prepare(config, work_dir_of(config, None, None))
    runner = runner_with_weights(config, checkpoint)
    with building(config):
        loader = runner.build_dataloader(config.test_dataloader)
    runner.model.eval()
    with torch.no_grad():
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


def run_command(path: str, options: dict[str, Any], checkpoint: str | None, evaluations: Sequence[str]) -> None:
    """Do what tools/test.py does, of which a process of its own is measured; it takes no empty list of evaluations."""
    config = load_config(path, options)
    found = evaluate(config, checkpoint, work_dir_of(config, None, None), evaluations)
    if found is None:
        raise InputError('measure it in one process, without a launcher')
    print(compare(found.figures, {}, found.intervals))


def command_seconds(*arguments: Any) -> float:
    """Return the CPU time, user's and system's, that :func:`run_command` takes in a new process.

    Raises:
        InputError: it failed.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    process = multiprocessing.get_context('spawn').Process(target=run_command, args=arguments)
    process.start()
    process.join()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if process.exitcode:
        raise InputError('the command failed; see above')
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def command_rows(evaluations: Sequence[str], repetitions: int, *arguments: Any) -> list[list[str]]:
    """Return the rows of the table of the whole command: the least seconds of all repetitions, and what was added."""
    usual = [name for name in evaluations if name != 'occupancy']
    sets = {'without metrics': [], ' '.join(usual): usual, ' '.join(evaluations): list(evaluations)}
    # In turn, so that other work on the machine meets all of them.
    measured = [
        {name: command_seconds(*arguments, chosen) for name, chosen in sets.items()} for _ in range(repetitions)
    ]
    seconds = {name: [one[name] for one in measured] for name in sets}
    least = min(seconds['without metrics'])
    return [
        [name, f'{min(values):.1f}', f'{max(values):.1f}', f'{min(values) / least - 1:.1%}']
        for name, values in seconds.items()
    ]


def parse_args() -> argparse.Namespace:
    """Parse the options."""
    parser = config_parser(__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    about = f'default: {" ".join(USUAL)}'
    parser.add_argument('--eval', nargs='+', choices=sorted(EVALUATIONS), default=USUAL, dest='evaluations', help=about)
    parser.add_argument('--samples', type=int, default=8, help='of the test data; default: 8')
    parser.add_argument('--repetitions', type=int, default=5, help='of each metric, or command; default: 5')
    parser.add_argument('--command', action='store_true', help='measure the whole command, on all the test data')
    return parser.parse_args()


@command
def main() -> None:
    """Print the table."""
    args = parse_args()
    if min(args.samples, args.repetitions) < 1:
        raise InputError('--samples and --repetitions count; give 1 or more')
    options = {'test_dataloader.num_workers': 0, 'test_dataloader.persistent_workers': False}
    options |= args.cfg_options or {}
    if args.command:
        rows = command_rows(args.evaluations, args.repetitions, args.config, options, args.checkpoint)
        print(text_table(['', 's at least', 'at most', 'added'], rows))
        return
    config = load_config(args.config, options)
    found = list(predicted(config, args.checkpoint, args.samples))
    samples = [sample.to_dict() for sample, _ in found]
    times = {NETWORK: min(seconds for _, seconds in found)}
    times |= {name: measure(samples, name, args.repetitions) for name in args.evaluations}
    rows = [[name, f'{1e3 * value:.1f}', f'{value / times[NETWORK]:.1%}'] for name, value in times.items()]
    print(text_table(['', 'ms', 'of the network'], rows))


if __name__ == '__main__':
    main()
