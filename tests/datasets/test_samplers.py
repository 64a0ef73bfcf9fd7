"""Random choices depend on the place of a sample in the training alone."""

from __future__ import annotations

import pickle
import random

import pytest
from mmengine.dataset import DefaultSampler, InfiniteSampler
from mmengine.registry import DATA_SAMPLERS

from projects.DistillNeRF.datasets.samplers import SeededBatchSampler, SeededIndex
from tests.helpers.dataset import build_dataset


def first(sampler: InfiniteSampler | DefaultSampler, batches: int, batch_size: int = 1) -> list[tuple[int, str]]:
    made = iter(SeededBatchSampler(sampler, batch_size))
    return [(int(draw), draw.seed) for _ in range(batches) for draw in next(made)]


def infinite(rank: int = 0, world_size: int = 1) -> InfiniteSampler:
    sampler = InfiniteSampler(range(5), seed=3)
    sampler.rank, sampler.world_size = rank, world_size
    return sampler


def test_a_seeded_index_is_an_index_and_keeps_its_seed_on_the_way_to_a_worker():
    draw = pickle.loads(pickle.dumps(SeededIndex(4, 'seed')))
    assert draw == 4 and list(range(9))[draw] == 4
    assert draw.seed == 'seed'


def test_every_index_has_a_seed_of_its_own():
    seeds = [seed for _, seed in first(infinite(), 20)]
    assert len(set(seeds)) == 20


@pytest.mark.parametrize('batch_size', [1, 3])
def test_processes_share_the_indices_of_one(batch_size):
    alone = first(infinite(), 12)
    shares = [first(infinite(rank, 2), 6 // batch_size, batch_size) for rank in (0, 1)]
    assert [draw for pair in zip(*shares, strict=True) for draw in pair] == alone


def test_seeds_differ_between_epochs():
    sampler = DefaultSampler(range(5), shuffle=False, seed=3)
    earlier = first(sampler, 5)
    sampler.set_epoch(1)
    later = first(sampler, 5)
    assert [index for index, _ in earlier] == [index for index, _ in later]
    assert not {seed for _, seed in earlier} & {seed for _, seed in later}


def test_the_dataset_chooses_by_the_seed_of_the_index(box_root):
    dataset = build_dataset(box_root, training_target_smart_sample=True)

    def frames(seed: str, before: int) -> tuple[int, ...]:
        random.seed(before)
        return dataset[SeededIndex(1, seed)]['inputs']['target_views'].frames

    assert frames('a', 1) == frames('a', 2)
    assert len({frames(seed, 1) for seed in 'abcdef'}) > 1


def test_the_former_name_still_builds_the_sampler():
    assert DATA_SAMPLERS.get('DrawBatchSampler') is DATA_SAMPLERS.get('SeededBatchSampler') is SeededBatchSampler
