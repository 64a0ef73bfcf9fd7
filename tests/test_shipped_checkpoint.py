"""The networks in the repository still give their figures (docs/RESULTS.md)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from projects.DistillNeRF.configuration.config import load_config
from projects.DistillNeRF.evaluation.image import psnr
from tests.helpers.commands import ROOT, run
from verification.views_beside import rows

CONFIGS = ROOT / 'projects/DistillNeRF/configs/model_wrapper'
# Measured when a checkpoint was made. Rounding on other processors moves single cells, which changes far less than is
# allowed: .1 dB, 2 % of AbsRel.
SMALL = {'psnr': 20.86, 'next/psnr': 17.37, 'abs_rel': 0.1915}
SUCCESSOR = {'psnr': 21.09, 'next/psnr': 19.23, 'abs_rel': 0.142}


@pytest.fixture(scope='module')
def town(tmp_path_factory) -> Path:
    """One small scene for validation, of a town that no network has seen."""
    root = tmp_path_factory.mktemp('town') / 'minitown'
    arguments = ('--scenes', 2, '--keyframes', 3, '--seed', 77, '--workers', 1)
    assert run('create_data', 'minitown', '--root-path', root, *arguments).code == 0
    return root


@pytest.mark.parametrize(
    ('checkpoint', 'config', 'expected'),
    [
        ('minitown.pth', 'successor_minitown.py', SUCCESSOR),
        ('minitown_small.pth', 'model_wrapper_minitown.py', SMALL),
    ],
)
def test_figures_of_the_shipped_checkpoints(town, tmp_path, checkpoint, config, expected):
    path = ROOT / 'checkpoint' / checkpoint
    assert path.stat().st_size < 4e6
    loaders = ('train_dataloader', 'test_dataloader')
    options = [f'{loader}.dataset.data_root={town}' for loader in loaders] + [
        'test_dataloader.num_workers=0',
        'test_dataloader.persistent_workers=False',
    ]
    out = tmp_path / 'figures.json'
    result = run('test', CONFIGS / config, path, '--work-dir', tmp_path, '--out', out, '--cfg-options', *options)
    assert result.code == 0, result.err
    figures = json.loads(out.read_text())['model']
    assert figures['psnr'] == pytest.approx(expected['psnr'], abs=0.1)
    assert figures['next/psnr'] == pytest.approx(expected['next/psnr'], abs=0.1)
    assert figures['abs_rel'] == pytest.approx(expected['abs_rel'], rel=0.02)


def test_the_successor_is_sharper_from_beside(town):
    options = {f'{loader}.dataset.data_root': str(town) for loader in ('train_dataloader', 'test_dataloader')}
    networks = [
        (load_config(CONFIGS / config, options), str(ROOT / 'checkpoint' / checkpoint))
        for config, checkpoint in (
            ('model_wrapper_minitown.py', 'minitown_small.pth'),
            ('successor_minitown.py', 'minitown.pth'),
        )
    ]
    for image, true, small, successor in rows(networks, [0], ['CAM_FRONT', 'CAM_BACK']):
        assert psnr(true, image) < 25, 'it is another view'
        assert psnr(true, successor) > psnr(true, small) + 2
