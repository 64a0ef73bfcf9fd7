"""Arguments that the tools share."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from projects.DistillNeRF.engine.command_line import add_trajectory, config_parser


def test_a_folder_comes_first_and_is_a_path():
    args = config_parser('what', folder='images').parse_args(['data', 'a.py', 'b.pth'])
    assert (args.folder, args.config, args.checkpoint, args.cfg_options) == (Path('data'), 'a.py', 'b.pth', None)
    assert not hasattr(config_parser('what').parse_args(['a.py', 'b.pth']), 'folder')


def test_some_tools_have_no_checkpoint_and_some_need_neither():
    assert not hasattr(config_parser('what', checkpoint=False).parse_args(['a.py']), 'checkpoint')
    args = config_parser('what', optional=True).parse_args([])
    assert args.config is None and getattr(args, 'checkpoint', None) is None
    with pytest.raises(SystemExit):
        config_parser('what').parse_args(['a.py'])


@pytest.mark.parametrize(
    ('given', 'value'),
    [
        ('a red car,traffic light', ['a red car', 'traffic light']),
        ('a red  car', 'a red car'),
        ('[1, 2 ,3]', [1, 2, 3]),
        (' (a b, [c d , e])', ('a b', ['c d', 'e'])),
        ('"my folder/x y.py"', 'my folder/x y.py'),
        ('3', 3),
        ('None', None),
        ('', ''),
    ],
)
def test_values_keep_the_spaces_between_their_words(given, value):
    args = config_parser('what', checkpoint=False).parse_args(['a.py', '--cfg-options', f'k.l={given}'])
    assert args.cfg_options == {'k.l': value}


@pytest.mark.parametrize('name', ['left_right', 'circle', 'translation', 'my/poses.json'])
def test_trajectories_are_names_or_files(name):
    parser = argparse.ArgumentParser()
    add_trajectory(parser)
    assert parser.parse_args(['--trajectory', name]).trajectory == name
    assert parser.parse_args([]).trajectory == 'left_right'


@pytest.mark.parametrize('name', ['spiral', 'poses.txt'])
def test_other_trajectories_are_refused(name, capsys):
    parser = argparse.ArgumentParser()
    add_trajectory(parser)
    with pytest.raises(SystemExit):
        parser.parse_args(['--trajectory', name])
    assert f'{name!r} is no trajectory; choose from left_right, circle' in capsys.readouterr().err
