"""The times of metrics beside the network's."""

from __future__ import annotations

import pytest

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


def test_no_samples_are_refused(project, monkeypatch, capsys):
    monkeypatch.setattr('sys.argv', ['metric_times', str(project.config), 'None', '--samples', '0'])
    with pytest.raises(SystemExit) as stop:
        metric_times.main()
    assert stop.value.code == 2 and '--samples' in capsys.readouterr().err
