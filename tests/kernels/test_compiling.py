"""The kernels compile for GPUs of several generations; no GPU is needed for that, and the interpreter is left out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip('triton')

# Compiles the kernels of a sparse convolution in the settings that it chooses itself; prints bytes of shared memory.
COMPILE = """
import json, sys
import torch, triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from projects.DistillNeRF.kernels import sparse_conv as kernels


class Recorded:
    def __init__(self, function):
        self.function = function

    def __getitem__(self, grid):
        return self.launch

    def launch(self, *tensors, num_warps, num_stages, **constants):
        names = self.function.arg_names
        values = dict(zip(names, tensors)) | constants
        kinds = {torch.float16: '*fp16', torch.float32: '*fp32', torch.bfloat16: '*bf16', torch.int32: '*i32'}
        signature = {name: kinds[value.dtype] if isinstance(value, torch.Tensor) else 'i32' for name, value in
                     zip(names, tensors)} | dict.fromkeys(constants, 'constexpr')
        aligned = {(place,): [['tt.divisibility', 16]] for place, name in enumerate(names) if name.endswith('_ptr')}
        source = ASTSource(self.function, signature, {(names.index(k),): v for k, v in constants.items()}, aligned)
        options = {'num_warps': num_warps, 'num_stages': num_stages}
        for capability in CAPABILITIES:
            compiled = triton.compile(source, target=GPUTarget('cuda', capability, 32), options=options)
            shared[capability] = max(shared.get(capability, 0), compiled.metadata.shared)


CAPABILITIES = json.loads(sys.argv[1])
shared = {}
for name in ('_convolve_kernel', '_weight_gradient_kernel'):
    setattr(kernels, name, Recorded(getattr(kernels, name)))
neighbors = torch.arange(200, dtype=torch.int32)[:, None].expand(200, 27).contiguous()
for dtype in (torch.float32, torch.bfloat16):
    for channels in ((33, 128), (128, 128)):
        x = torch.zeros(200, channels[0], dtype=dtype, requires_grad=True)
        weight = torch.zeros(27, *channels, dtype=dtype, requires_grad=True)
        kernels.sparse_conv(x, weight, neighbors).sum().backward()
print(json.dumps(shared))
"""
# Compute capability -> bytes of shared memory that a program may have.
SHARED = {80: 163 << 10, 89: 99 << 10, 90: 227 << 10}


def test_the_sparse_convolution_compiles_for_gpus_and_fits_their_memory(repo_root: Path, tmp_path: Path):
    command = [sys.executable, '-c', COMPILE, json.dumps(list(SHARED))]
    environment = os.environ | {'TRITON_INTERPRET': '0', 'TRITON_CACHE_DIR': str(tmp_path)}
    result = subprocess.run(command, cwd=repo_root, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    used = json.loads(result.stdout)
    assert all(0 < used[str(capability)] <= limit for capability, limit in SHARED.items()), used
