"""Sparse convolution in Triton: an implicit matrix product over a table of neighbors, and its gradients.

``out[p] = sum over k of x[neighbors[p, k]] @ weight[k]``. A program computes :data:`ROWS` outputs: it multiplies what
it gathers and keeps the sum in registers, so that no product is ever stored. It leaves out the offsets at which none
of its outputs has a neighbor. So that these are many, outputs are ordered by the offsets they have, within segments
that leave what they gather in the cache (:class:`_Plan`). The gradient to x is the same over the transposed table; that
to the weights sums parts of the outputs apart and then the parts, in a fixed order: two runs give the same bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.weak import WeakTensorKeyDictionary

from .selection import allows_tf32, interpreted

OFFSETS = 27
# Outputs per program.
ROWS = 128
# Outputs are ordered by their offsets within segments of so many: what one reads stays in the L2 cache.
SEGMENT = 1 << 16
# Programs that keep a large GPU busy in the gradient to the weights; more parts take more memory.
PROGRAMS = 1024
# Steps that loads run ahead, and one: 96 KB of shared memory on Hopper, 64 KB before.
STAGES = 3


class _Blocks(NamedTuple):
    """The tile of a program.

    Attributes:
        out: columns of the result.
        inner: terms of the products that are loaded at a time.
        warps: warps of a program.
    """

    out: int
    inner: int
    warps: int


def _blocks(dtype: torch.dtype, precision: str, out_channels: int, inner: int) -> _Blocks:
    """Choose the tile for factors of a dtype; at least 16 each way, as ``tl.dot`` wants."""
    if dtype != torch.float32:
        widest, deepest, warps = 128, 64, 8
    elif precision == 'tf32':
        widest, deepest, warps = 128, 32, 8
    else:  # without matrix units
        widest, deepest, warps = 64, 32, 8
    out = min(widest, max(16, triton.next_power_of_2(out_channels)))
    return _Blocks(out, min(deepest, max(16, triton.next_power_of_2(inner))), warps if out > 32 else 4)


def _precision(dtype: torch.dtype) -> str:
    """Return how products of float32 are rounded: as those of ``torch.matmul`` are."""
    return 'tf32' if dtype == torch.float32 and allows_tf32() else 'ieee'


def _factor(dtype: torch.dtype) -> tl.dtype:
    """Return the dtype of the factors of ``tl.dot``: that of the tensors, but the interpreter has no bfloat16."""
    if dtype == torch.bfloat16 and not interpreted():
        return tl.bfloat16
    return tl.float16 if dtype == torch.float16 else tl.float32


@dataclass(frozen=True)
class _Plan:
    """A table of neighbors as the kernels read it: blocks of :data:`ROWS` outputs with a slot for each offset.

    Attributes:
        order: ``(blocks * ROWS,)`` int32 outputs; the last ones may be -1.
        offsets: ``(blocks, 27)`` int32, the offset of each slot; those at which a block has neighbors come first.
        num_offsets: ``(blocks,)`` int32, how many these are.
        table: ``(blocks, 27, ROWS)`` int32, the neighbors of the outputs at the offset of each slot, -1 for none.
        slots: ``(27, blocks)`` int32, all slots of each offset, those with neighbors first: ``27 * block + place``.
        num_slots: ``(27,)`` int32, how many these are.
    """

    order: Tensor
    offsets: Tensor
    num_offsets: Tensor
    table: Tensor
    slots: Tensor
    num_slots: Tensor

    @classmethod
    def make(cls, neighbors: Tensor) -> _Plan:
        """Order the outputs of a table ``(outputs, 27)``; nothing waits for the device."""
        outputs = torch.arange(len(neighbors), device=neighbors.device)
        bits = 2 ** torch.arange(OFFSETS, dtype=torch.int32, device=neighbors.device)
        present = ((neighbors >= 0) * bits).sum(1)
        order = (outputs // SEGMENT * 2**OFFSETS + present).argsort(stable=True)
        padding = -len(order) % ROWS
        table = F.pad(neighbors.index_select(0, order), (0, 0, 0, padding), value=-1).view(-1, ROWS, OFFSETS)
        active = (table >= 0).any(1)
        first_slots = OFFSETS * torch.arange(len(active), dtype=torch.int32, device=neighbors.device)[:, None]
        offsets = _true_first(active)
        rows = table.transpose(1, 2).reshape(-1, ROWS).index_select(0, (first_slots + offsets).view(-1))
        slots = (first_slots + offsets.argsort(1).int()).T.gather(1, _true_first(active.T).long())
        return cls(
            order=F.pad(order.int(), (0, padding), value=-1),
            offsets=offsets,
            num_offsets=active.sum(1, dtype=torch.int32),
            table=rows.view(-1, OFFSETS, ROWS),
            slots=slots,
            num_slots=active.sum(0, dtype=torch.int32),
        )


def _true_first(flags: Tensor) -> Tensor:
    """Return the columns ``(n, m)`` of each row of flags, int32, those of true ones first."""
    return flags.byte().argsort(dim=1, descending=True, stable=True).int().contiguous()


# Plans are shared by all layers; they live as long as their tables.
_PLANS: WeakTensorKeyDictionary = WeakTensorKeyDictionary()


def _plan(neighbors: Tensor) -> _Plan:
    plan = _PLANS.get(neighbors)
    if plan is None:
        plan = _PLANS[neighbors] = _Plan.make(neighbors)
    return plan


@triton.jit
def _convolve_kernel(
    x_ptr,
    weight_ptr,
    out_ptr,
    order_ptr,
    offsets_ptr,
    num_offsets_ptr,
    table_ptr,
    X_STRIDE: tl.constexpr,
    INNER: tl.constexpr,
    OUT: tl.constexpr,
    MIRRORED: tl.constexpr,
    FACTOR: tl.constexpr,
    PRECISION: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK_INNER: tl.constexpr,
    BLOCK_OUT: tl.constexpr,
):
    """Compute a tile of ``out (outputs, OUT)`` from ``x (inputs, INNER)`` and ``weight (27, OUT, INNER)``."""
    out_blocks: tl.constexpr = (OUT + BLOCK_OUT - 1) // BLOCK_OUT
    parts: tl.constexpr = (INNER + BLOCK_INNER - 1) // BLOCK_INNER
    block = tl.program_id(0) // out_blocks
    columns = tl.program_id(0) % out_blocks * BLOCK_OUT + tl.arange(0, BLOCK_OUT)
    rows = tl.arange(0, ROWS)
    offsets = offsets_ptr + block * 27
    table = table_ptr + block.to(tl.int64) * (27 * ROWS) + rows
    total = tl.zeros((ROWS, BLOCK_OUT), dtype=tl.float32)
    # What a step loads, the step before has looked up: so the compiler runs all loads of factors some steps ahead.
    offset = tl.load(offsets)
    inputs = tl.load(table)
    for step in tl.range(0, tl.load(num_offsets_ptr + block) * parts):
        inner = step % parts * BLOCK_INNER + tl.arange(0, BLOCK_INNER)
        x = tl.load(
            x_ptr + inputs.to(tl.int64)[:, None] * X_STRIDE + inner[None, :],
            mask=(inputs >= 0)[:, None] & (inner < INNER)[None, :],
            other=0.0,
        )
        matrix = offset
        if MIRRORED:
            matrix = 26 - offset
        weight = tl.load(
            weight_ptr + matrix * (OUT * INNER) + columns[None, :] * INNER + inner[:, None],
            mask=(columns < OUT)[None, :] & (inner < INNER)[:, None],
            other=0.0,
        )
        total = tl.dot(x.to(FACTOR), weight.to(FACTOR), total, input_precision=PRECISION)
        slot = tl.minimum((step + 1) // parts, 26)
        offset = tl.load(offsets + slot)
        inputs = tl.load(table + slot * ROWS)
    outputs = tl.load(order_ptr + block * ROWS + rows)
    tl.store(
        out_ptr + outputs.to(tl.int64)[:, None] * OUT + columns[None, :],
        total.to(out_ptr.dtype.element_ty),
        mask=(outputs >= 0)[:, None] & (columns < OUT)[None, :],
    )


@triton.jit
def _look_up(table_ptr, order_ptr, slot, part, ROWS: tl.constexpr, BLOCK_INNER: tl.constexpr):
    """Load a part of the pairs of a slot: inputs and outputs, -1 for none."""
    rows = part * BLOCK_INNER + tl.arange(0, BLOCK_INNER)
    inputs = tl.load(table_ptr + slot.to(tl.int64) * ROWS + rows)
    return inputs, tl.load(order_ptr + slot // 27 * ROWS + rows)


@triton.jit(do_not_specialize=['blocks'])
def _weight_gradient_kernel(
    x_ptr,
    grad_ptr,
    partial_ptr,
    order_ptr,
    table_ptr,
    slots_ptr,
    num_slots_ptr,
    blocks,
    X_STRIDE: tl.constexpr,
    IN: tl.constexpr,
    OUT: tl.constexpr,
    FACTOR: tl.constexpr,
    PRECISION: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK_IN: tl.constexpr,
    BLOCK_INNER: tl.constexpr,
    BLOCK_OUT: tl.constexpr,
):
    """Compute a tile of ``partial (splits, 27, IN, OUT)``: the sum of x^T @ grad over a part of the outputs."""
    in_blocks: tl.constexpr = (IN + BLOCK_IN - 1) // BLOCK_IN
    out_blocks: tl.constexpr = (OUT + BLOCK_OUT - 1) // BLOCK_OUT
    parts: tl.constexpr = ROWS // BLOCK_INNER
    tile = tl.program_id(0)
    rows = tile // out_blocks % in_blocks * BLOCK_IN + tl.arange(0, BLOCK_IN)
    columns = tile % out_blocks * BLOCK_OUT + tl.arange(0, BLOCK_OUT)
    offset = tile // (in_blocks * out_blocks)
    count = tl.load(num_slots_ptr + offset)
    share = tl.cdiv(count, tl.num_programs(1))
    first = tl.minimum(tl.program_id(1) * share, count) * parts
    last = tl.minimum((tl.program_id(1) + 1) * share, count) * parts
    slots = slots_ptr + offset * blocks
    total = tl.zeros((BLOCK_IN, BLOCK_OUT), dtype=tl.float32)
    # As above: pairs are looked up a step ahead, and slots two.
    slot = tl.load(slots + tl.minimum(first // parts, blocks - 1))
    inputs, outputs = _look_up(table_ptr, order_ptr, slot, 0, ROWS, BLOCK_INNER)
    slot = tl.load(slots + tl.minimum((first + 1) // parts, blocks - 1))
    for step in tl.range(first, last):
        x = tl.load(
            x_ptr + inputs.to(tl.int64)[None, :] * X_STRIDE + rows[:, None],
            mask=(inputs >= 0)[None, :] & (rows < IN)[:, None],
            other=0.0,
        )
        grad = tl.load(
            grad_ptr + outputs.to(tl.int64)[:, None] * OUT + columns[None, :],
            mask=(inputs >= 0)[:, None] & (columns < OUT)[None, :],
            other=0.0,
        )
        total = tl.dot(x.to(FACTOR), grad.to(FACTOR), total, input_precision=PRECISION)
        inputs, outputs = _look_up(table_ptr, order_ptr, slot, (step + 1) % parts, ROWS, BLOCK_INNER)
        slot = tl.load(slots + tl.minimum((step + 2) // parts, blocks - 1))
    target = (tl.program_id(1) * 27 + offset).to(tl.int64) * (IN * OUT)
    tl.store(
        partial_ptr + target + rows[:, None] * OUT + columns[None, :],
        total,
        mask=(rows < IN)[:, None] & (columns < OUT)[None, :],
    )


def _convolve(x: Tensor, weight: Tensor, neighbors: Tensor, mirrored: bool, dtype: torch.dtype) -> Tensor:
    """Sum ``x[neighbors[p, k]] @ weight[k].T`` over k.

    Args:
        x: ``(inputs, C)``, its columns adjacent.
        weight: ``(27, D, C)``, contiguous: the columns of the factors that matrix units read are adjacent.
        mirrored: the matrix of offset k is ``weight[26 - k]``.

    Returns:
        ``(outputs, D)`` in ``dtype``.
    """
    width, inner = weight.shape[1:]
    if not len(x) or not len(neighbors):
        return x.new_zeros(len(neighbors), width, dtype=dtype)
    out = x.new_empty(len(neighbors), width, dtype=dtype)
    plan, precision = _plan(neighbors), _precision(x.dtype)
    tile = _blocks(x.dtype, precision, width, inner)
    with torch.cuda.device_of(x):
        _convolve_kernel[(len(plan.offsets) * triton.cdiv(width, tile.out),)](
            x,
            weight,
            out,
            plan.order,
            plan.offsets,
            plan.num_offsets,
            plan.table,
            X_STRIDE=x.stride(0),
            INNER=inner,
            OUT=width,
            MIRRORED=mirrored,
            FACTOR=_factor(x.dtype),
            PRECISION=precision,
            ROWS=ROWS,
            BLOCK_INNER=tile.inner,
            BLOCK_OUT=tile.out,
            num_warps=tile.warps,
            num_stages=STAGES,
        )
    return out


def _weight_gradient(x: Tensor, grad: Tensor, neighbors: Tensor) -> Tensor:
    """Sum ``x[neighbors[p, k]]^T @ grad[p]`` over p: ``(27, C, D)`` float32 of ``(inputs, C)`` and ``(outputs, D)``."""
    rows, columns = x.shape[1], grad.shape[1]
    if not len(x) or not len(neighbors):
        return x.new_zeros(OFFSETS, rows, columns, dtype=torch.float32)
    plan, precision = _plan(neighbors), _precision(x.dtype)
    tile = _blocks(x.dtype, precision, columns, ROWS)
    block_in = _blocks(x.dtype, precision, rows, ROWS).out
    tiles = OFFSETS * triton.cdiv(rows, block_in) * triton.cdiv(columns, tile.out)
    splits = min(triton.cdiv(PROGRAMS, tiles), len(plan.offsets))
    partial = x.new_empty(splits, OFFSETS, rows, columns, dtype=torch.float32)
    with torch.cuda.device_of(x):
        _weight_gradient_kernel[(tiles, splits)](
            x,
            grad,
            partial,
            plan.order,
            plan.table,
            plan.slots,
            plan.num_slots,
            len(plan.offsets),
            X_STRIDE=x.stride(0),
            IN=rows,
            OUT=columns,
            FACTOR=_factor(x.dtype),
            PRECISION=precision,
            ROWS=ROWS,
            BLOCK_IN=block_in,
            BLOCK_INNER=tile.inner,
            BLOCK_OUT=tile.out,
            num_warps=tile.warps,
            num_stages=STAGES,
        )
    return partial.sum(0)


class _SparseConv(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, neighbors: Tensor, transposed: Tensor | None) -> Tensor:
        x = x if x.stride(1) == 1 else x.contiguous()
        ctx.save_for_backward(x, weight)
        ctx.tables = neighbors, transposed
        return _convolve(x, weight.transpose(1, 2).contiguous(), neighbors, False, torch.float32)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        x, weight = ctx.saved_tensors
        neighbors, transposed = ctx.tables
        grad = grad.to(x.dtype).contiguous()
        grad_x = grad_weight = None
        if ctx.needs_input_grad[0]:
            table, mirrored = (neighbors, True) if transposed is None else (transposed, False)
            grad_x = _convolve(grad, weight.contiguous(), table, mirrored, x.dtype)
        if ctx.needs_input_grad[1]:
            grad_weight = _weight_gradient(x, grad, neighbors).to(weight.dtype)
        return grad_x, grad_weight, None, None


def sparse_conv(x: Tensor, weight: Tensor, neighbors: Tensor, transposed_neighbors: Tensor | None = None) -> Tensor:
    """Sum ``x[neighbors[p, k]] @ weight[k]`` over the 27 offsets k of every output cell p; no bias.

    Float32 factors are rounded to TF32 if ``torch.matmul`` on CUDA may do that.

    Args:
        x: ``(inputs, C)``, float32, float16 or bfloat16.
        weight: ``(27, C, D)`` in the dtype of x.
        neighbors: ``(outputs, 27)`` int32, the input cell at each offset, -1 for none. Tables are never changed: what
            is computed of them is kept as long as they.
        transposed_neighbors: ``(inputs, 27)`` int32, the output cell that reads an input cell at each offset, -1 for
            none. ``None`` within one level: ``neighbors`` with the order of k reversed.

    Returns:
        ``(outputs, D)`` float32. It can be differentiated once.
    """
    return _SparseConv.apply(x, weight, neighbors, transposed_neighbors)
