"""The comparison of kernels with torch runs, and notices a kernel that is wrong."""

from __future__ import annotations

import json
import sys

import pytest

pytest.importorskip('triton')

from projects.DistillNeRF.kernels import ray_marching
from verification.benchmark import fused_kernels


def compare(monkeypatch, device, *options: str) -> int:
    arguments = ['fused_kernels', '--device', str(device), '--size', 'small', '--repetitions', '1', *options]
    monkeypatch.setattr(sys, 'argv', arguments)
    try:
        fused_kernels.main()
    except SystemExit as end:
        return end.code
    return 0


def test_a_table_and_a_file(monkeypatch, device, tmp_path, capsys):
    assert compare(monkeypatch, device, '--json', str(tmp_path / 'timings.json')) == 0
    assert 'composite of coarse features, forward and backward' in capsys.readouterr().out
    timings = json.loads((tmp_path / 'timings.json').read_text())
    assert len(timings) == 11 and all(timing['agrees'] and timing['triton_ms'] > 0 for timing in timings)


def test_a_wrong_kernel_is_noticed(monkeypatch, device, capsys):
    right = ray_marching.composite
    monkeypatch.setattr(ray_marching, 'composite', lambda *inputs: [1.01 * output for output in right(*inputs)])
    assert compare(monkeypatch, device) == 1
    assert 'NO' in capsys.readouterr().out


def test_a_processor_without_the_interpreter_is_refused(monkeypatch, capsys):
    monkeypatch.setenv('TRITON_INTERPRET', '0')
    assert compare(monkeypatch, 'cpu') == 2
    assert 'set TRITON_INTERPRET=1' in capsys.readouterr().err
