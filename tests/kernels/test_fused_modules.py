"""Modules with the Triton kernels give what they give with torch, and the comparisons at first use pass."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

pytest.importorskip('triton')

from projects.DistillNeRF.geometry.contraction import ParameterizedSpace
from projects.DistillNeRF.kernels import instance_norm, ray_marching
from projects.DistillNeRF.kernels.selection import DTYPES, TOLERANCES, set_kernels
from projects.DistillNeRF.modules.fused_rays import RAY_MARCHING, render_rays
from projects.DistillNeRF.modules.heads import ColorHead, FeatureHead
from projects.DistillNeRF.modules.layers import INSTANCE_NORM, Bottleneck
from projects.DistillNeRF.modules.renderer import RaySampling, VoxelTables
from projects.DistillNeRF.modules.voxels import VoxelGrid, point_codes

SPACE = ParameterizedSpace(inner_range=8, inner_range_z=4.7, near=0.2, step=0.7, far=12.0)
CHANNELS = 3


@pytest.mark.parametrize('mean', [False, True])
@pytest.mark.parametrize('activation', ray_marching.ACTIVATIONS)
def test_rays_agree_at_first_use(activation, mean, device):
    for comparison in RAY_MARCHING.compare(ray_marching, device, torch.float32, activation, 5, mean):
        assert comparison.expected.abs().max() > 0
        assert comparison.error <= TOLERANCES[torch.float32] / 5, comparison.what


@pytest.mark.parametrize('half', DTYPES)
def test_instance_norm_agrees_at_first_use(half, device):
    for comparison in INSTANCE_NORM.compare(instance_norm, device, half, 5, 0.2):
        assert comparison.error <= TOLERANCES[half] / 2, comparison.what


@pytest.mark.parametrize('wrong', ['place_samples', 'ray_weights', 'composite'])
def test_a_wrong_kernel_disagrees_at_first_use(wrong, device, monkeypatch):
    right = getattr(ray_marching, wrong)
    monkeypatch.setattr(ray_marching, wrong, lambda *inputs: (right(*inputs)[0] * 1.01, *right(*inputs)[1:]))
    comparisons = RAY_MARCHING.compare(ray_marching, device, torch.float32, 'exp', 5, wrong == 'ray_weights')
    assert max(comparison.error for comparison in comparisons) > TOLERANCES[torch.float32]


def rendered(
    head: ColorHead | FeatureHead, quirks: bool, mean: bool, kernels: str
) -> tuple[list[Tensor], list[Tensor]]:
    """What rays of a random scene see, and the gradients of the voxels."""
    generator = torch.Generator().manual_seed(11)
    grid, _ = VoxelGrid.build(point_codes(torch.rand(60, 3, generator=generator) * 1.6 - 0.8, 4), 3, 4)
    voxels = [torch.randn(n, CHANNELS + 1, generator=generator) for n in (grid.num_coarse, grid.num_fine)]
    voxels = [(voxel * torch.tensor([1.0, 1, 1, 3])).requires_grad_() for voxel in voxels]
    origins = torch.randn(6, 3, generator=generator)
    directions = torch.nn.functional.normalize(torch.randn(6, 3, generator=generator), dim=1)
    sampling = RaySampling(fine_samples=6, fine_step=0.15, published_quirks=quirks, mean_density=mean)
    tables = VoxelTables.build(grid, *voxels, sampling.logit_bound, quirks)
    torch.manual_seed(7)
    rays = render_rays(tables, SPACE, sampling, head.compositor(tables), origins, directions, True, kernels)
    assert rays.weights is not None and rays.depths is not None
    seen = rays.opacity.detach() > 0.01  # elsewhere the depth is a quotient of rounding
    outputs = [rays.composite, rays.depth[seen], rays.opacity, rays.weights]
    cotangents = [torch.randn(output.shape, generator=generator) for output in outputs]
    # Nor is there a heaviest interval elsewhere: all are as light, but for rounding.
    return [*outputs, rays.depths[seen]], list(torch.autograd.grad(outputs, voxels, cotangents))


@pytest.mark.parametrize(('quirks', 'mean'), [(True, False), (False, False), (False, True)])
@pytest.mark.parametrize('kind', ['color', 'feature'])
def test_rays_are_rendered_as_with_torch(kind, quirks, mean):
    torch.manual_seed(17)
    head = ColorHead(CHANNELS, width=32) if kind == 'color' else FeatureHead(CHANNELS, out_channels=5)
    ours, theirs = (rendered(head, quirks, mean, kernels) for kernels in ('triton', 'torch'))
    for one, other in zip((*ours[0], *ours[1]), (*theirs[0], *theirs[1]), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=5e-5)


def test_a_block_of_the_pyramids_is_as_with_torch():
    torch.manual_seed(5)
    block = Bottleneck(6, 8, stride=2)
    x = torch.randn(2, 6, 9, 11).contiguous(memory_format=torch.channels_last).requires_grad_()
    results = []
    for kernels in ('triton', 'torch'):
        set_kernels(block, kernels)
        y = block(x)
        results.append((y, *torch.autograd.grad(y.square().sum(), (x, *block.parameters()))))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
