"""Intervals by the bootstrap over scenes, against slow versions and theory."""

from __future__ import annotations

import numpy as np
import pytest

from projects.DistillNeRF.evaluation.intervals import REPEATS, draw_scenes, interval, resampled_means
from projects.DistillNeRF.evaluation.metrics import SampleMetric
from projects.DistillNeRF.evaluation.occupancy.counts import Counts
from projects.DistillNeRF.evaluation.occupancy.labels import Labels
from projects.DistillNeRF.evaluation.occupancy.metric import OccupancyMetric
from projects.DistillNeRF.semantics.occ3d import LOWER


class Values(SampleMetric):
    """The figures that the sample has."""

    default_prefix = 'own'

    def _evaluate(self, sample: dict) -> dict[str, float]:
        return sample['figures']


def random_scenes(count: int = 5) -> list[list[dict[str, float]]]:
    rng = np.random.default_rng(3)
    scenes = [[{'psnr': rng.normal(20, 2)} for _ in range(rng.integers(1, 5))] for _ in range(count)]
    scenes[1][0]['rare'] = 1.0
    scenes[2][0]['rare'] = 3.0
    return scenes


def test_every_draw_has_as_many_scenes_as_there_are():
    weights = draw_scenes(7)
    assert weights.shape == (REPEATS, 7) and (weights.sum(1) == 7).all() and (weights >= 0).all()
    np.testing.assert_array_equal(weights, draw_scenes(7))
    assert weights.mean(0) == pytest.approx(np.ones(7), abs=0.15)


def test_means_of_drawn_scenes_are_those_of_all_their_samples():
    scenes, weights = random_scenes(), draw_scenes(5)
    found = resampled_means(scenes, weights)
    assert list(found) == ['psnr', 'rare']
    for draw in range(40):
        drawn = [sample for scene, times in zip(scenes, weights[draw], strict=True) for sample in scene * times]
        for name, values in found.items():
            expected = [sample[name] for sample in drawn if name in sample]
            assert values[draw] == pytest.approx(np.mean(expected)) if expected else np.isnan(values[draw])
    assert np.isnan(found['rare']).any()


def test_the_interval_of_many_scenes_is_that_of_theory():
    values = np.random.default_rng(0).normal(20.0, 3.0, 400)
    scenes = [[{'psnr': value}] for value in values]
    low, high = interval(resampled_means(scenes, draw_scenes(400))['psnr'])
    half = 1.96 * values.std() / 20
    assert low == pytest.approx(values.mean() - half, abs=0.2 * half)  # of 1,000 draws
    assert high == pytest.approx(values.mean() + half, abs=0.2 * half)
    # Samples of one scene that are all alike tell no more than one of them.
    repeated = resampled_means([scene * 9 for scene in scenes], draw_scenes(400))['psnr']
    assert interval(repeated) == pytest.approx((low, high))
    assert interval(np.full(4, np.nan)) is None and interval(np.array([2.0, np.nan])) == (2.0, 2.0)


def samples_of(scenes: list[list[dict]]) -> list[dict]:
    return [
        {'scene': f'scene {number}', 'token': f'{number}-{index}', 'figures': figures}
        for number, scene in enumerate(scenes)
        for index, figures in enumerate(scene)
    ]


def test_a_metric_knows_its_samples_and_intervals():
    metric, samples = Values(), samples_of(random_scenes())
    metric.process(None, samples)
    figures = metric.evaluate(len(samples))
    assert [one.token for one in metric.samples] == [sample['token'] for sample in samples]
    found = metric.intervals()
    assert set(found) == set(figures) == {'own/psnr', 'own/rare'}
    assert all(low < figures[name] < high for name, (low, high) in found.items())


def test_one_scene_or_an_unknown_one_has_no_interval():
    samples = samples_of(random_scenes())
    for chosen in (
        [{**sample, 'scene': 'one'} for sample in samples],
        [{**sample, 'scene': None} for sample in samples],
        [],
    ):
        metric = Values()
        metric.process(None, chosen)
        if chosen:
            metric.evaluate(len(chosen))
        assert metric.intervals() == {}


def random_counts(rng: np.random.Generator) -> Counts:
    counts = Counts()
    truth, prediction = (rng.integers(0, 18, (5, 4, 3), dtype=np.uint8) for _ in range(2))
    counts.add(prediction, Labels(truth, rng.random(truth.shape) < 0.5, None), LOWER[None] + 0.5)
    return counts


def test_occupancy_of_drawn_scenes_is_that_of_their_voxels():
    rng = np.random.default_rng(4)
    scenes = [[random_counts(rng) for _ in range(2)], [random_counts(rng), 'gone'], [random_counts(rng)]]
    metric, weights = OccupancyMetric('codes', ray_iou=True), draw_scenes(3)[:20]
    found = metric.resampled(scenes, weights)
    assert {'iou', 'miou', 'all_voxels/iou', 'ray_iou'} <= set(found)
    for draw, times in enumerate(weights):
        total = Counts()
        for scene, often in zip(scenes, times, strict=True):
            for one in [one for one in scene if isinstance(one, Counts)] * often:
                total += one
        for name, value in metric.figures(total).items():
            assert found[name][draw] == pytest.approx(value, abs=1e-12)
