"""Sparse convolution in Triton against plain torch: in Triton's interpreter, or on a GPU with ``--device cuda``."""

from __future__ import annotations

from types import ModuleType
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

pytest.importorskip('triton')

from projects.DistillNeRF.kernels import sparse_conv as kernels
from projects.DistillNeRF.kernels.selection import TOLERANCES, set_kernels
from projects.DistillNeRF.kernels.sparse_conv import sparse_conv
from projects.DistillNeRF.modules.kernel_map import OFFSETS
from projects.DistillNeRF.modules.sparse_conv import SPARSE_CONV, SparseVoxelNet
from projects.DistillNeRF.modules.voxels import VoxelGrid, morton_encode

HALVES = (torch.float16, torch.bfloat16)


class Tables(NamedTuple):
    """A kernel map: the neighbors of every output, and the transposed table, ``None`` within a level."""

    neighbors: Tensor
    transposed: Tensor | None
    num_inputs: int


def cells(count: int, level: int, device: torch.device, seed: int = 0) -> Tensor:
    """``(count, 3)`` different cells on a bumpy surface and beside it, in no order that helps."""
    generator = torch.Generator().manual_seed(seed)
    size = 2**level
    codes = torch.randperm(size**3, generator=generator)[: count // 2]
    x, y = torch.meshgrid(torch.arange(size), torch.arange(size), indexing='ij')
    z = (size / 2 + size / 4 * torch.sin(x * 0.7) * torch.cos(y * 0.4)).long()
    surface = (x * size + y) * size + z
    codes = torch.cat([codes, surface.flatten()]).unique()
    codes = codes[torch.randperm(len(codes), generator=generator)[:count]].sort().values
    return torch.stack([codes // size**2, codes // size % size, codes % size], 1).to(device)


def within(points: Tensor, level: int) -> Tables:
    return Tables(neighbors_of(points, points, level), None, len(points))


def between(fine: Tensor, coarse: Tensor, level: int, jump: int) -> Tables:
    neighbors = neighbors_of(coarse << jump, fine, level)
    transposed = neighbors.new_full((len(fine), 27), -1)
    for output, row in enumerate(neighbors.tolist()):
        for offset, cell in enumerate(row):
            if cell >= 0:
                transposed[cell, offset] = output
    return Tables(neighbors, transposed, len(fine))


def neighbors_of(base: Tensor, points: Tensor, level: int) -> Tensor:
    """The row of the point at every offset from every base point, -1 for none; slow and obvious."""
    rows = {tuple(point): row for row, point in enumerate(points.tolist())}
    table = [[rows.get((x + i, y + j, z + k), -1) for i, j, k in OFFSETS] for x, y, z in base.tolist()]
    return torch.tensor(table, dtype=torch.int32, device=base.device).view(-1, 27)


def sparse_conv_reference(x: Tensor, weight: Tensor, neighbors: Tensor) -> Tensor:
    """Gather all neighbors, zero where there is none, and multiply."""
    padded = torch.cat([x, x.new_zeros(1, x.shape[1])])  # -1: the last row
    return torch.einsum('pkc,kcd->pd', padded[neighbors.long()], weight)


class Computed(NamedTuple):
    value: Tensor
    grad_x: Tensor
    grad_weight: Tensor


def compute(function, x: Tensor, weight: Tensor, dtype: torch.dtype, seed: int = 5) -> Computed:
    """The value and the gradients for a random gradient that every dtype holds exactly."""
    x, weight = (tensor.detach().to(dtype).requires_grad_() for tensor in (x, weight))
    value = function(x, weight)
    grad = torch.randn(value.shape, generator=torch.Generator().manual_seed(seed)).to(x.device).bfloat16()
    return Computed(value.detach(), *torch.autograd.grad(value, (x, weight), grad.to(value)))


def problem(tables: Tables, channels: tuple[int, int], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Random features and weights that ``dtype`` holds exactly."""
    generator = torch.Generator().manual_seed(3)
    device = tables.neighbors.device
    x = torch.randn(tables.num_inputs, channels[0], generator=generator)
    weight = torch.randn(27, *channels, generator=generator) * channels[0] ** -0.5
    return x.to(device, dtype), weight.to(device, dtype)


def compare(tables: Tables, channels: tuple[int, int], dtype: torch.dtype = torch.float32) -> Computed:
    """Compare with the reference in float64, and return what the kernels computed."""
    x, weight = problem(tables, channels, dtype)
    ours = compute(lambda x, weight: sparse_conv(x, weight, tables.neighbors, tables.transposed), x, weight, dtype)
    plain = compute(lambda x, weight: sparse_conv_reference(x, weight, tables.neighbors), x, weight, torch.float64)
    assert (ours.value.dtype, ours.grad_x.dtype, ours.grad_weight.dtype) == (torch.float32, dtype, dtype)
    for name, result, expected in zip(Computed._fields, ours, plain, strict=True):
        # The factors are exact, so sums in float32 alone round, and matrix units cut off: some 60 sums of 16 terms with
        # an error of 1e-7 each. A gradient is then rounded to the dtype of its tensor, by half a step of its own size,
        # or a step by the interpreter, which cuts bfloat16 off.
        scale = float(expected.abs().max()) if expected.numel() else 0.0
        steps = 0.0 if name == 'value' else 1.0 if dtype == torch.bfloat16 else 0.5
        rounding = steps * torch.finfo(dtype).eps
        torch.testing.assert_close(result.double(), expected, rtol=1.01 * rounding, atol=1e-5 * scale, msg=name)
    return ours


@pytest.fixture(scope='module')
def maps(device) -> dict[str, Tables]:
    """All three kinds of kernel map; half of the coarse cells are far from every fine cell."""
    fine, coarse = cells(300, 5, device), cells(90, 3, device, seed=1)
    near = (fine[:150] >> 2).unique(dim=0)
    return {
        'within': within(fine, 5),
        'fine to coarse': between(fine[:150], torch.cat([near, coarse]).unique(dim=0), 5, 2),
        'nothing near': between(fine[:20] // 4, 4 + cells(40, 2, device), 5, 2),
    }


@pytest.mark.parametrize('kind', ['within', 'fine to coarse', 'nothing near'])
def test_values_and_gradients_are_those_of_plain_torch(maps, kind):
    compare(maps[kind], (33, 40))


def test_outputs_without_any_neighbor_are_zero_and_maps_are_what_they_say(maps):
    tables = maps['fine to coarse']
    alone = (tables.neighbors < 0).all(1)
    assert alone.any() and not alone.all() and (tables.transposed < 0).all(1).any()
    assert len(maps['within'].neighbors) % kernels.ROWS and len(maps['within'].neighbors) > 2 * kernels.ROWS
    value = compare(tables, (5, 3)).value
    assert (value[alone] == 0).all() and (value[~alone] != 0).any(1).all()
    assert (maps['nothing near'].neighbors < 0).all()


@pytest.mark.parametrize('channels', [(1, 1), (17, 130), (130, 17), (64, 64)])
def test_any_number_of_channels(maps, channels):
    compare(maps['fine to coarse'], channels)


@pytest.mark.parametrize('dtype', HALVES)
@pytest.mark.parametrize('kind', ['within', 'fine to coarse'])
def test_half_precision_is_summed_in_float32(maps, kind, dtype):
    compare(maps[kind], (33, 128), dtype)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float16])
def test_a_single_cell(device, dtype):
    tables = within(torch.tensor([[3, 0, 7]], device=device), 3)
    x, weight = problem(tables, (33, 20), dtype)
    value = compare(tables, (33, 20), dtype).value
    torch.testing.assert_close(value, x.float() @ weight[13].float())


@pytest.mark.parametrize(('outputs', 'inputs'), [(0, 0), (4, 0), (0, 4)])
def test_empty_scenes(device, outputs, inputs):
    neighbors, transposed = (torch.full((n, 27), -1, dtype=torch.int32, device=device) for n in (outputs, inputs))
    compare(Tables(neighbors, transposed, inputs), (5, 7))


def test_rows_that_are_not_adjacent(maps):
    """Columns of a wider tensor, and a transposed one."""
    tables = maps['within']
    x, weight = problem(tables, (20, 16), torch.float32)
    wide = torch.cat([x, x], 1)[:, 20:]
    expected = sparse_conv(x, weight, tables.neighbors)
    assert torch.equal(sparse_conv(wide, weight, tables.neighbors), expected)
    assert torch.equal(sparse_conv(x.T.contiguous().T, weight, tables.neighbors), expected)
    turned = weight.transpose(1, 2).contiguous().transpose(1, 2)
    assert torch.equal(sparse_conv(x, turned, tables.neighbors), expected)


def test_only_needed_gradients_are_computed(maps, monkeypatch):
    tables = maps['within']
    x, weight = problem(tables, (4, 4), torch.float32)
    monkeypatch.setattr(kernels, '_weight_gradient', None)
    sparse_conv(x.requires_grad_(), weight, tables.neighbors).sum().backward()
    assert x.grad is not None and weight.grad is None


def test_two_runs_give_the_same_bits(maps):
    tables = maps['within']
    x, weight = problem(tables, (8, 8), torch.float32)
    runs = [compute(lambda x, weight: sparse_conv(x, weight, tables.neighbors), x, weight, x.dtype) for _ in range(2)]
    assert all(torch.equal(*pair) for pair in zip(*runs, strict=True))


def test_several_segments_and_parts(maps, monkeypatch):
    """As in a large scene: outputs are ordered in several segments, and several parts make a gradient."""
    monkeypatch.setattr(kernels, 'SEGMENT', 8)
    tables = maps['within']
    fresh = tables._replace(neighbors=tables.neighbors.clone())
    compare(fresh, (6, 5))
    order = kernels._plan(fresh.neighbors).order[: len(fresh.neighbors)]
    segments = torch.arange(len(order), dtype=torch.int32, device=order.device) // 8
    assert (order // 8 == segments).all() and len(order.unique()) == len(order)


def test_a_plan_is_made_once_and_forgotten_with_its_table(maps):
    neighbors = maps['within'].neighbors.clone()
    before = len(kernels._PLANS)
    assert kernels._plan(neighbors) is kernels._plan(neighbors)
    assert len(kernels._PLANS) == before + 1
    del neighbors
    assert len(kernels._PLANS) == before


def test_blocks_without_an_offset_leave_it_out(maps):
    """The lists name each slot with neighbors once, and no other."""
    plan = kernels._plan(maps['within'].neighbors)
    has = (plan.table >= 0).any(2)
    assert (has.sum(1) == plan.num_offsets).all() and (has.sort(1, descending=True).values == has).all()
    assert 0 < has.sum() < has.numel()
    assert sorted(plan.slots.flatten().tolist()) == list(range(has.numel()))
    for offset, (slots, count) in enumerate(zip(plan.slots, plan.num_slots, strict=True)):
        assert (plan.offsets.flatten()[slots] == offset).all()
        assert has.flatten()[slots].tolist() == [True] * count + [False] * (len(slots) - count)
    rows = plan.order.clamp_min(0).long()
    expected = maps['within'].neighbors[rows].where(plan.order[:, None] >= 0, -1).view(-1, kernels.ROWS, 27)
    for block, offsets in enumerate(plan.offsets.long()):
        assert torch.equal(plan.table[block], expected[block][:, offsets].T)


def errors_at_first_use(function, device: torch.device, dtype: torch.dtype) -> list[float]:
    module = ModuleType('kernels')
    module.sparse_conv = function
    return [part.error for part in SPARSE_CONV.compare(module, device, dtype, 9, 6)]


@pytest.mark.parametrize('dtype', TOLERANCES)
def test_the_comparison_at_first_use_agrees(device, dtype):
    errors = errors_at_first_use(sparse_conv, device, dtype)
    assert len(errors) == 6 and max(errors) < TOLERANCES[dtype]


def test_the_comparison_at_first_use_notices_what_is_wrong(device):
    def wrong(x: Tensor, weight: Tensor, table: Tensor, transposed: Tensor | None) -> Tensor:
        return sparse_conv(x, weight, table, table if transposed is None else transposed)

    errors = errors_at_first_use(wrong, device, torch.float32)
    # Only the gradient to the features within a level is wrong.
    assert [error > TOLERANCES[torch.float32] for error in errors] == [False, True, False, False, False, False]


def test_the_network_computes_the_same_by_kernels_as_in_torch(device):
    """All layers and their gradients, on a scene of two levels."""
    torch.manual_seed(0)
    network = SparseVoxelNet(channels=4, width=8, num_layers=1).to(device)
    grid, _ = VoxelGrid.build(morton_encode(cells(200, 4, device).int()), 2, 4)
    coarse, fine = (torch.randn(count, 5, requires_grad=True) for count in (grid.num_coarse, grid.num_fine))
    leaves = (coarse, fine, *network.parameters())
    results = []
    for kernels_of in ('torch', 'triton'):
        set_kernels(network, kernels_of)
        value = network(coarse.to(device), fine.to(device), grid)
        results.append((value, *torch.autograd.grad(value.square().sum(), leaves)))
    for plain, ours in zip(*results, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-4, atol=1e-5 * float(plain.abs().max()))
