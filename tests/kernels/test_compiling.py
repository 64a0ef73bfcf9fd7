"""The kernels compile for GPUs of several generations; no GPU is needed for that, and the interpreter is left out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip('triton')

# Compiles what is launched, in the settings that a file of kernels chooses itself, instead of running it. Prints the
# kernels, and bytes of shared memory.
COMPILE = """
import functools, json, sys
import torch, triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from projects.DistillNeRF.kernels import compositing, instance_norm, ray_marching, ray_weights, sparse_conv

CAPABILITIES = json.loads(sys.argv[1])
KINDS = {torch.float16: '*fp16', torch.float32: '*fp32', torch.bfloat16: '*bf16', torch.int32: '*i32'}
shared, launched = {}, set()


def compile_only(function, *arguments, grid, warmup, **keywords):
    names = function.arg_names
    given = dict(zip(names, arguments)) | {name: keywords.pop(name) for name in names if name in keywords}
    tensors = {name for name, value in given.items() if isinstance(value, torch.Tensor)}
    constants = {name: value for name, value in given.items() if value is None or name.isupper()}
    signature = {name: KINDS[given[name].dtype] if name in tensors else 'constexpr' if name in constants else 'i32'
                 for name in names}
    aligned = {(names.index(name),): [['tt.divisibility', 16]] for name in tensors}
    source = ASTSource(function, signature, {(names.index(k),): v for k, v in constants.items()}, aligned)
    launched.add(function.__name__)
    for capability in CAPABILITIES:
        compiled = triton.compile(source, target=GPUTarget('cuda', capability, 32), options=keywords)
        shared[capability] = max(shared.get(capability, 0), compiled.metadata.shared)


for file in (compositing, instance_norm, ray_marching, ray_weights, sparse_conv):
    for value in vars(file).values():
        if isinstance(value, triton.runtime.JITFunction):
            value.run = functools.partial(compile_only, value)
{launches}
print(json.dumps([sorted(launched), shared]))
"""
LAUNCHES = {
    'sparse convolution': """
neighbors = torch.arange(200, dtype=torch.int32)[:, None].expand(200, 27).contiguous()
for dtype in (torch.float32, torch.bfloat16):
    for channels in ((33, 128), (128, 128)):
        x = torch.zeros(200, channels[0], dtype=dtype, requires_grad=True)
        weight = torch.zeros(27, *channels, dtype=dtype, requires_grad=True)
        sparse_conv.sparse_conv(x, weight, neighbors).sum().backward()
""",
    'instance norm': """
small, large = (2, 16, 20, 20), (1, 64, 60, 50)
for dtype, shape, slope in ((torch.float32, small, 0.2), (torch.float16, large, 0.2), (torch.float32, large, 0.0)):
    x = torch.zeros(shape, dtype=dtype, requires_grad=True)
    instance_norm.instance_norm(x, slope).sum().backward()
""",
    'rays': """
logits, origins = torch.zeros(100, requires_grad=True), torch.zeros(7, 3)
index, leaves = torch.zeros(512, dtype=torch.int32), torch.zeros(800, dtype=torch.int32)
for activation, mean in (*((name, False) for name in ray_marching.ACTIVATIONS), ('exp', True)):
    marching = ray_marching.Marching(8.0, 4.7, 0.8, 12.0, 3, 4, 5, 0.15, activation, activation == 'exp', mean)
    coarse = torch.zeros(7, 20)
    depths, rows = ray_marching.place_samples(coarse, origins, origins, index, leaves, logits, marching)
    sum(x.sum() for x in ray_marching.ray_weights(logits, rows, depths, activation, 12.0, mean)).backward()
for dtype, cells in ((torch.float32, None), (torch.float16, torch.zeros(40, dtype=torch.int32))):
    table, weights = torch.zeros(40, 33, dtype=dtype, requires_grad=True), torch.zeros(7, 25, requires_grad=True)
    sum(x.sum() for x in ray_marching.composite(table, rows, weights, 40, cells)).backward()
""",
}
KERNELS = {
    'sparse convolution': ['_convolve_kernel', '_weight_gradient_kernel'],
    'instance norm': ['_gradient', '_normalize', '_partial_gradient', '_partial_moments'],
    'rays': ['_composite', '_composite_gradient', '_march', '_weights', '_weights_gradient'],
}
# Compute capability -> bytes of shared memory that a program may have.
SHARED = {80: 163 << 10, 89: 99 << 10, 90: 227 << 10}


@pytest.mark.parametrize('what', LAUNCHES)
def test_kernels_compile_for_gpus_and_fit_their_memory(what, repo_root: Path, tmp_path: Path):
    command = [sys.executable, '-c', COMPILE.replace('{launches}', LAUNCHES[what]), json.dumps(list(SHARED))]
    environment = os.environ | {'TRITON_INTERPRET': '0', 'TRITON_CACHE_DIR': str(tmp_path)}
    result = subprocess.run(command, cwd=repo_root, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    launched, used = json.loads(result.stdout)
    assert launched == KERNELS[what]
    assert all(0 < used[str(capability)] <= limit for capability, limit in SHARED.items()), used
