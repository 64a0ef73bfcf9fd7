"""The times of metrics beside the network's."""

from __future__ import annotations

import pytest

from projects.DistillNeRF.utils.errors import InputError
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


def test_the_whole_command_is_measured_with_and_without_metrics(project, tmp_path, monkeypatch, capsys):
    """What was added is of the least times; a process of its own has imports of seconds."""
    monkeypatch.chdir(tmp_path)
    seconds = iter([10.0, 11.0, 12.0, 8.0, 13.0, 14.0])
    monkeypatch.setattr(metric_times, 'command_seconds', lambda *_: next(seconds))
    options = ('--command', '--repetitions', 2, '--eval', 'psnr', 'occupancy')
    rows = printed(monkeypatch, capsys, project.config, 'None', *options)
    assert [row[-3:] for row in rows] == [['8.0', '10.0', '0.0%'], ['11.0', '13.0', '37.5%'], ['12.0', '14.0', '50.0%']]
    assert rows[0][:2] == ['without', 'metrics'] and rows[2][:2] == ['psnr', 'occupancy']


@pytest.mark.parametrize('evaluations', [(), ('psnr',)])
def test_what_is_measured_is_the_command(evaluations, project, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    options = {'test_dataloader.num_workers': 0, 'test_dataloader.persistent_workers': False}
    metric_times.run_command(str(project.config), options, None, evaluations)
    figures = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line.startswith(('psnr', 'abs_rel'))]
    assert figures == list(evaluations)


@pytest.mark.slow
def test_a_process_that_fails_gives_no_time(tmp_path):
    with pytest.raises(InputError, match='failed'):
        metric_times.command_seconds(str(tmp_path / 'gone.py'), {}, None, ())


def test_no_samples_are_refused(project, monkeypatch, capsys):
    monkeypatch.setattr('sys.argv', ['metric_times', str(project.config), 'None', '--samples', '0'])
    with pytest.raises(SystemExit) as stop:
        metric_times.main()
    assert stop.value.code == 2 and '--samples' in capsys.readouterr().err
