"""The comparison of students of several teachers: what is trained, and the table."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from pathlib import Path

import pytest

from projects.DistillNeRF.configuration.config import load_config
from projects.DistillNeRF.engine.command_line import Overrides
from tests.helpers.commands import ROOT
from verification import students
from verification.students import Student


def options_of(words: list[str]) -> dict:
    """Parse --cfg-options as the tools do."""
    parser = ArgumentParser()
    parser.add_argument('--cfg-options', nargs='*', action=Overrides)
    return parser.parse_args(['--cfg-options', *words]).cfg_options


def test_students_differ_by_their_teacher_alone(tmp_path):
    every = students.students({'lidar': tmp_path / 'a', 'field': tmp_path / 'b', 'truth': None}, [0, 1])
    kinds = ['none', 'lidar', 'field', 'field_virtual', 'truth', 'truth_virtual']
    assert [student.kind for student in every] == 2 * kinds and [s.seed for s in every] == [0] * 6 + [1] * 6
    plain = load_config(ROOT / students.CONFIG, {})
    for student in every[:6]:
        config = load_config(ROOT / students.CONFIG, options_of(student.options()))
        dataset = config.train_dataloader.dataset
        assert (config.model.losses.teacher_depth is not None) == dataset.load_teacher
        assert dataset.load_teacher == (student.teacher is not None)
        assert bool(dataset.get('virtual_img_target_smart_sample')) == student.virtual
        folder = {'lidar': str(tmp_path / 'a'), 'field': str(tmp_path / 'b')}.get(student.teacher)
        assert dataset.data_prefix.teacher == (folder or plain.train_dataloader.dataset.data_prefix.teacher)


def write_results(folder: Path, psnr: float, depth: float) -> None:
    folder.mkdir(parents=True)
    test = {'model': {'psnr': psnr, 'next/psnr': psnr - 3, 'abs_rel': depth}}
    (folder / 'test.json').write_text(json.dumps(test))
    (folder / 'novel.json').write_text(json.dumps({'mean': {'psnr': psnr - 1, 'abs_rel': depth + 0.1}}))


def test_the_table_has_means_and_deviations_of_what_is_finished(tmp_path):
    every = students.students({'field': Path('x')}, [0, 1, 2])
    for seed, psnr, depth in ((0, 20.0, 0.3), (1, 21.0, 0.2), (2, 22.0, 0.1)):
        write_results(tmp_path / f'field_virtual_{seed}', psnr, depth)
    write_results(tmp_path / 'none_1', 18.0, 0.5)
    (tmp_path / 'field_0').mkdir()
    rows = students.table(every, tmp_path).splitlines()
    assert len(rows) == 4 and {row.count('|') for row in rows} == {9}
    assert rows[2] == '| none | no | 1 | 18.00 | 15.00 | 17.00 | 0.500 | 0.600 |'
    assert rows[3] == (
        '| field | yes | 3 | 21.00 ± 1.00 | 18.00 ± 1.00 | 20.00 ± 1.00 | 0.200 ± 0.100 | 0.300 ± 0.100 |'
    )


def test_what_is_finished_is_not_made_again_and_a_failure_is_told(tmp_path, monkeypatch):
    args = Namespace(out=tmp_path, steps=10, data_root='data/town', samples=1, workers=1)
    student = Student('truth', None, True, 3)
    write_results(tmp_path / 'truth_virtual_3', 20.0, 0.2)
    monkeypatch.setattr(students.subprocess, 'run', lambda *_, **__: pytest.fail('runs again'))
    students.train_and_evaluate(student, args)
    commands = []

    def fail(words, **_):
        commands.append(words)
        return Namespace(returncode=2)

    monkeypatch.setattr(students.subprocess, 'run', fail)
    with pytest.raises(SystemExit, match=r'truth_virtual_4/log.txt: tools/train.py ended with 2'):
        students.train_and_evaluate(Student('truth', None, True, 4), args)
    assert len(commands) == 1 and {'--resume', 'train_cfg.max_iters=10', '4'} < set(commands[0])


def test_a_student_that_is_trained_is_evaluated_only(tmp_path, monkeypatch):
    args = Namespace(out=tmp_path, steps=10, data_root='data/town', samples=1, workers=1)
    folder, tools = tmp_path / 'none_0', []
    folder.mkdir()
    (folder / 'last_checkpoint').write_text('/elsewhere/iter_10.pth')

    def note(words, **_):
        tools.append((words[1], words[3]))
        return Namespace(returncode=0)

    monkeypatch.setattr(students.subprocess, 'run', note)
    students.train_and_evaluate(Student(None, None, False, 0), args)
    name = str(folder / 'iter_10.pth')
    assert tools == [('tools/test.py', name), ('tools/novel_view_synthesis.py', name)]
    students.train_and_evaluate(Student(None, None, False, 0), Namespace(**{**vars(args), 'steps': 20}))
    assert tools[2] == ('tools/train.py', '--work-dir')
