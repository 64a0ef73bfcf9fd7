"""Configs are loaded, overridden and refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from projects.DistillNeRF.configuration.config import building, default_work_dir, load_config
from projects.DistillNeRF.engine.command_line import config_parser
from projects.DistillNeRF.utils.errors import InputError
from tests.helpers.commands import Project

FOLDER = Path(__file__).resolve().parents[2] / 'projects/DistillNeRF/configs/model_wrapper'
ENTRIES = sorted([*FOLDER.glob('model_wrapper*.py'), *FOLDER.glob('successor*.py')], key=str)
TEACHERS = sorted(FOLDER.glob('scene_nerf*.py'), key=str)


@pytest.mark.parametrize('path', ENTRIES, ids=lambda path: path.stem)
def test_every_entry_point_loads(path):
    config = load_config(path)
    assert config.model.type == 'DistillNeRFModel'
    assert config.filename == str(path)


def test_there_is_no_other_kind_of_entry_point():
    assert sorted([*ENTRIES, *TEACHERS]) == sorted(FOLDER.glob('*.py'))


@pytest.mark.parametrize('path', TEACHERS, ids=lambda path: path.stem)
def test_every_entry_point_of_a_teacher_says_what_its_drive_is(path):
    section = load_config(path, sections=('scene_nerf',)).scene_nerf
    assert {'ann_files', 'scene', 'roots', 'image_size', 'holdout_frames', 'holdout_lidar_frames'} <= set(section)
    assert set(section.roots) == {'img', 'lidar', 'truth'}


def test_overrides_reach_their_place(project):
    config = load_config(project.config, {'model.network.channels': 6, 'train_cfg.dynamic_intervals': [(2, 1)]})
    assert config.model.network.channels == 6
    assert config.model.network.levels == (3, 5)
    assert config.train_cfg.dynamic_intervals == [(2, 1)]


@pytest.mark.parametrize(
    ('text', 'word'),
    [
        ('model = (', 'SyntaxError'),
        ('model = missing', 'NameError'),
        ('_base_ = "gone.py"', 'gone.py'),
        ('model = dict()', 'has no train_dataloader'),
        ('', 'is empty'),
    ],
)
def test_files_that_are_no_config_are_refused(tmp_path, text, word):
    path = tmp_path / 'config.py'
    path.write_text(text)
    with pytest.raises(InputError, match=word) as error:
        load_config(path)
    assert str(path) in str(error.value)
    assert '\n' not in str(error.value)


def test_overrides_that_do_not_fit_are_refused(project):
    with pytest.raises(InputError, match='not a usable config') as error:
        load_config(project.config, {'model.type.deeper': 1})
    assert str(project.config) in str(error.value)


def test_files_of_other_kinds_are_refused(tmp_path):
    path = tmp_path / 'config.txt'
    path.write_text('model = dict()')
    with pytest.raises(InputError, match=r'config\.txt: not a usable config'):
        load_config(path)
    with pytest.raises(InputError, match='is a folder, not a file; give a config'):
        load_config(tmp_path)


def test_only_the_sections_asked_for_are_needed(tmp_path):
    path = tmp_path / 'config.py'
    path.write_text('model = dict(a=1)')
    assert load_config(path, sections=('model',)).model.a == 1


@pytest.mark.parametrize('error', [KeyError('x'), TypeError('x\ny'), ValueError('x'), AttributeError('x')])
def test_settings_that_cannot_be_built_name_the_config(project, error):
    with pytest.raises(
        InputError, match=r': the settings cannot be built \(\w+Error: .*x.*\); correct them$'
    ) as refusal:
        raise_while_building(project, error)
    assert str(refusal.value).startswith(str(project.config))


@pytest.mark.parametrize('error', [InputError('file: gone'), RuntimeError('bug')])
def test_errors_of_files_and_bugs_keep_their_type(project, error):
    with pytest.raises(type(error), match=str(error)):
        raise_while_building(project, error)


def raise_while_building(project: Project, error: Exception) -> None:
    """An error where something of the project's config is built."""
    with building(load_config(project.config)):
        raise error


def test_the_command_line_is_parsed_and_wrong_options_are_refused(capsys):
    parser = config_parser('what it does')
    args = parser.parse_args(['a.py', 'b.pth', '--cfg-options', 'a.b=1', 'c=x=y', 'd=[1,2]'])
    assert (args.config, args.checkpoint) == ('a.py', 'b.pth')
    assert args.cfg_options == {'a.b': 1, 'c': 'x=y', 'd': [1, 2]}
    assert parser.parse_args(['a.py', 'None']).checkpoint is None
    for wrong in ('a', '=1'):
        with pytest.raises(SystemExit) as stop:
            parser.parse_args(['a.py', 'None', '--cfg-options', wrong])
        assert stop.value.code == 2
        assert f'{wrong!r} is not of the form key=value' in capsys.readouterr().err


def test_the_default_work_folder_is_named_after_the_config():
    assert default_work_dir('some/where/model.py') == Path('work_dirs/model')
