"""The network against all published numbers, and that a wrong network would be found."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from projects.DistillNeRF.geometry.cameras import Cameras
from projects.DistillNeRF.geometry.contraction import ParameterizedSpace
from projects.DistillNeRF.modules import fine_depth, layers, renderer, volume_rendering
from projects.DistillNeRF.modules.decoder import StyledConv
from projects.DistillNeRF.modules.kernel_map import KernelMap
from tests.helpers.commands import run
from tests.helpers.data import PARITY
from tests.helpers.refusals import assert_refused
from tests.models.test_devices import FACTORIES
from verification.parity import checks, unit_data, units
from verification.parity.checks import UnitArrays, check_all
from verification.parity.comparison import DEEP, EQUAL, FACTOR, FLOOR, Bound, Report
from verification.parity.conditioning import Rounding, exact, measured
from verification.parity.float64 import check_float64
from verification.parity.frozen_depth import check_depth_anything, check_head, check_resizing
from verification.parity.rendering import check_rendering
from verification.parity.stages import check_encoder
from verification.parity.unit_data import DATA_CHECKS
from verification.parity.vectors import Vectors, thinned


@pytest.fixture(scope='module')
def public() -> Vectors:
    """The vectors of every clone."""
    return Vectors(PARITY['shipped'])


# So many comparisons a file has, thinned or not; those of ``float32`` stage by stage and end to end.
ROWS = {
    'float64 model': 24,
    'float64 model_linearspace': 24,
    'float64 model_linearspace_foundation_feature': 8,
    'float32 model': 92 + 9,
    'float32 model_linearspace': 92 + 9,
    'float32 model_foundation_feature': 15 + 6,
    'float32 model_linearspace_foundation_feature': 15 + 6,
    'float32 model_400_224': 21 + 6,
}
SHIPPED_FILES = {
    *('inputs', 'unit', 'depth_anything', 'model', 'model_foundation_feature', 'model_400_224'),
    *('f64_model', 'f64_model_linearspace', 'f64_model_linearspace_foundation_feature'),
}


def test_the_vectors_of_every_clone_are_there(public):
    assert {path.stem for path in public.folder.glob('*.npz')} == SHIPPED_FILES


# Where the full set is beside the repository, the networks are compared with it: it holds the shipped one.
FULLEST = PARITY.get('shared', PARITY['shipped'])


def test_the_full_set_holds_the_shipped_one(public, tmp_path):
    if 'shared' not in PARITY:
        pytest.skip('no full set beside the repository: the networks are compared with the shipped one')
    maker, source = public.folder.parent / 'make_parity.py', PARITY['shared'].parent
    subprocess.run([sys.executable, maker, source, tmp_path], check=True, capture_output=True)
    for name in SHIPPED_FILES:
        with np.load(public.folder / f'{name}.npz') as shipped, np.load(tmp_path / f'{name}.npz') as made:
            assert set(shipped) == set(made)
            for key in shipped:
                assert np.array_equal(shipped[key], made[key], equal_nan=shipped[key].dtype.kind == 'f'), key


@pytest.mark.parametrize('variant', Vectors(FULLEST).all_variants())
def test_a_variant_is_the_published_one(variant):
    vectors = Vectors(FULLEST)
    report, _ = check_all(vectors, [variant])
    assert report.passed, report
    rows = Counter(row.stage.partition(': ')[0].removesuffix(', end to end') for row in report.rows)
    kinds = {'float64': 'f64_', 'float32': ''}
    there = [f'{kind} {variant}' for kind, prefix in kinds.items() if variant in vectors.variants(prefix)]
    assert rows == {name: ROWS[name] for name in there}


@pytest.mark.parametrize('source', PARITY)
@pytest.mark.parametrize(
    'check', [*units.NETWORK_CHECKS, *DATA_CHECKS, check_resizing, check_head], ids=lambda check: check.__name__
)
def test_units_are_the_published_ones(check, source):
    report = Report()
    measured(partial(check, UnitArrays(Vectors(PARITY[source]))), report)
    assert report.passed, report


def test_the_frozen_depth_network_is_the_published_one():
    report = Report()
    measured(partial(check_depth_anything, Vectors(FULLEST)), report)
    assert report.passed, report
    assert len(report.rows) == 11


def write_thin(source: Path, folder: Path) -> Path:
    """A folder with still fewer rows of what is stored in part, and features at every second of those pixels."""
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns('f64_*', '*_*.npz', 'unit.npz'))
    with np.load(source / 'model.npz') as archive:
        arrays = dict(archive)
    for name in ('coarse/monodepthfeat', 'fine/imgfeat'):
        arrays[name] = arrays[name][:, :, ::2, ::2]
    arrays['octree/world_coord'] = arrays['octree/world_coord'][::4]
    arrays['octree/convout7'] = arrays['octree/convout7'][::2]
    for name in ('pooled7', 'pooled9'):
        arrays[f'octree/{name}_sub'] = arrays[f'octree/{name}_sub'][::2]
    for name in (name for name in arrays if name.startswith('render/') and name.endswith('_sub')):
        arrays[name] = arrays[name][::2]
    (folder / 'model.npz').unlink()
    np.savez(folder / 'model.npz', **arrays)
    return folder


@pytest.mark.slow
def test_thinner_files_are_compared_as_well(public, tmp_path):
    """Stages whose stored inputs are thinned out are fed with ours."""
    report, unused = check_all(Vectors(write_thin(public.folder, tmp_path / 'thin')), ['model'])
    assert report.passed, report
    assert unused == []


def worst(report: Report) -> float:
    """The greatest share of a bound, but for what has to be equal or has another shape."""
    rows = (c.row() for c in report.comparisons if any(bound.ceiling for bound in c.bounds))
    return max(row.share_of_bound for row in rows if np.isfinite(row.share_of_bound))


WRONG = {
    'slope': (layers, 'LEAKY_SLOPE', 0.21),
    'empty space': (renderer, 'EMPTY_LOGIT', -29.0),
}


@pytest.mark.parametrize('name', ['slope', pytest.param('empty space', marks=pytest.mark.slow)])
def test_a_network_that_differs_fails(public, monkeypatch, name):
    module, constant, value = WRONG[name]
    monkeypatch.setattr(module, constant, value)
    report, _ = check_all(public, ['model_linearspace_foundation_feature'])
    assert not report.passed


def test_without_the_quirk_of_the_first_cell_samples_differ(public, monkeypatch):
    monkeypatch.setattr(renderer, '_without_first_row', lambda voxels: voxels)
    report = Report()
    measured(partial(units.check_look_up, UnitArrays(public)), report)
    assert not report.passed
    assert worst(report) > 100


# One thing wrong each: object, attribute, value. Rounding leaves every bound of the right network unused by a factor of
# three or more; each of these goes beyond one a hundred times.
def _next_interval(*args) -> Tensor:
    return (heaviest_interval(*args) + 1).clamp_max(200)


def _mirrored(*args) -> KernelMap:
    return dataclasses.replace(build(*args), kernels=range(26, -1, -1))


def _half_a_pixel_off(self, rows: int, columns: int) -> Tensor:
    return pixel_grid(self, rows, columns) + 0.5


def _one_step_farther(self, depth: Tensor) -> Tensor:
    return candidates(self, depth) + (self.candidate_ratio * depth).clamp(*self.candidate_step)[..., None]


def _one_bin_farther(self, like: Tensor, stride: int = 1) -> Tensor:
    edges = bin_edges(self, like, stride)
    return torch.cat([edges[1:], 2 * edges[-1:] - edges[-2:-1]])


def _without_minus_one(logit: Tensor, activation: str) -> Tensor:
    return torch.exp(logit)


heaviest_interval, build = renderer.heaviest_interval, KernelMap.build
pixel_grid, bin_edges, candidates = Cameras.pixel_grid, ParameterizedSpace.bin_edges, fine_depth.FineDepthNet.candidates

WRONG_STEPS: dict[str, tuple[object, str, object]] = {
    'slope': (layers, 'LEAKY_SLOPE', 0.21),
    'empty space': (renderer, 'EMPTY_LOGIT', -29.0),
    'next interval': (renderer, 'heaviest_interval', _next_interval),
    'mirrored offsets': (KernelMap, 'build', _mirrored),
    'half a pixel': (Cameras, 'pixel_grid', _half_a_pixel_off),
    'next candidate': (fine_depth.FineDepthNet, 'candidates', _one_step_farther),
    'next bin': (ParameterizedSpace, 'bin_edges', _one_bin_farther),
    'density without its -1': (fine_depth, 'activate_density', _without_minus_one),
    'epsilon of the norm': (layers, 'NORM_EPSILON', 1e-4),
}
# In float32 the scores' exponentials hide a factor of e behind rounding: 58 bounds off.
WRONG_IN_FLOAT32 = [name for name in WRONG_STEPS if name != 'density without its -1']
SHARP = 'model_linearspace_foundation_feature'


def _sharp(public: Vectors, report: Report) -> None:
    with torch.no_grad():
        check_float64(public, SHARP, report, gradients=False)


def _stages(public: Vectors, report: Report) -> None:
    scene, stored = check_encoder(public, 'model', report)
    check_rendering(public, 'model', scene, stored, report)


def judged_as(right: Report, check: Callable[[Report], None]) -> Report:
    """What ``check`` finds, with the bounds of the right network."""
    report = Report()
    check(report)
    for found, known in zip(report.comparisons, right.comparisons, strict=True):
        found.changes = known.changes
    return report


@pytest.fixture(scope='module')
def right_in_float64(public) -> Report:
    report = Report()
    measured(partial(_sharp, public), report)
    return report


@pytest.fixture(scope='module')
def right_in_float32(public) -> Report:
    report = Report()
    measured(partial(_stages, public), report)
    return report


@pytest.mark.parametrize('name', WRONG_STEPS)
def test_one_wrong_step_is_a_hundred_bounds_off_in_float64(public, right_in_float64, monkeypatch, name):
    assert worst(right_in_float64) < 1 / 3
    monkeypatch.setattr(*WRONG_STEPS[name])
    report = judged_as(right_in_float64, partial(_sharp, public))
    assert worst(report) > 100, report


@pytest.mark.parametrize('name', WRONG_IN_FLOAT32)
def test_one_wrong_step_is_a_hundred_bounds_off_in_float32(public, right_in_float32, monkeypatch, name):
    assert worst(right_in_float32) < 1 / 3
    monkeypatch.setattr(*WRONG_STEPS[name])
    report = judged_as(right_in_float32, partial(_stages, public))
    assert worst(report) > 100, report


def _offset_first(self, x: Tensor, style: Tensor) -> Tensor:
    x = F.group_norm(self.conv(x), self.GROUPS, eps=1e-6)
    offset, gain = self.style(style)[:, :, None, None].chunk(2, dim=1)
    return layers.leaky_relu_(gain * x + offset)


def _without_half(edges_or_density: Tensor, edges: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    _, weights = volume_rendering.render_intervals(edges_or_density, edges, dim)
    return (weights * edges[..., :-1]).sum(dim) / weights.sum(dim).clamp(1e-6, 1), weights


def _without_log(weights: Tensor) -> Tensor:
    return (1 - weights.sum(1).clamp(0, 1)).mean()


WRONG_UNITS: dict[str, tuple[Callable, object, str, object]] = {
    'style': (units.check_decoders, StyledConv, 'forward', _offset_first),
    'slope': (units.check_blocks, layers, 'LEAKY_SLOPE', 0.21),
    'mirrored offsets': (units.check_sparse_convolution, KernelMap, 'build', _mirrored),
    'next bin': (units.check_space, ParameterizedSpace, 'bin_edges', _one_bin_farther),
    'start of the interval': (units.check_volume_rendering, units, 'render_intervals', _without_half),
    'density without its -1': (units.check_volume_rendering, volume_rendering, 'activate_density', _without_minus_one),
    'loss': (unit_data.check_losses, unit_data, 'LOSSES', {'OpacityLoss': (0.1, _without_log, ('weights',))}),
    'metric': (unit_data.check_metrics, unit_data, 'psnr', lambda a, b: -10 * float((a - b).abs().mean().log10())),
}


@pytest.mark.parametrize('name', WRONG_UNITS)
def test_one_wrong_function_is_a_hundred_bounds_off(public, monkeypatch, name):
    """Even with the bounds of its own conditioning."""
    check, owner, attribute, value = WRONG_UNITS[name]
    monkeypatch.setattr(owner, attribute, value)
    report = Report()
    measured(partial(check, UnitArrays(public)), report)
    assert worst(report) > 100, report


# What is measured.


def test_bounds_are_the_change_by_rounding_times_the_factor():
    """``1e4 + x - 1e4`` loses four digits; ``x`` none; what cancels is judged by what is left of it."""
    x = torch.linspace(0.1, 1, 1000, dtype=torch.float64)

    def check(report: Report) -> None:
        report.add('steady', 1 * x, x, (Bound(1.0),))
        report.add('canceled', (1e4 + x) - 1e4, x, (Bound(1.0), Bound(1e-14, 0.5)))

    report = Report()
    measured(check, report)
    steady, canceled = report.comparisons
    eps = torch.finfo(torch.float64).eps
    assert FLOOR * eps <= steady.limit(Bound(1.0)) <= FACTOR * 4 * eps
    assert FACTOR * 1e3 * eps < canceled.limit(Bound(1.0)) < FACTOR * 1e5 * eps
    # The ceiling.
    assert canceled.limit(Bound(1e-14)) == 1e-14
    assert not report.passed


def test_what_is_infinite_when_perturbed_excuses_nothing():
    ones = torch.ones(8)

    def check(report: Report) -> None:
        report.add('ratio', ones + 1e-3, np.ones(8), (Bound(0.5),))

    report = Report()
    check(report)
    assert report.passed
    report.comparisons[0].changes = [np.full(8, np.inf)]
    assert not report.passed


def test_a_loss_is_judged_by_the_changes_of_its_terms():
    """Two large changes that cancel in one perturbed run are still a bad condition."""

    def report_of(terms: list[float]) -> Report:
        report = Report()
        report.add('loss', sum(terms), 10.0, (Bound(1.0),), terms=torch.tensor(terms))
        return report

    report = report_of([5.0, 5.0])
    report.add_changes(report_of([6.0, 4.0]))
    assert report.comparisons[0].changes[0] == pytest.approx([2**0.5 / 10])


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_rounding_changes_results_by_few_units_and_not_what_is_exact(dtype):
    eps = torch.finfo(dtype).eps
    x = torch.linspace(0.5, 2, 200_000, dtype=dtype).view(2, -1).requires_grad_()
    with Rounding(seed=1):
        y, kept, chosen = x.exp(), x.relu(), x[:, ::2]
        (gradient,) = torch.autograd.grad(y.sum(), x)
        with exact():
            same = x.exp()
    change = (y / x.exp() - 1).abs()
    assert 0.2 * eps < change.mean() < eps and change.max() <= 2 * eps
    assert torch.equal(kept, x) and torch.equal(chosen, x[:, ::2]) and torch.equal(same, x.exp())
    assert 0 < (gradient / x.exp() - 1).abs().max() <= 4 * eps
    with Rounding(seed=1):
        assert torch.equal(x.exp(), y)
    with Rounding(seed=2):
        assert not torch.equal(x.exp(), y)


def test_rounding_reaches_strided_and_channels_last_results():
    x = torch.rand(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    storage = torch.ones(4, 6)
    with Rounding(seed=1):
        y = x.mul(3.0)
        storage[:, ::2].mul_(1.0)
    assert y.is_contiguous(memory_format=torch.channels_last)
    assert (y != x * 3).float().mean() > 0.3 and torch.allclose(y, x * 3, rtol=1e-6, atol=0)
    assert (storage[:, ::2] != 1).any() and (storage[:, 1::2] == 1).all()


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


def test_command_writes_a_table_and_tells_what_differs(public, tmp_path):
    variant = 'model_linearspace_foundation_feature'
    folder = tmp_path / 'vectors'
    folder.mkdir()
    shutil.copy(public.folder / 'inputs.npz', folder)
    arrays = public.arrays(f'f64_{variant}')
    np.savez(folder / f'f64_{variant}.npz', **{**arrays, 'recons': arrays['recons'] * (1 + 1e-6)})
    out = tmp_path / 'table.json'
    result = run('check_parity', folder, '--variant', variant, '--json', out)
    assert result.code == 1, result.err
    assert 'render_argmax' in result.out
    assert [line.split()[-1] for line in result.out.splitlines() if 'recons ' in line] == ['FAIL']
    table = json.loads(out.read_text())
    assert not table['passed'] and [row['stage'] for row in table['rows'] if not row['passed']] == [
        f'float64 {variant}: recons'
    ]


def test_command_succeeds_where_nothing_differs(public, tmp_path, monkeypatch):
    """That nothing does is the subject of the tests above."""

    def found(*_: object) -> tuple[Report, list[str]]:
        report = Report()
        report.add('equal', torch.tensor([1, 2]), np.array([1, 2]), EQUAL)
        return report, []

    monkeypatch.setattr(checks, '_check', found)
    out = tmp_path / 'table.json'
    result = run('check_parity', public.folder, '--json', out)
    assert result.code == 0, result.err
    assert '1 of 1 comparisons pass' in result.out and json.loads(out.read_text())['passed']


def test_folders_without_vectors(public, tmp_path):
    assert_refused(run('check_parity', tmp_path / 'no'), tmp_path / 'no', 'no vectors')
    assert_refused(run('check_parity', public.folder, '--variant', 'model_9'), 'model_9', 'choose from')
    (tmp_path / 'model.npz').write_bytes(b'PK not an archive')
    shutil.copy(public.folder / 'inputs.npz', tmp_path)
    assert_refused(run('check_parity', tmp_path), tmp_path / 'model.npz', 'not a readable archive')


def test_weights_fill_every_parameter():
    from verification.parity.weights import rule_network

    network = rule_network('model_linearspace_foundation_feature', torch.float32)
    assert all(parameter.detach().abs().sum() > 0 for parameter in network.parameters())
    assert isinstance(network, nn.Module) and not network.training


class OneDevice(TorchFunctionMode):
    """Fails where the verification makes a tensor without saying on which device, but from an array."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        made_by = sys._getframe(1).f_code.co_filename
        if func in FACTORIES - {torch.from_numpy} and (kwargs or {}).get('device') is None:
            # Data are read, prepared and compared in main memory.
            allowed = made_by.endswith(('vectors.py', 'unit_data.py', 'reference/kernels.py')) or func is torch.tensor
            assert allowed or 'verification' not in made_by, (func, made_by)
        return func(*args, **(kwargs or {}))


def test_all_is_made_on_the_device_that_is_asked_for(public):
    """Numbers that are compared are fetched; arrays are moved as they are read."""
    here = dataclasses.replace(public, device=torch.device('cpu', 0))
    with OneDevice():
        report, _ = check_all(here, ['model_foundation_feature'])
        for check in units.NETWORK_CHECKS:
            check(UnitArrays(here), Report())
    assert report.passed
    arrays = UnitArrays(dataclasses.replace(public, device=torch.device('meta')))
    assert arrays['spc/points'].is_meta and arrays.in_main_memory()['spc/points'].is_cpu
    assert 'spc/points' not in arrays.unused


def test_parity_is_in_true_float32(public, monkeypatch):
    seen = []
    monkeypatch.setattr(checks, '_check', lambda *_: seen.append(torch.backends.cudnn.allow_tf32))
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = True
    check_all(public, ['model'])
    assert seen == [False] and torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = before


def test_a_device_that_is_none_is_refused(public):
    assert_refused(run('check_parity', public.folder, '--device', 'abacus'), "device 'abacus': cannot be used")
