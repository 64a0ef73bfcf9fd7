"""Random choices of the loader that depend on the place of a sample in the training alone.

Not on the process that loads it or on what was loaded before: a resumed run chooses what the whole run would have
chosen, whatever its number of workers.
"""

from __future__ import annotations

from collections.abc import Iterator

from mmengine.dataset import DefaultSampler, InfiniteSampler
from mmengine.registry import DATA_SAMPLERS
from torch.utils.data import BatchSampler


class SeededIndex(int):
    """Index of a sample, with the ``seed`` of all random choices for it."""

    seed: str

    def __new__(cls, index: int, seed: str) -> SeededIndex:
        index = super().__new__(cls, index)
        index.seed = seed
        return index

    def __getnewargs__(self) -> tuple[int, str]:
        return int(self), self.seed


# The second name is what it was called before; configs may still say it.
@DATA_SAMPLERS.register_module(name=['SeededBatchSampler', 'DrawBatchSampler'])
class SeededBatchSampler(BatchSampler):
    """Make batches of :class:`SeededIndex`, numbered over all processes from the start of the training or the epoch.

    Args:
        sampler: sampler of mmengine; its seed, epoch and share of the samples are used.
        batch_size: samples per batch.
        drop_last: leave out a last batch that is not full.

    Attributes:
        skip: so many batches are left out at the beginning of the next iteration, once; they count all the same.
    """

    def __init__(self, sampler: DefaultSampler | InfiniteSampler, batch_size: int, drop_last: bool = False) -> None:
        super().__init__(sampler, batch_size, drop_last)
        self.skip = 0

    def __iter__(self) -> Iterator[list[SeededIndex]]:
        sampler, number = self.sampler, self.sampler.rank
        epoch = getattr(sampler, 'epoch', 0)
        skip, self.skip = self.skip, 0
        for position, batch in enumerate(super().__iter__()):
            if position < skip:
                number += len(batch) * sampler.world_size
                continue
            indices = []
            for index in batch:
                indices.append(SeededIndex(index, f'{sampler.seed} {epoch} {number}'))
                number += sampler.world_size
            yield indices
