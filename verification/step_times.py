"""Time the training steps of configs beside each other.

    python -m verification.step_times CONFIG[,KEY=VALUE...] CONFIG[,KEY=VALUE...] ... [--steps 8] [--rounds 4]

Each config trains on the first samples of its own data, which are loaded before. The configs take turns: a round has
all steps of each, and the first round does not count. Prints the median of the seconds of a step, how many views a
step renders, and the ratio to the first config. Nothing else should run meanwhile.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from mmengine.config import DictAction
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper

import projects.DistillNeRF.register  # noqa: F401
from projects.DistillNeRF.configuration.config import building, load_config
from projects.DistillNeRF.engine.builders import build_runner, prepare
from projects.DistillNeRF.evaluation.report import text_table
from projects.DistillNeRF.utils.errors import InputError, command


@dataclass
class Trained:
    """A config, and the seconds of its steps.

    Attributes:
        name: of the config, with its options.
        model, optimizer: what is trained.
        batches: what it is trained on.
        seconds: of the steps that count.
    """

    name: str
    model: BaseModel
    optimizer: OptimWrapper
    batches: Sequence[dict[str, Any]]
    seconds: list[float] = field(default_factory=list)

    def train(self, counts: bool) -> None:
        """Make a step with every batch."""
        for batch in self.batches:
            batch = copy.deepcopy(batch)
            begin = time.perf_counter()
            self.model.train_step(batch, self.optimizer)
            if counts:
                self.seconds.append(time.perf_counter() - begin)

    @property
    def views(self) -> float:
        """Return how many views a step renders."""
        return statistics.mean(sum(map(len, batch['inputs']['target_views'])) for batch in self.batches)


def build(words: str, steps: int, work_dir: Path) -> Trained:
    """Build a config and load its batches.

    Args:
        words: the config, and options after commas.
        steps: how many batches.
        work_dir: where a runner may write.
    """
    path, *options = words.split(',')
    changes = {}
    for option in options:
        key, found, value = option.partition('=')
        if not found:
            raise InputError(f'{words}: {option} is no KEY=VALUE')
        changes[key] = DictAction._parse_iterable(value)
    config = prepare(load_config(path, changes), work_dir, 0)
    runner = build_runner(config)
    with building(config):
        loader = runner.build_dataloader(config.train_dataloader, seed=0)
        optimizer = runner.build_optim_wrapper(config.optim_wrapper)
    runner.model.train()
    batches = [batch for batch, _ in zip(loader, range(steps), strict=False)]
    return Trained(words, runner.model, optimizer, batches)


def parse_args() -> argparse.Namespace:
    """Parse the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('configs', nargs='+', metavar='CONFIG[,KEY=VALUE...]')
    parser.add_argument('--steps', type=int, default=8, help='steps of each config in a round; default: 8')
    parser.add_argument('--rounds', type=int, default=4, help='rounds that count; default: 4')
    return parser.parse_args()


@command
def main() -> None:
    """Print the times."""
    args = parse_args()
    if min(args.steps, args.rounds) < 1:
        raise InputError(f'--steps {args.steps} --rounds {args.rounds}: give 1 or more')
    with TemporaryDirectory() as folder:
        trained = [build(words, args.steps, Path(folder, str(i))) for i, words in enumerate(args.configs)]
        for number in range(args.rounds + 1):
            for one in trained:
                one.train(number > 0)
    medians = [statistics.median(one.seconds) for one in trained]
    rows = [
        [one.name, f'{one.views:g}', f'{median:.3f}', f'{median / medians[0]:.2f}']
        for one, median in zip(trained, medians, strict=True)
    ]
    print(f'{torch.get_num_threads()} threads, {args.rounds} rounds of {args.steps} steps')
    print(text_table(['config', 'views', 'seconds a step', 'ratio'], rows))


if __name__ == '__main__':
    main()
