"""An experiment trains, tests and tabulates; what is there stays, and what went wrong is told."""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from projects.DistillNeRF.engine.experiment import RESULTS, TRUE_VIEWS
from projects.DistillNeRF.engine.experiment_report import differences, spread, table
from projects.DistillNeRF.engine.tool_runs import TOOLS
from projects.DistillNeRF.utils.files import save_json
from tests.helpers.commands import ROOT, Project, run, write_config
from tests.helpers.refusals import assert_refused

SHIPPED = sorted((ROOT / 'projects/DistillNeRF/configs/experiments').glob('*.py'))
FILE = """_rate = 'optim_wrapper.optimizer.lr'
config = {config!r}
seeds = [0, 1]
runs = {{
    'usual': dict(),
    'slow | rate': dict(options={{_rate: 1e-5}}, seeds=[1]),
}}
columns = {{'PSNR, dB': 'psnr', 'AbsRel': 'abs_rel'}}
evaluations = ['psnr', 'depth']
"""


@pytest.fixture
def in_this_process(monkeypatch) -> list[tuple[str, ...]]:
    """Run the commands of an experiment here; return them."""
    commands, really = [], subprocess.run

    def instead(command, *others, **options):
        if Path(command[1]).parent != TOOLS:  # mmengine asks about the machine
            return really(command, *others, **options)
        _, tool, *arguments = command
        commands.append((Path(tool).stem, *arguments))
        result = run(Path(tool).stem, *arguments)
        options['stdout'].write(result.out + result.err)
        return SimpleNamespace(returncode=result.code)

    monkeypatch.setattr(subprocess, 'run', instead)
    monkeypatch.setattr('projects.DistillNeRF.engine.experiment.commit', lambda: 'abc1234')
    return commands


@pytest.fixture
def made(monkeypatch) -> list[tuple[str, int]]:
    """Put figures in the place of trainings, as what is kept of them does not depend on these; return the runs."""
    runs = []

    def instead(experiment, run, threads) -> None:
        if not (run.folder / RESULTS).is_file():
            runs.append((run.name, run.seed))
            figures = {'psnr': 20.0 + len(runs), 'abs_rel': 0.5}
            save_json(
                run.folder / RESULTS,
                {'run': run.name, 'seed': run.seed, 'figures': figures, 'training_s': 60.0},
                indent=2,
            )

    monkeypatch.setattr('projects.DistillNeRF.engine.experiment.train_and_test', instead)
    return runs


def written(folder: Path, project: Project, old: str = '', new: str = '') -> Path:
    path = folder / 'experiment.py'
    path.write_text(
        FILE.format(config=str(project.config)).replace(old, new) if old else FILE.format(config=str(project.config))
    )
    return path


def test_runs_are_trained_tested_and_tabulated_once(project, in_this_process, tmp_path):
    file, work = written(tmp_path, project), tmp_path / 'work'
    result = run('experiment', file, '--work-dir', work)
    assert result.code == 0, result.err
    assert [command[0] for command in in_this_process] == ['train', 'test'] * 3
    trainings = in_this_process[::2]
    assert [words[words.index('--seed') + 1] for words in trainings] == ['0', '1', '1']
    assert [any('lr=1e-05' in word for word in words) for words in trainings] == [False, False, True]
    folder = work / 'usual/seed_0'
    figures = json.loads((folder / 'results.json').read_text())
    assert figures['figures'] == json.loads((folder / 'test.json').read_text())['model']
    assert figures['commit'] == 'abc1234' and figures['training_s'] > 0 and figures['machine'] and figures['torch']
    rows = (work / 'table.md').read_text().splitlines()
    assert rows[0] == '| run | seeds | PSNR, dB | AbsRel | training |'
    assert rows[2].startswith('| usual | 2 | ') and ' ± ' in rows[2]
    # Another learning rate gives other figures.
    assert rows[3].startswith('| slow \\| rate | 1 | ') and '±' not in rows[3]
    assert 'commit: abc1234' in '\n'.join(rows) and str(rows[3]) in result.out
    page = (work / 'curves.html').read_text()
    assert page.count('usual, seed 0') == 2 and 'slow | rate, seed 1' in page
    again = run('experiment', file, '--work-dir', work)
    assert again.code == 0 and len(in_this_process) == 6


def test_a_run_that_fails_does_not_stop_the_others_and_goes_on_later(project, in_this_process, tmp_path, monkeypatch):
    file, work = written(tmp_path, project), tmp_path / 'work'
    inner = subprocess.run

    def failing(command, *others, **options):
        if 'seed_0' in str(command) and Path(command[1]).stem == 'test':
            options['stdout'].write('warning: x\nerror: no luck; try again\n')
            return SimpleNamespace(returncode=2)
        return inner(command, *others, **options)

    monkeypatch.setattr(subprocess, 'run', failing)
    result = run('experiment', file, '--work-dir', work, '--runs', 'usual')
    assert result.code == 1
    last = result.err.splitlines()[-2:]
    assert last[0].startswith('failed: usual, seed 0: tools/test.py ended with exit code 2: no luck; try again (')
    assert 'goes on' in last[1] and '| usual | 1 | ' in result.out and '| slow \\| rate | 0 |' in result.out
    monkeypatch.setattr(subprocess, 'run', inner)
    assert run('experiment', file, '--work-dir', work, '--runs', 'usual').code == 0
    assert '| usual | 2 | ' in (work / 'table.md').read_text()
    # The time of a training that was there before is not known.
    assert json.loads((work / 'usual/seed_0/results.json').read_text())['training_s'] is None
    count = len(in_this_process)
    assert run('experiment', file, '--work-dir', work, '--table').code == 0 and len(in_this_process) == count


def test_runs_of_other_settings_are_refused(project, in_this_process, tmp_path):
    work = tmp_path / 'work'
    assert run('experiment', written(tmp_path, project), '--work-dir', work, '--table').code == 0
    other = written(tmp_path, project, '1e-5', '2e-5')
    assert_refused(
        run('experiment', other, '--work-dir', work), 'slow | rate', 'other settings', 'give another --work-dir'
    )
    assert not in_this_process


def test_figures_of_another_machine_are_taken_and_not_made_again(project, made, tmp_path):
    file, results = written(tmp_path, project), tmp_path / 'results.json'
    first = run('experiment', file, '--work-dir', tmp_path / 'a', '--runs', 'usual', '--results', results)
    assert first.code == 0, first.err
    assert sorted(made) == [('usual', 0), ('usual', 1)]
    assert [[one['seed'] for one in kept['runs']] for kept in json.loads(results.read_text()).values()] == [[0, 1]]
    second = run('experiment', file, '--work-dir', tmp_path / 'b', '--results', results)
    assert second.code == 0, second.err
    # The slow rate alone was missing, and is added.
    assert made[2:] == [('slow | rate', 1)] and list(json.loads(results.read_text())) == ['usual', 'slow | rate']
    for seed in (0, 1):
        assert (tmp_path / f'b/usual/seed_{seed}/results.json').read_bytes() == (
            tmp_path / f'a/usual/seed_{seed}/results.json'
        ).read_bytes()
    third = run('experiment', file, '--work-dir', tmp_path / 'c', '--results', results, '--table')
    assert third.code == 0 and len(made) == 3 and '| usual | 2 | 21.50 ± 0.71 |' in third.out


def test_figures_that_are_of_something_else_are_refused(project, made, tmp_path):
    file, results = written(tmp_path, project), tmp_path / 'results.json'
    assert run('experiment', file, '--work-dir', tmp_path / 'a', '--results', results).code == 0
    kept = results.read_text()
    for old, new, name in (('1e-5', '2e-5', 'slow | rate'), ("'psnr', 'depth'", "'psnr'", 'usual')):
        other = written(tmp_path, project, old, new)
        result = run('experiment', other, '--work-dir', tmp_path / f'of {name}', '--results', results)
        assert_refused(result, 'results.json', name, 'other settings')
    # Another training of the same settings: neither figure is dropped in silence.
    written(tmp_path, project)
    changed = json.loads(kept)
    changed['usual']['runs'][1]['figures']['psnr'] += 1
    results.write_text(json.dumps(changed))
    result = run('experiment', file, '--work-dir', tmp_path / 'a', '--results', results)
    assert_refused(result, "'usual', seed 1", 'remove one')
    for wrong, *words in (('[]', 'no results of an experiment'), ('{"usual": 3}', 'no results'), ('{', 'restore it')):
        results.write_text(wrong)
        result = run('experiment', file, '--work-dir', tmp_path / 'b', '--results', results)
        assert_refused(result, 'results.json', *words)
    assert len(made) == 3


def test_figures_of_other_data_are_refused(project, made, tmp_path):
    root = shutil.copytree(project.root, tmp_path / 'data')
    file, results = written(tmp_path, write_config(tmp_path / 'tiny.py', root)), tmp_path / 'results.json'
    infos = root / 'infos.pkl'
    assert run('experiment', file, '--work-dir', tmp_path / 'a', '--results', results).code == 0

    content = pickle.loads(infos.read_bytes())
    content['data_list'][1]['timestamp'] += 0.01
    infos.write_bytes(pickle.dumps(content))
    assert_refused(run('experiment', file, '--work-dir', tmp_path / 'a'), 'settings.json', 'usual', 'has other data')
    to_b = 'experiment', file, '--work-dir', tmp_path / 'b', '--results', results
    assert_refused(run(*to_b), 'results.json', 'usual', 'has other data', 'give another --results')
    # Without any data, what is kept can still be shown, and is not taken for that of the next data.
    infos.rename(root / 'away.pkl')
    assert run(*to_b, '--table').code == 0
    assert run('experiment', file, '--work-dir', tmp_path / 'a', '--table').code == 0
    (root / 'away.pkl').rename(infos)
    assert_refused(run('experiment', file, '--work-dir', tmp_path / 'a'), 'has other data')
    assert_refused(run(*to_b), 'has other data')
    # The figures in b were taken while there were no data, and are known to be of others.
    assert_refused(run(*to_b[:4]), 'settings.json', 'has other data', 'give another --work-dir')
    # A folder that was begun with these data takes no others, even if they are not there.
    to_d = 'experiment', file, '--work-dir', tmp_path / 'd'
    assert run(*to_d).code == 0 and len(made) == 6
    infos.rename(root / 'away.pkl')
    assert_refused(run(*to_d, '--results', results, '--table'), 'results.json', 'figures of other data than', 'remove')
    (root / 'away.pkl').rename(infos)
    assert len(made) == 6
    kept = json.loads(results.read_text())
    for one in kept.values():
        del one['data']
    results.write_text(json.dumps(kept))
    to_c = 'experiment', file, '--work-dir', tmp_path / 'c', '--results', results
    assert_refused(run(*to_c), 'results.json', 'has other data')


def test_data_may_come_after_the_first_look(project, made, tmp_path):
    root = shutil.copytree(project.root, tmp_path / 'data')
    file, infos = written(tmp_path, write_config(tmp_path / 'tiny.py', root)), root / 'infos.pkl'
    infos.rename(root / 'away.pkl')
    assert run('experiment', file, '--work-dir', tmp_path / 'a', '--table').code == 0
    (root / 'away.pkl').rename(infos)
    result = run('experiment', file, '--work-dir', tmp_path / 'a')
    assert result.code == 0 and len(made) == 3, result.err
    assert json.loads((tmp_path / 'a/usual/settings.json').read_text())['data']


def test_what_cannot_be_right_is_refused(project, in_this_process, tmp_path):
    for old, new, *words in (
        ('seeds = [0, 1]', 'seeds = [0, 0]', 'seeds is [0, 0]', 'different'),
        ('seeds = [0, 1]', 'seed = 1', "nothing reads 'seed'", 'seeds'),
        ('seeds=[1]', 'seeds=3', 'seeds is 3'),
        ('options={', 'option={', "nothing reads 'option' of run 'slow | rate'"),
        ("'psnr', 'depth'", "'psnr', 'sharpness'", "evaluations has 'sharpness'", 'novel_view'),
        ('1e-5', "'1,2'", 'which no command line can say'),
        ('_rate:', "'model.network.chanels':", "'chanels' of model.network", 'did you mean channels'),
        ('config =', '_config =', "run 'usual' has no config"),
        ('columns =', 'true_views = -1\ncolumns =', 'true_views is -1'),
        ('columns =', "compare_with = 'normal'\ncolumns =", "compare_with is 'normal'", 'usual, slow | rate'),
        ('runs = {', 'runs = [', 'correct it'),
    ):
        file = written(tmp_path, project, old, new)
        assert_refused(run('experiment', file, '--work-dir', tmp_path / 'work', '--table'), *words)
    assert_refused(run('experiment', tmp_path / 'none.py'), 'none.py', 'give the file of an experiment')
    file = written(tmp_path, project)
    assert_refused(run('experiment', file, '--runs', 'other'), '--runs other', 'usual')
    assert_refused(run('experiment', file, '--workers', 0), '--workers is 0')
    assert not in_this_process


@pytest.mark.parametrize('path', SHIPPED, ids=lambda path: path.stem)
def test_experiments_that_ship_can_be_read(path, tmp_path):
    result = run('experiment', path, '--work-dir', tmp_path, '--table')
    assert result.code == 0, result.err


def test_without_columns_each_figure_has_a_row():
    one = {'figures': {'psnr': 20.0, 'iou/car': 0.5}, 'commit': 'a', 'torch': '2', 'training_s': None}
    two = {'figures': {'psnr': 21.0}, 'commit': 'a', 'torch': '2', 'training_s': 120.0}
    rows = table({'x': [one], 'y': [two]}, {}).splitlines()
    expected = ['| run | x | y |', '| --- | --- | --- |', '| seeds | 1 | 1 |', '| psnr | 20.00 | 21.00 |']
    assert rows[:6] == [*expected, '| iou/car | 0.500 |  |', '| training |  | 2.0 min |']


def test_the_table_says_what_is_missing_and_what_differs():
    one = {'figures': {'psnr': 20.0, TRUE_VIEWS + 'psnr': 18.0}, 'commit': 'a', 'torch': '2', 'training_s': 60.0}
    two = {'figures': {'psnr': 21.0}, 'commit': 'b', 'torch': '2', 'training_s': 120.0}
    text = table({'x': [one, two], 'y': [two], 'z': []}, {'dB': 'psnr', 'new': 'true_views/psnr', 'odd': 'none'})
    rows = text.splitlines()
    assert rows[2] == '| x | 2 | 20.50 ± 0.71 |  |  | 1.5 min |' and rows[3] == '| y | 1 | 21.00 |  |  | 2.0 min |'
    assert rows[4] == '| z | 0 |  |  |  |  |' and 'No run has a figure for: odd.' in rows
    assert '**commit differs**: a, b' in text and 'torch: 2' in text
    assert spread([0.25, 0.35]) == '0.300 ± 0.071' and spread([]) == '' and spread([1.0, None]) == ''


def test_differences_are_of_the_same_seed():
    def made(seed: int, psnr: float, **others: float) -> dict:
        return {'seed': seed, 'figures': {'psnr': psnr, **others}}

    found = {
        'a': [made(0, 20.0, abs_rel=0.2), made(1, 22.0, abs_rel=0.3)],
        'b': [made(1, 22.5, abs_rel=0.25), made(0, 20.7, abs_rel=0.2)],
        'c | d': [made(1, 21.0)],
        'e': [made(2, 30.0)],
        'f': [],
    }
    rows = differences(found, {'dB': 'psnr', 'AbsRel': 'abs_rel'}, 'a').splitlines()
    assert rows[0] == '| compared with a | seeds | dB | AbsRel |' and rows[1] == '| --- | --- | --- | --- |'
    assert rows[2] == '| b | 2 | +0.60 ± 0.14 | -0.025 ± 0.035 |'
    assert rows[3:] == ['| c \\| d | 1 | -1.00 |  |', '| e | 0 |  |  |', '| f | 0 |  |  |']
