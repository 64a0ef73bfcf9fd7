"""The choice between a Triton kernel and torch."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from torch import nn

from projects.DistillNeRF.kernels import selection
from projects.DistillNeRF.kernels.selection import Comparison, Kernel, compared, set_kernels
from projects.DistillNeRF.utils.errors import InputError

CPU = torch.zeros(1, device='cpu')
# On a GPU, as far as the choice looks.
CUDA = SimpleNamespace(device=torch.device('cuda', 0), dtype=torch.float16)


class Doubling:
    """A kernel that doubles, times a factor; it counts its comparisons."""

    def __init__(self, factor: float = 1.0, error: Exception | None = None) -> None:
        self.factor = factor
        self.error = error
        self.calls: list[tuple] = []

    def __call__(self, module: ModuleType, device: torch.device, dtype: torch.dtype, *variant) -> list[Comparison]:
        assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()
        self.calls.append((dtype, *variant))
        if self.error:
            raise self.error
        x = torch.arange(1.0, 5.0, requires_grad=True)
        return compared(2 * self.factor * x, x, 2 * x, x)


@pytest.fixture
def file(monkeypatch) -> ModuleType:
    """A stand-in for the file of a kernel."""
    module = ModuleType('projects.DistillNeRF.kernels.doubling')
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


def test_auto_takes_a_kernel_that_agrees_and_says_so_once(file, capsys):
    compare = Doubling(1 + 1e-6)
    kernel = Kernel('doubling', 'doubling', compare)
    with torch.inference_mode():
        assert all(kernel.choose('auto', CUDA, 8) is file for _ in range(3))
    assert kernel.choose('auto', CUDA, 16) is file
    assert compare.calls == [(torch.float16, 8), (torch.float16, 16)]
    said = capsys.readouterr().err
    assert said.count('\n') == 1 and said.startswith('note: a Triton kernel computes the doubling (torch.float16)')
    assert 'largest error 9.' in said


@pytest.mark.parametrize(
    ('compare', 'message'),
    [
        (Doubling(1.01), r'differs from torch by more than 3\.9e-03 .* \(8,\): value by 1\.0e-02, gradient 0 by'),
        (Doubling(float('nan')), 'value by nan'),
        (Doubling(error=RuntimeError('out of\nresource')), 'Triton kernel failed: RuntimeError: out of resource'),
        (Doubling(error=ImportError('no triton')), 'failed: ImportError: no triton'),
    ],
    ids=['wrong', 'nan', 'failing', 'absent'],
)
def test_auto_leaves_a_kernel_that_does_not_work_to_torch_with_one_warning(file, capsys, compare, message):
    kernel = Kernel('doubling', 'doubling', compare)
    assert kernel.choose('auto', CUDA, 8) is None and kernel.choose('auto', CUDA, 8) is None
    assert kernel.choose('auto', CUDA, 9) is None
    assert compare.calls == [(torch.float16, 8), (torch.float16, 9)]
    said = capsys.readouterr().err
    assert said.count('\n') == 1 and said.startswith('warning: torch computes the doubling (torch.float16)')
    assert re.search(message, said)


def test_torch_is_taken_on_other_devices_for_other_dtypes_and_on_request(capsys):
    kernel = Kernel('doubling', 'absent', Doubling(error=AssertionError('compared')))
    assert kernel.choose('auto', CPU) is None
    assert kernel.choose('auto', SimpleNamespace(device=CUDA.device, dtype=torch.float64)) is None
    assert kernel.choose('torch', CUDA) is None
    assert capsys.readouterr().err == ''


def test_a_demanded_kernel_is_taken_or_an_error_says_why_not(file, monkeypatch):
    kernel = Kernel('doubling', 'doubling', Doubling(error=AssertionError('compared')))
    assert kernel.choose('triton', CUDA) is file
    monkeypatch.setenv('TRITON_INTERPRET', '1')
    assert kernel.choose('triton', CPU) is file
    with pytest.raises(InputError, match=r"network.kernels='triton': .* doubling does not work with torch.float64; "):
        kernel.choose('triton', CPU.double())
    monkeypatch.setenv('TRITON_INTERPRET', '0')
    with pytest.raises(InputError, match=r"needs CUDA, and the tensors are on cpu; network.kernels='auto' uses torch"):
        kernel.choose('triton', CPU)
    with pytest.raises(InputError, match='needs triton, which cannot be imported'):
        Kernel('doubling', 'absent', Doubling()).choose('triton', CUDA)


def test_tf32_is_another_kernel_with_another_tolerance(file, monkeypatch):
    compare = Doubling(1.001)
    kernel = Kernel('doubling', 'doubling', compare)
    x = SimpleNamespace(device=CUDA.device, dtype=torch.float32)
    assert kernel.choose('auto', x) is None
    monkeypatch.setattr(selection, 'allows_tf32', lambda: True)
    assert kernel.choose('auto', x) is file


def test_tf32_is_what_torch_says():
    assert not selection.allows_tf32()
    try:
        torch.backends.cuda.matmul.allow_tf32 = True
        assert selection.allows_tf32()
    finally:
        torch.backends.cuda.matmul.allow_tf32 = False
    assert not selection.allows_tf32()


def test_a_wrong_shape_and_nothing_are_no_agreement_and_agreement():
    assert Comparison('value', torch.zeros(2), torch.zeros(3)).error == float('inf')
    assert Comparison('value', torch.zeros(0), torch.zeros(0)).error == 0


def test_the_choice_reaches_all_modules_that_have_one():
    class Doubler(nn.Module):
        kernels = 'auto'

    network = nn.Sequential(nn.Linear(1, 1), nn.Sequential(Doubler()))
    set_kernels(network, 'torch')
    assert network[1][0].kernels == 'torch' and not hasattr(network[0], 'kernels')
    with pytest.raises(InputError, match=r"network.kernels='trition': no such choice; choose one of 'auto', 'torch'"):
        set_kernels(network, 'trition')


WITHOUT_TRITON = """
import sys, torch
from projects.DistillNeRF.modules.sparse_conv import SparseVoxelNet
from projects.DistillNeRF.modules.voxels import VoxelGrid

grid, _ = VoxelGrid.build(torch.arange(9, dtype=torch.int32), 1, 2)
network = SparseVoxelNet(channels=1, width=2)
network(torch.ones(grid.num_coarse, 2), torch.ones(grid.num_fine, 2), grid).sum().backward()
assert 'triton' not in sys.modules
"""


def test_triton_is_not_imported_where_torch_computes(repo_root: Path):
    subprocess.run([sys.executable, '-c', WITHOUT_TRITON], cwd=repo_root, check=True)
