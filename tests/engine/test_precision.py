"""The precision of commands, and what they refuse; losses and gradients that are not finite."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MessageHub
from torch import nn

from projects.DistillNeRF.configuration.switches import use_precision
from projects.DistillNeRF.engine.optim_wrappers import (
    BFloat16OptimWrapper,
    SkippingAmpOptimWrapper,
    SkippingOptimWrapper,
    skipping,
)
from projects.DistillNeRF.models.checkpoint import read_checkpoint
from projects.DistillNeRF.utils.errors import InputError
from projects.DistillNeRF.utils.precision import computing
from tests.helpers.commands import ROOT, Project, mmengine_state, run, write_config
from tests.helpers.ranks import free_port
from tests.helpers.refusals import assert_refused


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Training sets what this process computes in."""
    with computing('tf32', 'cpu'):
        yield


def config(kind: str = 'OptimWrapper') -> Config:
    return Config({'optim_wrapper': {'type': kind, 'optimizer': {'type': 'SGD', 'lr': 0.1}}})


@pytest.mark.parametrize(
    ('cuda', 'precision', 'amp', 'used', 'kind'),
    [
        (True, None, False, 'fp32', 'OptimWrapper'),
        (True, None, True, 'fp16', 'AmpOptimWrapper'),
        (True, 'fp16', False, 'fp16', 'AmpOptimWrapper'),
        (True, 'bf16', False, 'bf16', 'BFloat16OptimWrapper'),
        (True, 'bf16', True, 'bf16', 'BFloat16OptimWrapper'),
        (True, 'tf32', False, 'tf32', 'OptimWrapper'),
        (True, 'fp32', False, 'fp32', 'OptimWrapper'),
        (False, None, True, 'bf16', 'BFloat16OptimWrapper'),
        (False, 'bf16', True, 'bf16', 'BFloat16OptimWrapper'),
        (False, 'tf32', False, 'tf32', 'OptimWrapper'),
    ],
)
def test_options_and_device_choose_the_precision(monkeypatch, cuda, precision, amp, used, kind):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: cuda)
    made = config()
    assert use_precision(made, precision, amp) == used
    assert made.optim_wrapper.type == kind
    assert made.optim_wrapper.get('loss_scale') == ('dynamic' if used == 'fp16' else None)


@pytest.mark.parametrize(
    ('precision', 'amp', 'kind', 'words'),
    [
        ('fp32', True, 'OptimWrapper', '--amp and --precision fp32: .*; leave one of the two away'),
        ('tf32', True, 'OptimWrapper', '--amp and --precision tf32'),
        ('fp16', False, 'OptimWrapper', '--precision fp16: needs a GPU'),
        ('fp32', False, 'AmpOptimWrapper', '--precision fp32 and optim_wrapper.type=AmpOptimWrapper'),
        ('bf16', False, 'OwnWrapper', '--precision bf16 would take the place of optim_wrapper.type=OwnWrapper'),
        (None, True, 'OwnWrapper', '--amp would take the place of optim_wrapper.type=OwnWrapper'),
    ],
)
def test_contradictions_are_refused(monkeypatch, precision, amp, kind, words):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    with pytest.raises(InputError, match=words):
        use_precision(config(kind), precision, amp)


def test_a_training_refuses_contradictions_in_one_line(project, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    for arguments, word in (
        (('--amp', '--precision', 'fp32'), '--amp and --precision fp32'),
        (('--precision', 'fp16'), 'needs a GPU'),
    ):
        assert_refused(run('train', project.config, '--work-dir', tmp_path, *arguments), word)


def test_mixed_precision_has_two_names(project, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    weights = []
    for name, arguments in (
        ('amp', ('--amp',)),
        ('bf16', ('--precision', 'bf16')),
        ('plain', ()),
        ('fp32', ('--precision', 'fp32')),
    ):
        options = ('--cfg-options', 'train_cfg.max_iters=1', 'train_cfg.val_interval=9', 'custom_hooks.2.interval=0')
        checkpoints = 'default_hooks.checkpoint.interval=1'
        result = run('train', project.config, '--work-dir', tmp_path / name, *arguments, *options, checkpoints)
        assert result.code == 0, result.err
        weights.append(read_checkpoint(tmp_path / name / 'iter_1.pth')['state_dict'])
    amp, bf16, plain, fp32 = weights
    assert all(torch.equal(value, bf16[name]) for name, value in amp.items())
    assert all(torch.equal(value, fp32[name]) for name, value in plain.items())
    assert any(not torch.equal(value, fp32[name]) for name, value in bf16.items())
    assert torch.backends.cudnn.allow_tf32 is False, 'float32 is float32'


def test_an_evaluation_has_a_precision(project, trained, tmp_path):
    psnr = []
    for precision in ('fp32', 'bf16'):
        figures = tmp_path / f'{precision}.json'
        options = ('--work-dir', tmp_path, '--eval', 'psnr', '--out', figures, '--precision', precision)
        result = run('test', project.config, trained / 'iter_3.pth', *options)
        assert result.code == 0, result.err
        psnr.append(figures.read_text().partition('psnr')[2].split()[1])
    assert psnr[0] != psnr[1]
    result = run('test', project.config, 'None', '--work-dir', tmp_path, '--precision', 'fp16')
    if not torch.cuda.is_available():
        assert_refused(result, '--precision fp16: needs a GPU')


OPTIMIZERS = {'SGD': lambda p: torch.optim.SGD(p, lr=0.1), 'fused Adam': lambda p: torch.optim.Adam(p, fused=True)}


def wrapper(kind: type, optimizer: torch.optim.Optimizer, clip: dict | None, monkeypatch) -> SkippingOptimWrapper:
    settings = {'optimizer': optimizer, 'clip_grad': clip}
    if kind is not SkippingAmpOptimWrapper:
        return kind(**settings)
    module = 'mmengine.optim.optimizer.amp_optimizer_wrapper'
    monkeypatch.setattr(f'{module}.is_cuda_available', lambda: True)
    made = kind(**settings)
    made.loss_scaler = torch.amp.GradScaler('cpu', init_scale=4.0)
    return made


@pytest.mark.parametrize('bad', [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize('clip', [None, {'max_norm': 1.0}, {'type': 'value', 'clip_value': 1.0}])
@pytest.mark.parametrize('kind', [SkippingOptimWrapper, BFloat16OptimWrapper, SkippingAmpOptimWrapper])
@pytest.mark.parametrize('optimizer', OPTIMIZERS)
def test_a_gradient_that_is_not_finite_skips_the_step(monkeypatch, optimizer, kind, clip, bad):
    with mmengine_state():
        hub = MessageHub.get_instance('a run')
        weight = nn.Parameter(torch.tensor([1.0, 2.0]))
        made = wrapper(kind, OPTIMIZERS[optimizer]([weight]), clip and dict(clip), monkeypatch)
        made.update_params((weight * torch.tensor([bad, 1.0])).sum())
        assert weight.tolist() == [1, 2] and made.skipped == 1
        assert weight.grad is None
        made.update_params((weight * torch.tensor([3.0, 1.0])).sum())
        assert (weight < torch.tensor([1.0, 2.0])).all() and weight.isfinite().all() and made.skipped == 1
        assert hub.get_scalar('train/skipped_steps').current() == 1
        if kind is SkippingAmpOptimWrapper:
            assert made.loss_scaler.get_scale() == 2, 'the scale is halved'
        if clip == {'max_norm': 1.0}:
            assert hub.get_scalar('train/grad_norm').current() == pytest.approx(math.sqrt(10))


def test_a_log_without_skipped_steps_does_not_count_them():
    with mmengine_state():
        hub = MessageHub.get_instance('a run')
        weight = nn.Parameter(torch.ones(1))
        SkippingOptimWrapper(torch.optim.SGD([weight], lr=0.1)).update_params(weight.sum())
        assert 'train/skipped_steps' not in hub.log_scalars


def test_every_wrapper_of_mmengine_skips_and_others_stay():
    kinds = ('OptimWrapper', 'AmpOptimWrapper', 'BFloat16OptimWrapper', 'OwnWrapper')
    ours = ('SkippingOptimWrapper', 'SkippingAmpOptimWrapper', 'BFloat16OptimWrapper', 'OwnWrapper')
    given = [config(kind).optim_wrapper for kind in kinds]
    assert tuple(skipping(each)['type'] for each in given) == ours
    assert tuple(each['type'] for each in given) == kinds, 'the config stays as it is'
    assert skipping({'optimizer': {}})['type'] == 'SkippingOptimWrapper'


def test_endless_skipping_is_told(monkeypatch):
    told = []
    monkeypatch.setattr('projects.DistillNeRF.engine.optim_wrappers.print_log', lambda text, **_: told.append(text))
    with mmengine_state():
        MessageHub.get_instance('a run')
        weight = nn.Parameter(torch.ones(1))
        made = SkippingOptimWrapper(torch.optim.SGD([weight], lr=0.1))
        for _ in range(40):
            made.update_params(weight.sum() * math.nan)
    assert len(told) == 1 and '25 steps in a row were skipped' in told[0]


BAD_RANK = """
import os

from mmdet3d.registry import MODELS
from mmengine.logging import MessageHub
from torch import nn


@MODELS.register_module()
class BadOnOneRank(nn.Module):
    compares = 'image'

    def forward(self, estimate, target):
        bad = os.environ['RANK'] == '1' and MessageHub.get_current_instance().get_info('iter') == 2
        return (estimate - target).abs().mean() * (float('nan') if bad else 1.0)
"""


@pytest.fixture
def bad_on_one_rank(project, tmp_path) -> Project:
    (tmp_path / 'bad_rank.py').write_text(BAD_RANK)
    made = write_config(tmp_path / 'config.py', project.root)
    with made.config.open('a') as file:
        file.write("custom_imports = dict(imports=['projects.DistillNeRF.register', 'bad_rank'])\n")
        file.write("model['losses'] = dict(mine=dict(type='BadOnOneRank'))\n")
    return made


def test_a_loss_that_is_no_number_on_one_rank_ends_all_with_one_message(bad_on_one_rank, tmp_path):
    """Started by hand, as a launcher would kill the one rank when the other ends."""
    out = tmp_path / 'out'
    command = [sys.executable, 'tools/train.py', str(bad_on_one_rank.config), '--work-dir', str(out)]
    command += ['--launcher', 'pytorch', '--cfg-options', 'train_cfg.max_iters=9', 'train_cfg.val_interval=99']
    command += ['default_hooks.checkpoint.interval=99', 'custom_hooks.2.interval=0']
    paths = os.pathsep.join([str(tmp_path), os.environ['PYTHONPATH']])
    place = {'WORLD_SIZE': '2', 'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': free_port(), 'CUDA_VISIBLE_DEVICES': ''}
    shared = {**os.environ, **place, 'PYTHONPATH': paths, 'OMP_NUM_THREADS': '1'}
    ranks = [
        subprocess.Popen(
            command,
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={**shared, 'RANK': rank, 'LOCAL_RANK': rank},
        )
        for rank in '01'
    ]
    try:
        errors = [process.communicate(timeout=240)[1] for process in ranks]
    finally:
        for process in ranks:
            process.kill()
    assert [process.returncode for process in ranks] == [2, 2], errors
    first, second = (text.splitlines()[-1] for text in errors)
    assert first == second and first.startswith(f'error: {out}: iteration 3 has a loss that is NaN or infinite')
    assert 'loss_mine, on the samples box' in first and '(rank 1)' in first and '(rank 0)' not in first
    assert [path.name for path in sorted(out.glob('*.pth'))] == ['before_nan_iter_2.pth']
    assert read_checkpoint(out / 'before_nan_iter_2.pth')['meta']['iter'] == 2
    assert not list(Path(out).glob('.*.part'))
