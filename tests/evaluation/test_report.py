"""Figures as a table of plain text."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from projects.DistillNeRF.evaluation.report import compare, key, places, table, view_groups


def test_a_table_is_aligned_and_leaves_gaps_empty():
    text = table({'model': {'psnr': 20.12345, 'a1': 0.5}, 'mean': {'psnr': 9.0}}, ['psnr', 'a1', 'next/rmse'])
    assert text.splitlines() == [
        'metric          model   mean',
        '----------------------------',
        'psnr [dB]      20.123  9.000',
        'a1              0.500',
        'next/rmse [m]',
    ]


def test_baselines_stand_beside_the_model():
    lines = compare(
        {'psnr': 20.0, 'next/psnr': 19.0, 'abs_rel': 0.1},
        {'mean_color/psnr': 10.0, 'mean_color/next/psnr': 11.0, 'current_frame/next/psnr': 15.0},
    ).splitlines()
    assert [line.split() for line in lines if not line.startswith('-')] == [
        ['metric', 'model', 'mean_color', 'current_frame'],
        ['psnr', '[dB]', '20.000', '10.000'],
        ['next/psnr', '[dB]', '19.000', '11.000', '15.000'],
        ['abs_rel', '0.100'],
    ]


def test_a_model_without_baselines_has_one_column():
    assert compare({'psnr': 1.0}, {}).splitlines()[-1].split() == ['psnr', '[dB]', '1.000']


def test_intervals_stand_beside_the_figures():
    lines = compare({'psnr': 20.0, 'a1': 0.5}, {'guess/a1': 0.25}, {'psnr': (19.0, 21.5)}).splitlines()
    assert lines[0].split() == ['metric', 'model', '95', '%', 'guess']
    assert lines[2].split() == ['psnr', '[dB]', '20.000', '19.000', 'to', '21.500']
    assert lines[3].split() == ['a1', '0.500', '0.250']


def views(*pairs: tuple[str, int]) -> SimpleNamespace:
    names, frames = zip(*pairs, strict=True)
    return SimpleNamespace(names=names, frames=frames)


def test_views_are_grouped_by_frame_and_camera():
    inputs = views(('A', 0), ('B', 0))
    targets = views(('A', 1), ('A', 0), ('C', 0), ('A', -1), ('B', 2), ('B', 0), ('C', -3), ('C', 1))
    groups = view_groups(inputs, targets)
    assert groups == {'next': [0, 7], '': [1, 5], 'virtual': [2], 'previous': [3], 'frame+2': [4], 'frame-3': [6]}


@pytest.mark.parametrize('positions', [[], [0], [3], [0, 1, 2], [2, 3], [1, 3], [2, 1], [0, 1, 1]])
def test_places_are_the_positions_and_a_slice_where_they_follow_each_other(positions):
    numbers = torch.arange(5)
    index = places(positions)
    assert numbers[index].tolist() == positions
    assert isinstance(index, slice) == (positions not in ([1, 3], [2, 1], [0, 1, 1]))


def test_keys_leave_empty_parts_out():
    assert (key('next', 'psnr'), key('', 'psnr'), key('a', '', 'b')) == ('next/psnr', 'psnr', 'a/b')
