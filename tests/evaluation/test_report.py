"""Figures as a table of plain text."""

from __future__ import annotations

from projects.DistillNeRF.evaluation.report import compare, table


def test_a_table_is_aligned_and_leaves_gaps_empty():
    text = table({'model': {'psnr': 20.12345, 'a1': 0.5}, 'mean': {'psnr': 9.0}}, ['psnr', 'a1', 'next/rmse'])
    assert text.splitlines() == [
        'metric          model   mean',
        '-------------  ------  -----',
        'psnr [dB]      20.123  9.000',
        'a1              0.500       ',
        'next/rmse [m]               ',
    ]


def test_baselines_stand_beside_the_model():
    lines = compare(
        {'psnr': 20.0, 'next/psnr': 19.0, 'abs_rel': 0.1},
        {'mean_colour/psnr': 10.0, 'mean_colour/next/psnr': 11.0, 'current_frame/next/psnr': 15.0},
    ).splitlines()
    assert [line.split() for line in lines if not line.startswith('-')] == [
        ['metric', 'model', 'mean_colour', 'current_frame'],
        ['psnr', '[dB]', '20.000', '10.000'],
        ['next/psnr', '[dB]', '19.000', '11.000', '15.000'],
        ['abs_rel', '0.100'],
    ]


def test_a_model_alone():
    assert compare({'psnr': 1.0}, {}).splitlines()[-1].split() == ['psnr', '[dB]', '1.000']
