"""What is measured is the same function both ways, and the command prints a table of it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from projects.DistillNeRF.models.network import DistillNeRF
from tests.helpers.commands import run
from tests.helpers.networks import TINY
from tests.helpers.refusals import assert_refused
from verification.benchmark import memory, profiler, stages
from verification.benchmark.memory import KeptTensors, Memory
from verification.benchmark.profiler import Clock, StageProfiler, WorkCounter
from verification.benchmark.scenes import random_views, ring
from verification.benchmark.training import Size


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
        work = {direction: measured.work[direction]['features']['3x3 convolution'] for direction in measured.work}
        assert work['backward'].gflop > work['forward'].gflop > 0
        assert measured.moved['forward'].keys() == measured.forward.keys()
        assert measured.moved['backward'].keys() == measured.backward.keys()
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


def test_bytes_that_a_stage_has_to_move_are_counted():
    """Inputs and results once each; what is made and thrown away in between not."""
    a, b = torch.ones(10, 20), torch.ones(20, 30)
    counter = WorkCounter(torch.device('cpu'))
    with counter.counting():
        product = counter('product', lambda: (a @ b + a @ b).relu())
        counter('in place', lambda: product[:3].mul_(2))
    assert counter.moved == {'product': 4 * (200 + 600 + 300), 'in place': 4 * 90}


def test_stages_on_a_gpu_are_timed_by_events(monkeypatch):
    """Nothing waits before the times are asked for."""
    queue = []

    class Event:
        def __init__(self, enable_timing: bool) -> None:
            assert enable_timing
            self.waited = False

        def record(self) -> None:
            queue.append(self)

        def synchronize(self) -> None:
            self.waited = True

        def elapsed_time(self, other: Event) -> float:
            assert other.waited
            return 500.0 * (queue.index(other) - queue.index(self))

    monkeypatch.setattr(torch.cuda, 'Event', Event)
    for name, value in (('reset_peak_memory_stats', None), ('max_memory_allocated', 3 << 20)):
        monkeypatch.setattr(torch.cuda, name, lambda device, value=value: value)
    clock = Clock(torch.device('cuda'))
    clock('first', lambda: clock.switch('second'))
    assert len(queue) == 4 and not any(event.waited for event in queue)
    assert clock.seconds == {'first': [0.5], 'second': [0.5]}
    assert clock.peaks == {'first': [3 << 20], 'second': [3 << 20]}


def test_kept_tensors_are_counted_once_and_not_kept():
    weight, x = torch.ones(4, 4, requires_grad=True), torch.ones(8, 4, requires_grad=True)
    kept = KeptTensors(iter([weight]))
    with kept.counting():
        product = x @ weight  # x and the weight
        y = product.exp()  # its result
        z = y[:2].square() + y.square().sum()  # what is there already
    assert kept.total == 4 * (32 + 32)
    with pytest.raises(RuntimeError, match='no backward pass'):
        z.sum().backward()


def test_memory_of_a_step_grows_with_views_and_precision():
    def kept(precision: str, targets: int) -> Memory:
        return memory.measure('model', precision, Size((32, 56), inputs=1, targets=targets))

    (one, three), (half_one, half_three) = ([kept(precision, n) for n in (1, 3)] for precision in ('fp32', 'bf16'))
    assert one.weights == three.weights == half_one.weights > 4 * 4 * 1e6
    assert three.kept > 1.1 * one.kept
    assert one.working == three.working == pytest.approx(2 * half_one.working, rel=0.05)
    # Beside the views there are rounded copies of the weights.
    assert 0.4 < (half_three.kept - half_one.kept) / (three.kept - one.kept) < 0.8


def test_the_smallest_card_that_holds_a_step():
    steps = [Memory('model', 'fp32', gigabytes * 10**9, 10**9, 2 * 10**9) for gigabytes in (15, 17, 50, 70)]
    assert [step.card('auto') for step in steps] == ['24 GB', '40 GB', '80 GB', 'more than 80 GB']
    half = replace(steps[1], precision='bf16')
    assert half.peak('torch') - half.peak('auto') == 2 * 10**9 and half.card('auto') == '24 GB'


def test_floors_of_one_method():
    result = run('benchmark', '--size', 'small', '--repetitions', 1, '--method', 'ours', '--floor')
    assert result.code == 0, result.err
    lines = result.out.splitlines()
    head = next(index for index, line in enumerate(lines) if 'floor / time' in line)
    shares = {line.split()[0]: float(line.split()[-1].rstrip('%')) for line in lines[head + 2 : head + 10]}
    assert {'features', 'pooling', 'rendering', 'decoder'} < set(shares)
    assert all(0 < share < 100 for share in shares.values()), shares


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
