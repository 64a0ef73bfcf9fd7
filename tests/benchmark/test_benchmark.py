"""What is measured is the same function both ways, and the command prints a table of it."""

from __future__ import annotations

import json

import pytest
import torch

from projects.DistillNeRF.benchmark import stages
from projects.DistillNeRF.benchmark.scenes import random_views, ring
from projects.DistillNeRF.models.network import DistillNeRF
from tests.models.test_wrapper import NETWORK
from tests.tools.commands import run
from tests.tools.test_commands_bad_input import refused


class NoClock:
    """Runs a stage without timing it."""

    def __call__(self, stage, work):
        return work()


@pytest.mark.parametrize('cameras', [1, 3])
def test_plain_stages_give_the_same_numbers_and_gradients(cameras):
    torch.manual_seed(0)
    network = DistillNeRF(**{**NETWORK, 'published_quirks': True}).double()
    views = random_views(network, (16, 24), cameras).to(torch.float64)
    results = []
    for method in (stages._ours, stages._plain):
        network.zero_grad()
        loss, cells = method(network, views, NoClock())
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
    network = DistillNeRF(**NETWORK)
    views = random_views(network, (16, 24), 1)
    for method in stages.METHODS:
        measured = stages.measure(network, views, method, gradients=True, repetitions=1)
        assert set(measured.seconds) == set(stages.STAGES)
        assert measured.total > 0
    assert 'backward' not in stages.measure(network, views, 'ours', gradients=False, repetitions=1).seconds


def test_command(tmp_path):
    out = tmp_path / 'figures.json'
    result = run('benchmark', '--size', 'small', '--repetitions', 1, '--json', out)
    assert result.code == 0, result.err
    assert result.out.splitlines()[-2].split()[0] == 'total'
    figures = json.loads(out.read_text())
    assert figures['commit']
    (measurement,) = figures['measurements']
    ours, plain = (measurement['figures'][method] for method in stages.METHODS)
    assert ours['cells'] == plain['cells']
    assert ours['total'] == pytest.approx(sum(ours['seconds'].values()))


def test_wrong_options():
    refused(run('benchmark', '--cameras', 0), '--cameras', '1 or more')
    if not torch.cuda.is_available():
        refused(run('benchmark', '--device', 'cuda'), 'no CUDA GPU')
