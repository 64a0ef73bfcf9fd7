"""Sparse convolutions against the published vectors, dense convolutions and a dictionary of cells."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from projects.DistillNeRF.modules import kernel_map
from projects.DistillNeRF.modules.kernel_map import KernelMap, Pairs
from projects.DistillNeRF.modules.sparse_conv import SparseConv, SparseVoxelNet, build_maps
from projects.DistillNeRF.modules.voxels import VoxelGrid, morton_encode
from tests.helpers.arrays import defaults
from verification.reference import kernels as reference


def grid_of(cells: Tensor, coarse_level: int, fine_level: int) -> VoxelGrid:
    """The grid in which the fine ``cells`` ``(F, 3)`` are occupied."""
    return VoxelGrid.build(morton_encode(cells), coarse_level, fine_level)[0]


def random_cells(count: int, level: int, seed: int = 0) -> Tensor:
    """``(count, 3)`` cells, the corners of the grid among them."""
    side = 2**level
    cells = torch.randint(0, side, (count, 3), generator=torch.Generator().manual_seed(seed))
    cells[:2] = torch.tensor([[0, 0, 0], [side - 1] * 3])[:count]
    return cells


def random_conv(in_channels: int, out_channels: int) -> SparseConv:
    torch.manual_seed(3)
    conv = SparseConv(in_channels, out_channels).double()
    torch.nn.init.normal_(conv.bias)
    return conv


def dense(values: Tensor, cells: Tensor, side: int) -> Tensor:
    """``(1, C, side, side, side)`` with zeros in empty cells."""
    volume = values.new_zeros(side, side, side, values.shape[1])
    x, y, z = cells.long().unbind(1)
    return volume.index_put((x, y, z), values).permute(3, 0, 1, 2)[None]


@pytest.mark.parametrize('jump', [0, 1, 2])
@pytest.mark.parametrize('count', [1, 2, 30, 700])
def test_random_scenes_equal_dense_convolutions(jump, count, dtype):
    level = 4
    grid = grid_of(random_cells(count, level), level - jump, level)
    inputs, outputs = grid.cells(level), grid.cells(level - jump)
    conv = random_conv(3, 5)
    x = torch.randn(len(inputs), 3, dtype=dtype, generator=torch.Generator().manual_seed(1)).requires_grad_()
    y = conv(x, build_maps(grid, level, level - jump, channels=6))
    kernel = conv.weight.permute(2, 1, 0).reshape(5, 3, 3, 3, 3)
    volume = F.conv3d(dense(x, inputs, 2**level), kernel, conv.bias, stride=2**jump, padding=1)
    i, j, k = outputs.long().unbind(1)
    expected = volume[0].permute(1, 2, 3, 0)[i, j, k]
    cotangent = torch.randn(y.shape, dtype=y.dtype, generator=torch.Generator().manual_seed(2))
    leaves = (x, conv.weight, conv.bias)
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(
        torch.autograd.grad(y, leaves, cotangent), torch.autograd.grad(expected, leaves, cotangent)
    )


@pytest.mark.parametrize('jump', [0, 2])
def test_published_levels_equal_a_dictionary(jump, dtype):
    """Levels 7 and 9, where a dense grid would be too large."""
    base = random_cells(60, 9)
    near = (base[:, None] + torch.randint(-2, 3, (60, 4, 3), generator=torch.Generator().manual_seed(1))).clamp(0, 511)
    grid = grid_of(torch.cat([base, near.flatten(0, 1)]), 7, 9)
    inputs = {tuple(cell): i for i, cell in enumerate(grid.cells(9).tolist())}
    outputs = {tuple(cell): i for i, cell in enumerate(grid.cells(9 - jump).tolist())}
    conv = random_conv(2, 3)
    x = torch.randn(len(inputs), 2, dtype=dtype, generator=torch.Generator().manual_seed(1))
    y = conv(x, build_maps(grid, 9, 9 - jump, channels=6))
    torch.testing.assert_close(y, reference.sparse_conv(x, inputs, outputs, conv.weight, conv.bias, jump))


def test_within_the_coarse_level(dtype):
    grid = grid_of(random_cells(40, 5), 3, 5)
    cells = {tuple(cell): i for i, cell in enumerate(grid.cells(3).tolist())}
    conv = random_conv(2, 3)
    x = torch.randn(len(cells), 2, dtype=dtype, generator=torch.Generator().manual_seed(1))
    y = conv(x, build_maps(grid, 3, 3, channels=6))
    torch.testing.assert_close(y, reference.sparse_conv(x, cells, cells, conv.weight, conv.bias, 0))


def test_gradients_equal_finite_differences(dtype):
    grid = grid_of(random_cells(6, 2), 1, 2)
    conv = random_conv(2, 2)
    x = torch.randn(grid.num_fine, 2, dtype=dtype, generator=torch.Generator().manual_seed(1))

    def function(x: Tensor, weight: Tensor) -> Tensor:
        return torch.func.functional_call(conv, {'weight': weight}, (x, build_maps(grid, 2, 1, channels=6)))

    assert torch.autograd.gradcheck(function, (x.requires_grad_(), conv.weight))


def test_a_jump_by_two_levels_never_reads_position_two():
    """Around the low corner of a coarse cell: 4P - 1, 4P, 4P + 1 (strided-kernel-corner)."""
    cells = torch.tensor([[4, 4, 4], [7, 7, 7], [6, 4, 4], [8, 8, 8]])
    grid = grid_of(cells, 2, 4)
    table = KernelMap.build(Pairs.between(grid, 4, 2), channels=6)
    read = {tuple(grid.cells(4)[i].tolist()) for chunk in table.chunks for i in chunk.inputs.tolist()}
    assert read == {(4, 4, 4), (7, 7, 7), (8, 8, 8)}


@pytest.mark.parametrize('layers', [0, 1, 2])
@pytest.mark.parametrize('count', [0, 1, 50])
def test_network_of_small_scenes_has_finite_gradients(layers, count):
    torch.manual_seed(0)
    network = SparseVoxelNet(channels=4, width=8, num_layers=layers)
    grid = grid_of(random_cells(count, 4), 2, 4)
    coarse = torch.randn(grid.num_coarse, 5, requires_grad=True)
    fine = torch.randn(grid.num_fine, 5, requires_grad=True)
    y = network(coarse, fine, grid)
    assert y.shape == (grid.num_coarse, 5)
    assert (y[:, :-1].abs() <= 5).all()
    y.sum().backward()
    for leaf in (coarse, fine, *network.parameters()):
        assert leaf.grad is not None
        assert torch.isfinite(leaf.grad).all()


@pytest.mark.parametrize('limit', [1, 40])
@pytest.mark.parametrize('jump', [0, 1, 2])
def test_many_chunks_give_what_one_gives(monkeypatch, jump, limit, dtype):
    """Values and gradients; in the second and later chunks pairs and rows begin where the chunk does."""
    grid = grid_of(random_cells(60, 4), 4 - jump, 4)
    conv = random_conv(3, 5)
    x = torch.randn(grid.num_fine, 3, dtype=dtype, generator=torch.Generator().manual_seed(1)).requires_grad_()
    results, counts = [], []
    for size in (1 << 23, limit):
        for name in ('CPU_CHUNK_NUMEL', 'GPU_CHUNK_NUMEL'):
            monkeypatch.setattr(kernel_map, name, size)
        pairs = build_maps(grid, 4, 4 - jump, channels=6)
        counts.append(len(pairs.kernel_maps[0].chunks))
        y = conv(x, pairs)
        results.append((y, *torch.autograd.grad(y, (x, conv.weight, conv.bias), y.detach().cos())))
    assert counts[0] == 1 < counts[1]
    torch.testing.assert_close(results[1], results[0])


def test_the_network_written_out(monkeypatch):
    """The fine level first, then its result downwards beside the coarse level's own, both through the coarse layers."""
    torch.manual_seed(0)
    network = SparseVoxelNet(channels=2, width=4, num_layers=2, feature_bound=0.3, logit_bound=0.7).double()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.6)
    grid = grid_of(random_cells(30, 4), 2, 4)
    fine_cells, coarse_cells = (
        {tuple(cell): i for i, cell in enumerate(grid.cells(level).tolist())} for level in (4, 2)
    )
    coarse, fine = torch.randn(grid.num_coarse, 3).double(), torch.randn(grid.num_fine, 3).double()

    def conv(x: Tensor, layer: SparseConv, inputs: dict, outputs: dict) -> Tensor:
        return reference.sparse_conv(x, inputs, outputs, layer.weight, layer.bias, 0 if inputs is outputs else 2)

    def layer(x: Tensor, block: torch.nn.Module, cells: dict) -> Tensor:
        y = F.leaky_relu(conv(x, block.conv, cells, cells), 0.2)
        return F.layer_norm(y, (4,), block.norm.weight, block.norm.bias)

    x = F.leaky_relu(conv(fine, network.fine_in, fine_cells, fine_cells), 0.2)
    for block in network.fine_layers:
        x = layer(x, block, fine_cells)
    x = F.leaky_relu(conv(x, network.down, fine_cells, coarse_cells), 0.2)
    y = F.leaky_relu(conv(coarse, network.coarse_in, coarse_cells, coarse_cells), 0.2)
    x = torch.cat([x, y], 1)
    for block in network.coarse_layers:
        x = layer(x, block, coarse_cells)
    x = conv(x, network.out, coarse_cells, coarse_cells)
    expected = torch.cat([0.3 * torch.tanh(x[:, :2] / 0.3), 0.7 * torch.tanh(x[:, 2:] / 0.7)], 1)
    torch.testing.assert_close(network(coarse, fine, grid), expected)


def test_sums_are_kept_in_single_precision_under_autocast(device):
    grid = grid_of(random_cells(30, 4), 4, 4)
    conv = random_conv(3, 5).float()
    x = torch.randn(grid.num_fine, 3, generator=torch.Generator().manual_seed(1))
    exact = conv(x, build_maps(grid, 4, 4, channels=6))
    with torch.autocast(device.type, dtype=torch.bfloat16):
        mixed = conv(x, build_maps(grid, 4, 4, channels=6))
    assert mixed.dtype == torch.float32 and not torch.equal(mixed, exact)
    # bfloat16 has 8 bits; sums of up to 27 * 3 products of about 1.
    torch.testing.assert_close(mixed, exact, rtol=0.05, atol=0.1)


def test_weights_begin_with_unit_gain():
    torch.manual_seed(0)
    conv = SparseConv(16, 64)
    assert conv.weight.std().item() == pytest.approx((27 * 16) ** -0.5, rel=0.02)
    assert not conv.bias.any()


def test_usual_settings_are_the_published_ones():
    assert defaults(SparseVoxelNet) == {
        'channels': 32,
        'width': 128,
        'num_layers': 2,
        'feature_bound': 5.0,
        'logit_bound': 30.0,
        'grow': 0,
    }


@pytest.mark.parametrize(('layers', 'first', 'last'), [(0, None, 8), (1, 8, 4), (2, 8, 4)])
def test_every_width_is_its_own(layers, first, last):
    network = SparseVoxelNet(channels=2, width=4, num_layers=layers)
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    assert shapes['fine_in.weight'] == shapes['coarse_in.weight'] == (27, 3, 4) and shapes['down.weight'] == (27, 4, 4)
    assert shapes['out.weight'] == (27, last, 3)
    assert len(network.fine_layers) == len(network.coarse_layers) == layers
    if layers:
        assert shapes['coarse_layers.0.conv.weight'] == (27, first, 4) and shapes['fine_layers.0.norm.weight'] == (4,)
