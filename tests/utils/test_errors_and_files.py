"""How bad input is told, and how files are written whole or not at all."""

from __future__ import annotations

import json
import math
import shutil
import stat
import subprocess
import sys

import numpy as np
import pytest

from projects.DistillNeRF.utils.errors import InputError, command, note, warn
from projects.DistillNeRF.utils.files import (
    LONGEST_STEM,
    atomic_path,
    file_stems,
    read_json,
    require_file,
    require_writable,
    save_json,
    save_npy,
    through_links,
)
from tests.helpers.commands import ROOT


def ended(error: BaseException, capsys) -> tuple[int, str]:
    """Exit code and stderr of a command that raises this."""

    @command
    def main() -> None:
        raise error

    with pytest.raises(SystemExit) as stop:
        main()
    return stop.value.code, capsys.readouterr().err


def test_bad_input_is_one_line_and_exit_code_2(capsys):
    assert ended(InputError('a.pkl: cut short;\n  convert again'), capsys) == (
        2,
        'error: a.pkl: cut short; convert again\n',
    )


def test_a_warning_is_one_line_on_stderr(capsys):
    warn('a.png: nearly black;\n  look at it')
    assert capsys.readouterr().err == 'warning: a.png: nearly black; look at it\n'


def test_a_note_is_one_line_on_stderr(capsys):
    note('faster now;\n  agreed')
    assert capsys.readouterr().err == 'note: faster now; agreed\n'


def test_the_traceback_of_a_worker_process_is_left_out(capsys):
    text = (
        'Caught InputError in worker 0.\nTraceback (most recent call last):\n x.InputError: a.png: gone; restore it\n'
    )
    assert ended(InputError(text), capsys) == (2, 'error: a.png: gone; restore it\n')


@pytest.mark.parametrize('tool', ['train', 'check_parity'])
def test_a_tool_of_another_checkout_does_not_run_with_the_code_of_this_one(tmp_path, tool):
    script = tmp_path / 'tools' / f'{tool}.py'
    shutil.copytree(ROOT / 'tools', script.parent)
    (tmp_path / 'projects' / 'DistillNeRF').mkdir(parents=True)
    ended = subprocess.run([sys.executable, script, '--help'], cwd=tmp_path, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (2, '')
    (line,) = ended.stderr.splitlines()
    assert line.startswith(
        f'error: {script}: this environment has the code of another checkout, {ROOT}; put PYTHONPATH='
    )
    assert f'PYTHONPATH={tmp_path} before the command' in line


def test_an_interrupt_and_a_bug(capsys):
    assert ended(KeyboardInterrupt(), capsys) == (130, 'interrupted\n')
    with pytest.raises(ZeroDivisionError):
        command(lambda: 1 // 0)()


def test_arguments_reach_the_command():
    seen = []
    command(lambda *args, **kwargs: seen.append((args, kwargs)))(1, a=2)
    assert seen == [((1,), {'a': 2})]


def test_a_file_appears_when_it_is_whole(tmp_path):
    path = tmp_path / 'new' / 'a.txt'
    with atomic_path(path) as temporary:
        temporary.write_text('half')
        assert not path.exists()
        assert temporary.suffix == '.txt'
    assert path.read_text() == 'half'
    assert list(path.parent.iterdir()) == [path]
    assert stat.S_IMODE(path.stat().st_mode) & 0o444 == 0o444


def test_a_failure_leaves_what_was_there(tmp_path):
    path = tmp_path / 'a.txt'
    path.write_text('before')

    def fail() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text('half')
            raise RuntimeError('stop')

    with pytest.raises(RuntimeError, match='stop'):
        fail()
    assert path.read_text() == 'before'
    assert list(tmp_path.iterdir()) == [path]


def test_values_come_back(tmp_path):
    save_json(tmp_path / 'a.json', {'x': [1, 2.5]})
    save_npy(tmp_path / 'a.npy', np.arange(3))
    assert json.loads((tmp_path / 'a.json').read_text()) == {'x': [1, 2.5]}
    assert np.load(tmp_path / 'a.npy').tolist() == [0, 1, 2]


def test_values_that_cannot_be_saved_leave_nothing(tmp_path):
    with pytest.raises(TypeError):
        save_json(tmp_path / 'a.json', {'x': object()})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('name', ['file/a.txt', 'file/deeper/a.txt', 'folder'])
def test_places_that_cannot_be_written(tmp_path, name):
    (tmp_path / 'file').write_text('here')
    (tmp_path / 'folder').mkdir()
    with pytest.raises(InputError, match=r'choose another folder|give the name of a file') as error:
        save_json(tmp_path / name, 1)
    assert str((tmp_path / name).parent) in str(error.value)
    assert (tmp_path / 'file').read_text() == 'here'


def test_folders_are_probed(tmp_path):
    assert require_writable(tmp_path / 'a' / 'b') == tmp_path / 'a' / 'b'
    assert not list((tmp_path / 'a' / 'b').iterdir())
    (tmp_path / 'file').write_text('')
    with pytest.raises(InputError, match='choose another folder'):
        require_writable(tmp_path / 'file')


def test_files_that_must_be_there(tmp_path):
    path = tmp_path / 'a.txt'
    for prepare, word in ((lambda: None, 'no such file'), (path.touch, 'is empty')):
        prepare()
        with pytest.raises(InputError) as error:
            require_file(path, 'make it again')
        assert str(error.value) == f'{path}: {"the file " * (word == "is empty")}{word}; make it again'
    path.write_text('x')
    assert require_file(str(path), '') == path


def test_a_name_that_is_too_long_is_that_of_no_file(tmp_path):
    with pytest.raises(InputError, match='no such file; correct it'):
        require_file(tmp_path / ('x' * 300), 'correct it')


def test_a_name_may_be_as_long_as_the_file_system_allows(tmp_path):
    path = tmp_path / f'{"x" * 250}.json'
    save_json(path, 1)
    assert read_json(path, '') == 1


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'utf-16', 'utf-16-be'])
def test_json_in_any_encoding(tmp_path, encoding):
    path = tmp_path / 'a.json'
    path.write_bytes('{"Straße":\r\n 1}'.encode(encoding))
    assert read_json(path, '') == {'Straße': 1}


@pytest.mark.parametrize('content', [b'{', b'\x00\xff\x00', b'[' * 100_000])
def test_what_is_no_json(tmp_path, content):
    path = tmp_path / 'a.json'
    path.write_bytes(content)
    with pytest.raises(InputError, match=r'a\.json: not readable as JSON .*; correct it'):
        read_json(path, 'correct it')


def test_names_of_files_are_unique():
    names = ['front/left', 'front_left', 'front:left', 'FRONT_LEFT', 'up', '../up', '/', '', '.hidden', 'größe']
    names += ['x' * 260, 'x' * 261, 'é' * 200]
    stems = file_stems(names)
    assert len({stem.casefold() for stem in stems}) == len(names)
    assert stems[1] == 'front_left'
    assert stems[4] == 'up'
    assert stems[9] == 'größe'
    for stem in stems:
        assert stem and '/' not in stem and not stem.startswith('.')
        assert len(stem.encode()) <= LONGEST_STEM
    # A name alone has the same file as among others, if it needs no change.
    assert file_stems(['front_left']) == ['front_left']


def test_a_full_disk_is_one_line(tmp_path):
    """A limit on the size of files stands for the end of the disk."""
    code = """
import resource, sys
import numpy as np, torch
from projects.DistillNeRF.utils.errors import command
from projects.DistillNeRF.utils.files import save_json, save_npy
from projects.DistillNeRF.utils.torch_files import save_torch
from projects.DistillNeRF.visualization.panel_layout import write_png

@command
def main():
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    path = sys.argv[2]
    {
        'npy': lambda: save_npy(path, np.zeros(9999)),
        'json': lambda: save_json(path, 'a' * 9999),
        'png': lambda: write_png(path, np.random.default_rng(0).integers(0, 255, (99, 99, 3), np.uint8)),
        'pt': lambda: save_torch(path, torch.zeros(9999)),
    }[sys.argv[1]]()

main()
"""
    for kind in ('npy', 'json', 'png', 'pt'):
        path = tmp_path / f'a.{kind}'
        ended = subprocess.run([sys.executable, '-c', code, kind, str(path)], cwd=ROOT, capture_output=True, text=True)
        (line,) = ended.stderr.splitlines()
        assert ended.returncode == 2 and line.startswith(f'error: {path}: could not be written ('), ended.stderr
        assert not list(tmp_path.iterdir())


def test_infinity_is_a_number_of_json(tmp_path):
    """JSON has no word for it; texts stay as they are."""
    value = {'Infinity': [math.inf, -math.inf, 1.5], 'text': 'to "Infinity", \\ and -Infinity', 'psnr': math.inf}
    save_json(tmp_path / 'a.json', value, indent=1)
    assert read_json(tmp_path / 'a.json', '') == value

    def refuse(word: str) -> float:
        raise AssertionError(f'{word} is no JSON')

    assert json.loads((tmp_path / 'a.json').read_text(), parse_constant=refuse) == value


def test_a_path_through_a_link_is_what_was_meant(tmp_path):
    (tmp_path / 'disk/town').mkdir(parents=True)
    (tmp_path / 'data').mkdir()
    (tmp_path / 'data/town').symlink_to(tmp_path / 'disk/town')
    path = str(tmp_path / 'data/town/../teacher')
    assert through_links(path) == path, 'there is neither'
    (tmp_path / 'disk/teacher').mkdir()
    assert through_links(path) == path, 'beside the target alone'
    (tmp_path / 'data/teacher').mkdir()
    with pytest.raises(InputError, match=r'disk/teacher.* there is .*data/teacher, too; give the absolute path'):
        through_links(path)
    (tmp_path / 'disk/teacher').rmdir()
    assert through_links(path) == str(tmp_path / 'data/teacher'), 'beside the link alone'
    (tmp_path / 'disk/teacher').symlink_to(tmp_path / 'data/teacher')
    assert through_links(path) == path, 'both are the same folder'
    assert through_links('') == '' and through_links('data/town') == 'data/town'
