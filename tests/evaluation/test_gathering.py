"""Several processes give the figures that one gives, without a folder that they share."""

from __future__ import annotations

import json

import pytest

from projects.DistillNeRF.evaluation.metrics import DepthMetric, ImageMetric
from projects.DistillNeRF.evaluation.occupancy.metric import OccupancyMetric
from tests.helpers.ranks import run_script

SAMPLES = 5
GATHER = """
import json, os
from mmengine.dataset import DefaultSampler
from projects.DistillNeRF.evaluation.metrics import SampleMetric

class Values(SampleMetric):
    def _evaluate(self, sample):
        # Powers of eight: the mean tells how often each sample is counted.
        number = sample['token']
        return {'value': 8.0 ** number} | ({'rare': 1.0 * number} if number == 3 else {})

os.chdir(Path(sys.argv[1]) / str(rank))
figures = []
for padded in (True, False):
    metric = Values()
    batches = list(DefaultSampler(range(SAMPLES), shuffle=False, round_up=padded))
    for start in range(0, len(batches), 2):
        metric.process(None, [{'token': number, 'scene': number % 2} for number in batches[start : start + 2]])
    figures.append(metric.evaluate(SAMPLES))
tokens = [one.token for one in metric.samples]
print(json.dumps([figures, os.listdir(), rank, tokens, metric.intervals()]))
"""


def test_two_processes_count_every_sample_once(tmp_path):
    """Five samples: the second process has one fewer, or gets the first one again."""
    for rank in range(2):
        (tmp_path / str(rank)).mkdir()
    expected = {'value': sum(8.0**sample for sample in range(SAMPLES)) / SAMPLES, 'rare': 3.0}
    for text in run_script(GATHER.replace('SAMPLES', str(SAMPLES)), tmp_path):
        figures, written, rank, tokens, intervals = json.loads(text.splitlines()[-1])
        assert figures == [expected, expected]
        assert not written, 'a folder to share'
        # The main process knows the samples.
        assert tokens == ([] if rank else list(range(SAMPLES)))
        assert set(intervals) == (set() if rank else {'value', 'rare'})


COUNT = """
import json
import numpy as np
from mmengine.dataset import DefaultSampler
from projects.DistillNeRF.evaluation.occupancy.counts import Counts
from projects.DistillNeRF.evaluation.occupancy.labels import Labels
from projects.DistillNeRF.evaluation.occupancy.metric import OccupancyMetric
from projects.DistillNeRF.semantics.occ3d import FREE, LOWER

class Rows(OccupancyMetric):
    def _evaluate(self, sample):
        # One of SAMPLE + 1 rows of cars is found; one sample has no labels.
        sample = sample['token']
        if sample == 2:
            return 'gone'
        truth = np.full((8, 8, 4), FREE, np.uint8)
        truth[: sample + 1, :, 0] = 4
        found = truth.copy()
        found[1:] = FREE
        counts = Counts()
        counts.add(found, Labels(truth, truth > 0, None), LOWER[None] + 1.5)
        return counts

figures = []
metric = Rows('codes', ray_iou=True)
for padded in (True, False):
    batches = list(DefaultSampler(range(SAMPLES), shuffle=False, round_up=padded))
    metric.process(None, [{'token': number} for number in batches])
    figures.append(metric.evaluate(SAMPLES))
alone = [metric._evaluate({'token': number}) for number in range(SAMPLES)]
print(json.dumps([figures, metric.merge(alone)]))
"""


def test_two_processes_add_up_their_occupancy():
    """Every sample counts once, in one matrix: 4 rows of 1 + 2 + 4 + 5; the mean of samples would be 0.4875."""
    for text in run_script(COUNT.replace('SAMPLES', str(SAMPLES))):
        figures, alone = json.loads(text.splitlines()[-1])
        assert alone['iou'] == alone['miou'] == 4 / 12 and 0 < alone['ray_iou'] < 1
        assert figures == [{f'occupancy/{name}': value for name, value in alone.items()}] * 2


@pytest.mark.parametrize('metric', [ImageMetric, DepthMetric, OccupancyMetric])
def test_mmengines_folder_is_used_where_it_is_asked_for(metric, tmp_path):
    assert metric().collect_device == 'gpu'
    assert metric(collect_device='cpu').collect_device == 'cpu'
    asked = metric(collect_dir=str(tmp_path))
    assert (asked.collect_device, asked.collect_dir) == ('cpu', str(tmp_path))
