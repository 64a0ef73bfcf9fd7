"""The network against all published numbers, and that a wrong network would be found."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from projects.DistillNeRF.modules import layers, renderer
from projects.DistillNeRF.parity import units
from projects.DistillNeRF.parity.checks import UnitArrays, check_all
from projects.DistillNeRF.parity.comparison import DEEP, EQUAL, Bound, Report
from projects.DistillNeRF.parity.frozen_depth import check_depth_anything, check_head, check_resizing
from projects.DistillNeRF.parity.unit_data import DATA_CHECKS
from projects.DistillNeRF.parity.vectors import Vectors, thinned
from tests.tools.commands import run
from tests.tools.test_commands_bad_input import refused


@pytest.fixture(scope='module')
def public(shared_dir: Path) -> Vectors:
    return Vectors(shared_dir / 'parity/public')


@pytest.mark.parametrize(
    'variant',
    [
        'model',
        'model_linearspace',
        'model_foundation_feature',
        'model_linearspace_foundation_feature',
        'model_400_224',
    ],
)
def test_a_variant_is_the_published_one(public, variant):
    report, _ = check_all(public, [variant])
    assert report.passed, report
    sharp = [row for row in report.rows if row.stage.startswith('float64')]
    assert bool(sharp) == (variant in public.variants('f64_'))


@pytest.mark.parametrize(
    'check', [*units.NETWORK_CHECKS, *DATA_CHECKS, check_resizing, check_head], ids=lambda check: check.__name__
)
def test_units_are_the_published_ones(public, check):
    report = Report()
    check(UnitArrays(public), report)
    assert report.passed, report


def test_the_frozen_depth_network_is_the_published_one(public):
    report = Report()
    check_depth_anything(public, report)
    assert report.passed, report


def write_thin(source: Path, folder: Path) -> Path:
    """A folder as the held-out ones are: fewer rows of what is stored in part, features at every second pixel."""
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns('f64_*', '*_*.npz', 'unit.npz'))
    with np.load(source / 'model.npz') as archive:
        arrays = dict(archive)
    for name in ('coarse/monodepthfeat', 'fine/imgfeat'):
        arrays[name] = arrays[name][:, :, ::2, ::2]
    arrays['octree/world_coord'] = arrays['octree/world_coord'][::7]
    arrays['octree/convout7'] = arrays['octree/convout7'][::4]
    for name in ('pooled7', 'pooled9'):
        arrays[f'octree/{name}_sub'] = arrays[f'octree/{name}_sub'][::2]
    for name in (name for name in arrays if name.startswith('render/') and name.endswith('_sub')):
        arrays[name] = arrays[name][::2]
    (folder / 'model.npz').unlink()
    np.savez(folder / 'model.npz', **arrays)
    return folder


def test_thinner_files_are_compared_as_well(public, tmp_path):
    """Stages whose stored inputs are thinned out are fed with ours."""
    report, unused = check_all(Vectors(write_thin(public.folder, tmp_path / 'thin')), ['model'])
    assert report.passed, report
    assert unused == []


WRONG = {
    'slope': (layers, 'LEAKY_SLOPE', 0.21),
    'empty space': (renderer, 'EMPTY_LOGIT', -29.0),
}


@pytest.mark.parametrize('name', WRONG)
def test_a_network_that_differs_fails(public, monkeypatch, name):
    module, constant, value = WRONG[name]
    monkeypatch.setattr(module, constant, value)
    report, _ = check_all(public, ['model_linearspace_foundation_feature'])
    assert not report.passed


def test_without_the_quirk_of_the_first_cell_samples_differ(public, monkeypatch):
    monkeypatch.setattr(renderer, '_without_first_row', lambda voxels: voxels)
    report = Report()
    units.check_look_up(UnitArrays(public), report)
    assert not report.passed


def test_rows_of_a_report():
    report = Report()
    report.add('equal', torch.tensor([1, 2]), np.array([1, 2]), EQUAL)
    report.add('unknown', torch.tensor([1.0, torch.nan]), np.array([1.0, np.nan]), DEEP)
    report.add('mostly', torch.tensor([1.0] * 99 + [2.0]), np.ones(100), (Bound(1e-3, 0.9),))
    assert report.passed
    for wrong in (torch.tensor([1.0, 2.1]), torch.tensor([1.0, torch.nan]), torch.tensor([1.0]), torch.tensor([1, 3])):
        broken = Report()
        broken.add('wrong', wrong, np.array([1.0, 2.0]), DEEP)
        assert not broken.passed
    assert not Report().passed
    assert 'FAIL' in str(broken)


def test_rows_at_which_an_array_was_stored():
    values = torch.arange(20).view(4, 5)
    assert thinned(values, np.zeros((2, 5))).tolist() == values[::2].tolist()
    assert thinned(values, np.zeros((4, 3))).tolist() == values[:, ::2].tolist()


# The command.


def test_command_writes_a_table(public, tmp_path):
    folder = tmp_path / 'vectors'
    folder.mkdir()
    for name in ('inputs', 'f64_model_linearspace_foundation_feature'):
        shutil.copy(public.folder / f'{name}.npz', folder)
    out = tmp_path / 'table.json'
    variant = ('--variant', 'model_linearspace_foundation_feature')
    result = run('check_parity', folder, *variant, '--json', out)
    assert result.code == 0, result.err
    assert 'render_argmax' in result.out
    table = json.loads(out.read_text())
    assert table['passed'] and all(row['passed'] for row in table['rows'])

    path = folder / 'f64_model_linearspace_foundation_feature.npz'
    with np.load(path) as archive:
        arrays = dict(archive)
    arrays['recons'] = arrays['recons'] * (1 + 1e-6)
    path.unlink()
    np.savez(path, **arrays)
    result = run('check_parity', folder, *variant)
    assert result.code == 1
    assert [line.split()[-1] for line in result.out.splitlines() if 'recons ' in line] == ['FAIL']


def test_folders_without_vectors(public, tmp_path):
    refused(run('check_parity', tmp_path / 'no'), tmp_path / 'no', 'no vectors')
    refused(run('check_parity', public.folder, '--variant', 'model_9'), 'model_9', 'choose from')
    (tmp_path / 'model.npz').write_bytes(b'PK not an archive')
    shutil.copy(public.folder / 'inputs.npz', tmp_path)
    refused(run('check_parity', tmp_path), tmp_path / 'model.npz', 'not a readable archive')


def test_weights_fill_every_parameter():
    from projects.DistillNeRF.parity.weights import rule_network

    network = rule_network('model_linearspace_foundation_feature', torch.float32)
    assert all(parameter.detach().abs().sum() > 0 for parameter in network.parameters())
    assert isinstance(network, nn.Module) and not network.training
