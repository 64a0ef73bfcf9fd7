"""The times of metrics beside the network's."""

from __future__ import annotations

import time

import pytest

from projects.DistillNeRF.evaluation.metrics import SampleMetric
from verification import metric_times


def printed(monkeypatch, capsys, *arguments: object) -> list[list[str]]:
    monkeypatch.setattr('sys.argv', ['metric_times', *map(str, arguments)])
    metric_times.main()
    return [line.split() for line in capsys.readouterr().out.splitlines() if line.endswith('%')]


def test_every_metric_stands_beside_the_network(project, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    options = ('--samples', 2, '--repetitions', 1, '--eval', 'psnr', 'depth')
    rows = printed(monkeypatch, capsys, project.config, 'None', *options)
    assert [row[0] for row in rows] == ['network', 'psnr', 'depth'] and rows[0][2] == '100.0%'
    network, *metrics = (float(row[1]) for row in rows)
    assert network > 1 and all(0 <= value < network for value in metrics)


def test_metrics_stand_beside_the_rest_of_the_command(project, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rows = printed(monkeypatch, capsys, project.config, 'None', '--command', '--eval', 'psnr', 'depth')
    assert [row[:-2] for row in rows] == [['the', 'rest'], ['ImageMetric'], ['DepthMetric'], ['all', 'metrics']]
    rest, *metrics, total = (float(row[-2]) for row in rows)
    assert rest > 1 and min(metrics) >= 0 and total == pytest.approx(sum(metrics), abs=0.02)


def test_a_metric_is_watched_while_it_is_asked_to():
    """It works as before; two samples have a figure each, and then no more is added."""
    metric, seconds = Slow(), {}
    with metric_times.watched(seconds):
        metric.process(None, [{}, {}])
        assert metric.evaluate(2) == {'figure': 1.0}
    taken = seconds['Slow']
    metric.process(None, [{}])
    assert 0.02 <= taken < 2 and seconds == {'Slow': taken}


class Slow(SampleMetric):
    """A figure that takes 10 ms of CPU time."""

    def _evaluate(self, sample: dict) -> dict[str, float]:
        begin = time.process_time()
        while time.process_time() < begin + 0.01:
            pass
        return {'figure': 1.0}


def test_no_samples_are_refused(project, monkeypatch, capsys):
    monkeypatch.setattr('sys.argv', ['metric_times', str(project.config), 'None', '--samples', '0'])
    with pytest.raises(SystemExit) as stop:
        metric_times.main()
    assert stop.value.code == 2 and '--samples' in capsys.readouterr().err
