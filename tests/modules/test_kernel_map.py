"""Pairs of cells by hand, in one chunk and in several."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from projects.DistillNeRF.modules import kernel_map
from projects.DistillNeRF.modules.kernel_map import CENTER, OFFSETS, KernelMap, Pairs, neighbor_table, transposed_table
from projects.DistillNeRF.modules.voxels import VoxelGrid, morton_encode

CELLS = [(0, 0, 0), (0, 0, 1), (1, 1, 1), (3, 3, 3), (6, 2, 0), (7, 2, 0)]


def grid() -> VoxelGrid:
    return VoxelGrid.build(morton_encode(torch.tensor(CELLS)), 2, 3)[0]


def use_chunks(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    """Hold so few products, and look up so few cells, at a time on any device."""
    for name in ('CPU_CHUNK_NUMEL', 'GPU_CHUNK_NUMEL', 'CPU_CHUNK_CELLS'):
        monkeypatch.setattr(kernel_map, name, limit)


def pairs_of(table: KernelMap) -> set[tuple[int, int, int]]:
    """(output, input, kernel) of all chunks, each once."""
    found = []
    for chunk in table.chunks:
        kernels = [kernel for kernel, size in zip(table.kernels, chunk.sizes, strict=True) for _ in range(size)]
        found += zip(chunk.outputs.tolist(), chunk.inputs.tolist(), kernels, strict=True)
    assert len(found) == len(set(found))
    return set(found)


def expected(inputs: list, outputs: list, jump: int) -> set[tuple[int, int, int]]:
    """By a look at every pair."""
    return {
        (o, i, k)
        for o, out in enumerate(outputs)
        for i, cell in enumerate(inputs)
        for k, offset in enumerate(OFFSETS)
        if tuple((c << jump) + d for c, d in zip(out, offset, strict=True)) == tuple(cell)
    }


def test_offsets_are_ordered_like_the_weights():
    assert len(OFFSETS) == 27 and OFFSETS[CENTER] == (0, 0, 0)
    assert OFFSETS[0] == (-1, -1, -1) and OFFSETS[1] == (-1, -1, 0) and OFFSETS[9] == (0, -1, -1)


@pytest.mark.parametrize('limit', [1, 6, 20, 1 << 23])
@pytest.mark.parametrize(('source', 'target'), [(3, 3), (2, 2), (3, 2)])
def test_every_pair_is_found_once_whatever_the_chunks(monkeypatch, limit, source, target):
    use_chunks(monkeypatch, limit)
    made = grid()
    table = KernelMap.build(Pairs.between(made, source, target), channels=2)
    inputs, outputs = made.cells(source).tolist(), made.cells(target).tolist()
    assert pairs_of(table) == expected(inputs, outputs, source - target)
    assert table.num_outputs == len(outputs)
    assert limit > 6 or len(table.chunks) > 1
    # Chunks follow each other, and each holds the pairs of its own rows.
    assert [chunk.rows.start for chunk in table.chunks] == [0, *(chunk.rows.stop for chunk in table.chunks[:-1])]
    assert table.chunks[-1].rows.stop == len(outputs)
    for chunk in table.chunks:
        assert all(chunk.rows.start <= o < chunk.rows.stop for o in chunk.outputs.tolist())


@pytest.mark.parametrize('limit', [1, 6, 1 << 23])
def test_sums_add_the_products_of_a_row(monkeypatch, limit):
    use_chunks(monkeypatch, limit)
    table = KernelMap.build(Pairs.between(grid(), 3, 3), channels=2)
    totals: list[Tensor] = []
    for chunk in table.chunks:
        # Every product is the number of its input cell.
        totals.append(chunk.sum_products(chunk.inputs[:, None].double() + 1))
        assert len(totals[-1]) == chunk.rows.stop - chunk.rows.start
    # In Morton order: cells 0 to 2 are neighbors of each other, 4 and 5 of each other, 3 of itself alone.
    cells = grid().cells(3).tolist()
    near = [
        sum(i + 1 for i, other in enumerate(cells) if max(abs(a - b) for a, b in zip(cell, other, strict=True)) <= 1)
        for cell in cells
    ]
    assert torch.cat(totals)[:, 0].tolist() == near
    assert near == [6, 6, 6, 4, 11, 11]


def test_transposed_tables_exchange_inputs_and_outputs():
    made = grid()
    down = Pairs.between(made, 3, 2)
    forward = pairs_of(KernelMap.build(down, channels=2))
    assert pairs_of(KernelMap.build(down.exchanged(), channels=2)) == {(i, o, k) for o, i, k in forward}
    within = KernelMap.build(Pairs.between(made, 3, 3), channels=2)
    assert pairs_of(within.mirrored()) == {(i, o, k) for o, i, k in pairs_of(within)}


def test_the_border_is_no_bridge_to_the_other_side():
    """Cells at both ends of an axis are no neighbors."""
    made, _ = VoxelGrid.build(morton_encode(torch.tensor([[0, 0, 0], [7, 7, 7], [7, 0, 0]])), 1, 3)
    table = KernelMap.build(Pairs.between(made, 3, 3), channels=2)
    assert pairs_of(table) == {(i, i, CENTER) for i in range(3)}


def test_no_pairs_are_sums_of_zero():
    chunk = kernel_map.Chunk(
        slice(0, 2), torch.zeros(0), torch.zeros(0), [0] * 27, torch.zeros(0).int(), torch.zeros(3).int()
    )
    assert chunk.sum_products(torch.zeros(0, 4)).tolist() == [[0] * 4] * 2


@pytest.mark.parametrize(('source', 'target'), [(3, 3), (2, 2), (3, 2)])
def test_tables_of_neighbors_hold_the_same_pairs(source, target):
    made = grid()
    inputs, outputs = made.cells(source).tolist(), made.cells(target).tolist()
    pairs = expected(inputs, outputs, source - target)
    table = neighbor_table(made, source, target)
    assert table.shape == (len(outputs), 27)
    assert {(o, i, k) for o, row in enumerate(table.tolist()) for k, i in enumerate(row) if i >= 0} == pairs
    back = transposed_table(table, len(inputs)).tolist()
    assert {(o, i, k) for i, row in enumerate(back) for k, o in enumerate(row) if o >= 0} == pairs
    if source == target:
        assert back == table.flip(1).tolist()
