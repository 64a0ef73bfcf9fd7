"""The comparison of the sparse convolution with torch runs, and notices a kernel that is wrong."""

from __future__ import annotations

import json
import sys

import pytest

pytest.importorskip('triton')

from projects.DistillNeRF.kernels import sparse_conv as kernels
from verification.benchmark import sparse_convolution


def compare(monkeypatch, device, *options: str) -> int:
    small = ['--level', '3', '--width', '4', '--precision', 'fp32', '--repetitions', '1']
    monkeypatch.setattr(sys, 'argv', ['sparse_convolution', '--device', str(device), *small, *options])
    try:
        sparse_convolution.main()
    except SystemExit as end:
        return end.code
    return 0


def test_a_table_and_a_file(monkeypatch, device, tmp_path, capsys):
    assert compare(monkeypatch, device, '--json', str(tmp_path / 'timings.json')) == 0
    said = capsys.readouterr().out
    assert 'fine to coarse, transposed: ' in said and 'within coarse, 8 -> 4' in said
    timings = json.loads((tmp_path / 'timings.json').read_text())
    assert len(timings) == 7 and all(timing['agrees'] and timing['forward'][1] > 0 for timing in timings)


def test_a_wrong_kernel_is_noticed(monkeypatch, device, capsys):
    right = kernels.sparse_conv
    monkeypatch.setattr(kernels, 'sparse_conv', lambda *inputs: 1.01 * right(*inputs))
    assert compare(monkeypatch, device) == 1
    assert 'NO' in capsys.readouterr().out


def test_a_processor_without_the_interpreter_is_refused(monkeypatch, capsys):
    monkeypatch.setenv('TRITON_INTERPRET', '0')
    assert compare(monkeypatch, 'cpu') == 2
    assert 'set TRITON_INTERPRET=1' in capsys.readouterr().err
