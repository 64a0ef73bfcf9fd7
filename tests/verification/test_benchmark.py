"""What is measured is the same function both ways, and the command prints a table of it."""

from __future__ import annotations

import json

import pytest
import torch

from projects.DistillNeRF.models.network import DistillNeRF
from tests.helpers.commands import run
from tests.helpers.networks import TINY
from tests.helpers.refusals import assert_refused
from verification.benchmark import profiler, stages
from verification.benchmark.profiler import Clock, StageProfiler, WorkCounter
from verification.benchmark.scenes import random_views, ring


@pytest.mark.parametrize('cameras', [1, 3])
def test_plain_stages_give_the_same_numbers_and_gradients(cameras):
    torch.manual_seed(0)
    network = DistillNeRF(**{**TINY, 'published_quirks': True}).double()
    views = random_views(network, (16, 24), cameras).to(torch.float64)
    results = []
    for method in stages.METHODS.values():
        network.zero_grad()
        loss, cells = method(network, views, StageProfiler())
        loss.backward()
        results.append((loss.detach(), torch.tensor(cells), [p.grad.clone() for p in network.parameters()]))
    assert results[0][1].min() > 5
    torch.testing.assert_close(results[0], results[1], rtol=1e-9, atol=1e-12)


def test_cameras_of_the_ring_look_outwards_and_stand_upright():
    cameras = ring(4, 10, 20)
    _, directions = cameras.rays(3, 5)
    forward = directions[:, 1, 2]
    expected = torch.tensor([[0.0, 1, 0], [-1, 0, 0], [0, -1, 0], [1, 0, 0]])
    torch.testing.assert_close(forward, expected, atol=1e-6, rtol=0)
    assert (directions[:, 0, 2, 2] > 0).all()
    torch.testing.assert_close(torch.linalg.det(cameras.cam2world[:, :3, :3]), torch.ones(4))


def test_measurements_have_all_stages():
    torch.manual_seed(0)
    network = DistillNeRF(**TINY)
    views = random_views(network, (16, 24), 1)
    for method in stages.METHODS:
        measured = stages.measure(network, views, method, gradients=True, repetitions=1)
        assert set(measured.forward) == set(stages.STAGES)
        # Kernel maps have no gradient.
        assert set(measured.backward) == set(stages.STAGES) - {'kernel maps'} | {'losses'}
        assert measured.total > 0
        assert measured.work['backward']['3x3 convolution'].gflop > measured.work['forward']['3x3 convolution'].gflop
    assert not stages.measure(network, views, 'ours', gradients=False, repetitions=1).backward


def test_marks_divide_the_backward_pass(monkeypatch):
    """Two stages; the backward pass of the second takes a minute by a clock that the test moves."""
    minute, past = 60.0, [0.0]
    monkeypatch.setattr(profiler, 'now', lambda device: past[0])

    class Slow(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            past[0] += 1.0
            return x.view_as(x)

        @staticmethod
        def backward(ctx, grad):
            past[0] += minute
            return grad

    clock = Clock(torch.device('cpu'))
    x = torch.ones(3, requires_grad=True)
    first = clock('first', lambda: x * 2)
    second = clock('second', lambda: Slow.apply(first))
    clock.backward(second.sum())
    passes = [('first', 0.0), ('second', 1.0), ('losses backward', 0.0), ('second backward', minute)]
    assert list(clock.seconds.items()) == [(stage, [seconds]) for stage, seconds in [*passes, ('first backward', 0.0)]]
    assert x.grad.tolist() == [2, 2, 2]


def test_work_is_counted():
    counter = WorkCounter(torch.device('cpu'))
    with counter.counting():
        counter('product', lambda: torch.ones(10, 20) @ torch.ones(20, 30))
    assert counter.work['product']['matrix product'].gflop == pytest.approx(2 * 10 * 20 * 30 / 1e9)


def test_command(tmp_path):
    out = tmp_path / 'figures.json'
    result = run('benchmark', '--size', 'small', '--repetitions', 1, '--json', out)
    assert result.code == 0, result.err
    assert [line.partition(':')[0] for line in result.out.splitlines()[-2:]] == ['total seconds', 'peak MiB']
    figures = json.loads(out.read_text())
    assert figures['commit']
    (measurement,) = figures['measurements']
    ours, plain = (measurement['figures'][method] for method in stages.METHODS)
    # Float32: a candidate on the border of a cell may fall on either side. Float64 is compared above.
    assert ours['cells'] == pytest.approx(plain['cells'], rel=1e-2)
    assert ours['total'] == pytest.approx(sum(ours['forward'].values()))


def test_scaling(tmp_path):
    out = tmp_path / 'figures.json'
    result = run('benchmark', '--size', 'small', '--repetitions', 1, '--scaling', '--json', out)
    assert result.code == 0, result.err
    times = json.loads(out.read_text())['measurements'][0]['scaling']
    assert list(times['cameras']) == ['1', '2', '4', '6']
    assert [int(rays) for rays in times['rays']] == [n * int(next(iter(times['rays']))) for n in (1, 2, 4, 8)]
    voxels = [int(count) for count in times['voxels']]
    assert len(voxels) == 4


def test_wrong_options():
    assert_refused(run('benchmark', '--cameras', 0), '--cameras', '1 or more')
    if not torch.cuda.is_available():
        assert_refused(run('benchmark', '--device', 'cuda'), 'no CUDA GPU')
