"""Several processes give the figures that one gives, without a folder that they share."""

from __future__ import annotations

import json

import pytest

from projects.DistillNeRF.evaluation.metrics import DepthMetric, ImageMetric
from tests.helpers.ranks import run_script

SAMPLES = 5
GATHER = """
import json, os
from mmengine.dataset import DefaultSampler
from projects.DistillNeRF.evaluation.metrics import SampleMetric

class Values(SampleMetric):
    def _evaluate(self, sample):
        # Powers of eight: the mean tells how often each sample is counted.
        return {'value': 8.0 ** sample} | ({'rare': 1.0 * sample} if sample == 3 else {})

os.chdir(Path(sys.argv[1]) / str(rank))
figures = []
for padded in (True, False):
    metric = Values()
    batches = list(DefaultSampler(range(SAMPLES), shuffle=False, round_up=padded))
    for start in range(0, len(batches), 2):
        metric.process(None, batches[start : start + 2])
    figures.append(metric.evaluate(SAMPLES))
print(json.dumps([figures, os.listdir()]))
"""


def test_two_processes_count_every_sample_once(tmp_path):
    """Five samples: the second process has one fewer, or gets the first one again."""
    for rank in range(2):
        (tmp_path / str(rank)).mkdir()
    expected = {'value': sum(8.0**sample for sample in range(SAMPLES)) / SAMPLES, 'rare': 3.0}
    for text in run_script(GATHER.replace('SAMPLES', str(SAMPLES)), tmp_path):
        figures, written = json.loads(text.splitlines()[-1])
        assert figures == [expected, expected]
        assert not written, 'a folder to share'


@pytest.mark.parametrize('metric', [ImageMetric, DepthMetric])
def test_mmengines_folder_is_used_where_it_is_asked_for(metric, tmp_path):
    assert metric().collect_device == 'gpu'
    assert metric(collect_device='cpu').collect_device == 'cpu'
    asked = metric(collect_dir=str(tmp_path))
    assert (asked.collect_device, asked.collect_dir) == ('cpu', str(tmp_path))
