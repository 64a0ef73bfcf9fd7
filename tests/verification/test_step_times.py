"""The times of training steps beside each other."""

from __future__ import annotations

import pytest

from verification import step_times


def printed(monkeypatch, capsys, *arguments: object) -> tuple[str, list[list[str]]]:
    monkeypatch.setattr('sys.argv', ['step_times', *map(str, arguments)])
    step_times.main()
    lines = capsys.readouterr().out.splitlines()
    start = next(i for i, line in enumerate(lines) if 'rounds of' in line)
    return lines[start], [line.split() for line in lines[start + 3 :]]


def test_configs_take_turns(project, tmp_path, monkeypatch, capsys):
    """A narrower network, or fewer views, show in the table; the ratio is to the first."""
    monkeypatch.chdir(tmp_path)
    turns = []
    train = step_times.Trained.train
    monkeypatch.setattr(
        step_times.Trained, 'train', lambda one, counts: turns.append((one.name, counts)) or train(one, counts)
    )
    fewer = f'{project.config},train_dataloader.dataset.num_camera=1'
    heading, rows = printed(monkeypatch, capsys, project.config, fewer, '--steps', 2, '--rounds', 2)
    assert turns == [(name, round > 0) for round in range(3) for name in (str(project.config), fewer)]
    assert heading.endswith('2 rounds of 2 steps') and [row[0] for row in rows] == [str(project.config), fewer]
    (views, seconds, ratio), (fewer_views, fewer_seconds, fewer_ratio) = (map(float, row[1:]) for row in rows)
    assert views > fewer_views >= 1 and seconds > 0 and ratio == 1
    assert fewer_ratio == pytest.approx(fewer_seconds / seconds, rel=0.2, abs=0.1)


@pytest.mark.parametrize(
    'arguments, message',
    [(['{config},nonsense'], 'nonsense is no KEY=VALUE'), (['{config}', '--rounds', 0], 'give 1 or more')],
)
def test_bad_options_are_refused(project, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        printed(monkeypatch, capsys, *(str(word).format(config=project.config) for word in arguments))
    assert stopped.value.code == 2 and message in capsys.readouterr().err
