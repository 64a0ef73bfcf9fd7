"""The comparisons of kernels with torch run, and notice a kernel that is wrong."""

from __future__ import annotations

import json
import sys
from types import ModuleType

import pytest

pytest.importorskip('triton')

from projects.DistillNeRF.kernels import ray_marching, sparse_conv
from verification.benchmark import fused_kernels, sparse_convolution

SMALL = {
    fused_kernels: ['--size', 'small'],
    sparse_convolution: ['--level', '3', '--width', '4', '--precision', 'fp32'],
}


def compare(monkeypatch, comparison: ModuleType, device, *options: str) -> int:
    arguments = ['benchmark', '--device', str(device), *SMALL[comparison], '--repetitions', '1', *options]
    monkeypatch.setattr(sys, 'argv', arguments)
    try:
        comparison.main()
    except SystemExit as end:
        return end.code
    return 0


@pytest.mark.parametrize(
    ('comparison', 'said', 'count'),
    [
        (
            fused_kernels,
            ['composite of coarse features, forward and backward', 'of mean densities, forward and backward'],
            13,
        ),
        (sparse_convolution, ['fine to coarse, transposed: ', 'within coarse, 8 -> 4'], 7),
    ],
)
def test_a_table_and_a_file(monkeypatch, comparison, said, count, device, tmp_path, capsys):
    assert compare(monkeypatch, comparison, device, '--json', str(tmp_path / 'timings.json')) == 0
    printed = capsys.readouterr().out
    assert all(words in printed for words in said)
    timings = json.loads((tmp_path / 'timings.json').read_text())
    assert len(timings) == count and all(timing['agrees'] for timing in timings)
    assert all((timing['triton_ms'] if 'triton_ms' in timing else timing['forward'][1]) > 0 for timing in timings)


@pytest.mark.parametrize(
    ('comparison', 'kernels', 'name'),
    [(fused_kernels, ray_marching, 'composite'), (sparse_convolution, sparse_conv, 'sparse_conv')],
)
def test_a_wrong_kernel_is_noticed(monkeypatch, comparison, kernels, name, device, capsys):
    right = getattr(kernels, name)

    def wrong(*inputs):
        outputs = right(*inputs)
        return [1.01 * output for output in outputs] if isinstance(outputs, tuple) else 1.01 * outputs

    monkeypatch.setattr(kernels, name, wrong)
    assert compare(monkeypatch, comparison, device) == 1
    assert 'NO' in capsys.readouterr().out


@pytest.mark.parametrize('comparison', SMALL)
def test_a_processor_without_the_interpreter_is_refused(monkeypatch, comparison, capsys):
    monkeypatch.setenv('TRITON_INTERPRET', '0')
    assert compare(monkeypatch, comparison, 'cpu') == 2
    assert 'set TRITON_INTERPRET=1' in capsys.readouterr().err


@pytest.mark.parametrize('comparison', SMALL)
def test_without_triton_it_says_how_to_get_it(monkeypatch, comparison, device, capsys):
    monkeypatch.setitem(sys.modules, 'triton', None)
    assert compare(monkeypatch, comparison, device) == 2
    assert 'pip install triton' in capsys.readouterr().err
