"""mmengine's training loops, which after a resume go on at the right place of the data."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat
from typing import Any

from mmdet3d.registry import LOOPS
from mmengine.dataset import DefaultSampler, InfiniteSampler
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from mmengine.runner.loops import _InfiniteDataloaderIterator
from torch.utils.data import DataLoader, Dataset

from ..datasets.samplers import SeededBatchSampler


@LOOPS.register_module()
class ResumableEpochLoop(EpochBasedTrainLoop):
    """After a resume, skip the samples of the epoch that were trained on already, without loading them.

    The order of the samples and what is drawn for each are those of the epoch (:mod:`..datasets.samplers`). Batches of
    a ``batch_sampler`` of one's own are loaded and thrown away.
    """

    def run_epoch(self) -> None:
        """Do as the base class, but skip samples."""
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        done = self._iter - self._epoch * len(self.dataloader)
        first = done if skip_batches(self.dataloader, done) else 0
        for index, batch in enumerate(self.dataloader, first):
            if index >= done:
                self.run_iter(index, batch)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1


@LOOPS.register_module()
class ResumableIterLoop(IterBasedTrainLoop):
    """After a resume, begin to load at the sample that comes next; the base class loads all before it, too.

    Args:
        runner, dataloader, max_iters, val_begin, val_interval, dynamic_intervals: those of the base class.
    """

    def __init__(
        self,
        runner: Runner,
        dataloader: DataLoader | dict,
        max_iters: int,
        val_begin: int = 1,
        val_interval: int = 1000,
        dynamic_intervals: list[tuple[int, int]] | None = None,
    ) -> None:
        if isinstance(dataloader, dict):
            different = runner._randomness_cfg.get('diff_rank_seed', False)
            dataloader = runner.build_dataloader(dataloader, seed=runner.seed, diff_rank_seed=different)
        # The base class starts the workers at once, and they load, before it is known where the training goes on.
        super().__init__(runner, _NothingYet(dataloader.dataset), max_iters, val_begin, val_interval, dynamic_intervals)
        self.dataloader = dataloader
        self.dataloader_iterator = self._batches()

    def _batches(self) -> Iterator[Any]:
        """Yield what the base class asks for: nothing for every iteration that was trained, then batches."""
        epoch = go_to_batch(self.dataloader, self._iter)
        if epoch is not None:
            yield from repeat(None, self._iter)
        batches = _InfiniteDataloaderIterator(self.dataloader)
        batches._epoch = epoch or 0
        yield from batches


class _NothingYet:
    """Stand in for a loader without batches."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    def __iter__(self) -> Iterator[Any]:
        return iter(())


def skip_batches(loader: DataLoader, count: int) -> bool:
    """Let the next iteration over a loader leave out its first batches; return whether its sampler can do that."""
    sampler = getattr(loader, 'batch_sampler', None)
    if not isinstance(sampler, SeededBatchSampler):
        return False
    sampler.skip = count
    return True


def go_to_batch(loader: DataLoader, count: int) -> int | None:
    """Let a loader that is iterated again and again begin after so many batches.

    Returns:
        the epoch in which it begins; ``None`` if its samplers cannot do that.
    """
    order = getattr(getattr(loader, 'batch_sampler', None), 'sampler', None)
    if isinstance(order, InfiniteSampler):
        return 0 if skip_batches(loader, count) else None
    if not isinstance(order, DefaultSampler):
        return None
    epoch, rest = divmod(count, len(loader))
    if not skip_batches(loader, rest):
        return None
    order.set_epoch(epoch)
    return epoch
