"""The network in the repository still gives its figures (docs/RESULTS.md)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.helpers.commands import ROOT, run

CONFIG = ROOT / 'projects/DistillNeRF/configs/model_wrapper/model_wrapper_minitown.py'
CHECKPOINT = ROOT / 'checkpoint/minitown.pth'


@pytest.fixture(scope='module')
def town(tmp_path_factory) -> Path:
    """One small scene for validation, of a town that no network has seen."""
    root = tmp_path_factory.mktemp('town') / 'minitown'
    arguments = ('--scenes', 2, '--keyframes', 3, '--seed', 77, '--workers', 1)
    assert run('create_data', 'minitown', '--root-path', root, *arguments).code == 0
    return root


def test_figures_of_the_shipped_checkpoint(town, tmp_path):
    assert CHECKPOINT.stat().st_size < 4e6
    loaders = ('train_dataloader', 'test_dataloader')
    options = [f'{loader}.dataset.data_root={town}' for loader in loaders] + [
        'test_dataloader.num_workers=0',
        'test_dataloader.persistent_workers=False',
    ]
    out = tmp_path / 'figures.json'
    arguments = (CONFIG, CHECKPOINT, '--work-dir', tmp_path, '--out', out, '--cfg-options', *options)
    result = run('test', *arguments)
    assert result.code == 0, result.err
    figures = json.loads(out.read_text())['model']
    # Measured when the checkpoint was made. Rounding on other processors moves single cells, which changes far less.
    assert figures['psnr'] == pytest.approx(20.86, abs=0.1)
    assert figures['next/psnr'] == pytest.approx(17.37, abs=0.1)
    assert figures['abs_rel'] == pytest.approx(0.1915, rel=0.02)
