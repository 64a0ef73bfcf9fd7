"""The fused CPU kernels of :mod:`.marching`, in numba: no sample is stored, and empty blocks are passed, many at once.

Each ray is marched once for its outputs and once more for the gradients, which each thread adds to a table of its own.
The tables are kept from step to step, and only rows that were added to are cleared: few are, and new memory of the size
of a large field would take longer than its rays.
Results and gradients are those of :func:`.marching.composite`, in the precision of the inputs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import njit, prange
from torch import Tensor

from ..utils.threads import match_threads
from .marching import CHANNELS, DENSITY_GAIN, LIGHT, VIEW_GAIN, Marching, RayOutputs, Rays
from .nested_grid import BLOCK, NestedGrid

# Columns of a ray's outputs: color, distance, transmittance, transmittance up to both limits.
OUTPUTS = 7
# Rays that a thread takes at a time.
CHUNK = 64
# Tables that are kept: those of the cells that stand and of those that move.
KEPT_TABLES = 2


@njit(inline='always')
def _span(origin, direction, lower, upper, level, begin, end):  # pragma: no cover - compiled
    """Compute where a ray from ``begin`` to ``end`` enters and leaves a box."""
    enter = begin
    leave = end
    tiny = lower.dtype.type(1e-9)
    for axis in range(3):
        d = direction[axis]
        if abs(d) < tiny:
            d = tiny
        first = (lower[level, axis] - origin[axis]) / d
        second = (upper[level, axis] - origin[axis]) / d
        if first > second:
            first, second = second, first
        enter = max(enter, first)
        leave = min(leave, second)
    return enter, max(leave, enter)


@njit(inline='always')
def _spans(origin, direction, lower, upper, begin, end, enter, leave):  # pragma: no cover - compiled
    """Compute where a ray enters and leaves all boxes; see :func:`.marching.box_spans`."""
    levels = len(lower)
    for level in range(levels):
        enter[level], leave[level] = _span(origin, direction, lower, upper, level, begin, end)
    for level in range(levels - 2, -1, -1):
        if leave[level] <= enter[level]:
            enter[level] = leave[level + 1]
            leave[level] = leave[level + 1]


@njit(inline='always')
def _segment(part, levels, enter, leave):  # pragma: no cover - compiled
    """Return the box, and the two ends, of a part of a ray: from the outermost box inwards, and out again."""
    if part < levels - 1:
        level = levels - 1 - part
        return level, enter[level], enter[level - 1]
    if part == levels - 1:
        return 0, enter[0], leave[0]
    level = part - levels + 1
    return level, leave[level - 1], leave[level]


@njit(inline='always')
def _steps_to_leave(position, move, block, around):  # pragma: no cover - compiled
    """Return how many samples further, at ``move`` cells per sample, still lie in a block and so many around it."""
    steps = 1e9
    for axis in range(3):
        if move[axis] > 1e-9:
            steps = min(steps, ((block[axis] + 1 + around) * BLOCK - position[axis]) / move[axis])
        elif move[axis] < -1e-9:
            steps = min(steps, ((block[axis] - around) * BLOCK - position[axis]) / move[axis])
    return max(1, int(steps))


@njit(inline='always')
def _find(position, level, dims, starts, blocks, leaves, block):  # pragma: no cover - compiled
    """Return the cell at a position, in cells from the lower corner; -1: none; -2 - n: none in n blocks around."""
    x, y, z = int(np.floor(position[0])), int(np.floor(position[1])), int(np.floor(position[2]))
    block[0], block[1], block[2] = x // BLOCK, y // BLOCK, z // BLOCK
    for axis in range(3):
        if block[axis] < 0 or block[axis] >= dims[level, axis]:
            return -1
    leaf = blocks[starts[level] + (block[0] * dims[level, 1] + block[1]) * dims[level, 2] + block[2]]
    if leaf < 0:
        return leaf - 1
    x, y, z = x - BLOCK * block[0], y - BLOCK * block[1], z - BLOCK * block[2]
    return leaves[leaf, (x * BLOCK + y) * BLOCK + z]


@njit(inline='always')
def _mix(values, vertices, cell, position, weights, mixed):  # pragma: no cover - compiled
    """Mix the values of the vertices of a cell."""
    one = values.dtype.type(1)
    fx, fy, fz = (
        position[0] - np.floor(position[0]),
        position[1] - np.floor(position[1]),
        position[2] - np.floor(position[2]),
    )
    gx, gy, gz = one - fx, one - fy, one - fz
    w0, w1, w2, w3 = gx * gy * gz, gx * gy * fz, gx * fy * gz, gx * fy * fz
    w4, w5, w6, w7 = fx * gy * gz, fx * gy * fz, fx * fy * gz, fx * fy * fz
    weights[0], weights[1], weights[2], weights[3] = w0, w1, w2, w3
    weights[4], weights[5], weights[6], weights[7] = w4, w5, w6, w7
    row = vertices[cell]
    v0, v1, v2, v3 = values[row[0]], values[row[1]], values[row[2]], values[row[3]]
    v4, v5, v6, v7 = values[row[4]], values[row[5]], values[row[6]], values[row[7]]
    # All corners of a channel at once: compilers do several channels at a time then.
    for c in range(CHANNELS):
        low = w0 * v0[c] + w1 * v1[c] + w2 * v2[c] + w3 * v3[c]
        mixed[c] = low + w4 * v4[c] + w5 * v5[c] + w6 * v6[c] + w7 * v7[c]


@njit(inline='always')
def _softplus(x):  # pragma: no cover - compiled
    return x if x > 20 else np.log1p(np.exp(x))


@njit(inline='always')
def _color(mixed, direction, index, one, view_gain):  # pragma: no cover - compiled
    """Return one of the colors seen from a direction."""
    slope = one - one
    for axis in range(3):
        slope += mixed[4 + 3 * index + axis] * direction[axis]
    return one / (one + np.exp(-(mixed[1 + index] + view_gain * slope)))


@njit(fastmath={'contract', 'reassoc'}, cache=True, error_model='numpy')
def _march(  # pragma: no cover - compiled
    ray,
    rays,
    grid,
    values,
    settings,
    outputs_of,
    cotangents_of,
    gradients,
    touched,
    contributions,
    backward,
    scratch,
    block,
):
    """March one ray: fill its outputs, or add its gradients where ``backward``."""
    origin, direction, jitter, limits, span = rays[0][ray], rays[1][ray], rays[2][ray], rays[3][ray], rays[4][ray]
    lower, upper, sizes, dims, starts, blocks, leaves, vertices = grid
    step, near, stop = settings[0], settings[1], settings[2]
    outputs, cotangents = outputs_of[ray], cotangents_of[ray]
    one = values.dtype.type(1)
    light = values.dtype.type(LIGHT)
    gain, view_gain = values.dtype.type(DENSITY_GAIN), values.dtype.type(VIEW_GAIN)
    levels = len(sizes)
    enter, leave, position, move = scratch[0], scratch[1], scratch[2], scratch[3]
    weights, mixed, pulled, color = scratch[4], scratch[5], scratch[6], scratch[7]
    _spans(origin, direction, lower, upper, max(near, span[0]), span[1], enter, leave)
    passed = one
    total = values.dtype.type(0)  # of all weights times what a gradient asks of their samples
    seen = values.dtype.type(0)
    if backward:
        for index in range(4):
            total += outputs[index] * cotangents[index]
    else:
        for index in range(4):
            outputs[index] = 0
        outputs[5] = outputs[6] = one
    ended = False
    for part in range(2 * levels - 1):
        level, first, last = _segment(part, levels, enter, leave)
        if ended or last <= first:
            continue
        size = sizes[level]
        spacing = size * step
        for axis in range(3):
            move[axis] = direction[axis] * spacing / size
        index = 0
        while True:
            start = first + index * spacing
            length = min(spacing, last - start)
            if length <= 0:
                break
            distance = start + jitter * length
            for axis in range(3):
                position[axis] = (origin[axis] + distance * direction[axis] - lower[level, axis]) / size
            cell = _find(position, level, dims, starts, blocks, leaves, block)
            if cell < 0:
                index += _steps_to_leave(position, move, block, -2 - cell) if cell < -1 else 1
                continue
            index += 1
            _mix(values, vertices, cell, position, weights, mixed)
            logit = gain * mixed[0]
            optical = _softplus(logit) * (length / size)
            clear = np.exp(-optical)
            weight = passed * (one - clear)
            heavy = weight > light
            if heavy:
                for channel in range(3):
                    color[channel] = _color(mixed, direction, channel, one, view_gain)
            passed *= clear
            if not backward:
                if heavy:
                    for channel in range(3):
                        outputs[channel] += weight * color[channel]
                    outputs[3] += weight * distance
                    if len(contributions) and weight > contributions[cell]:
                        contributions[cell] = weight
                if distance < limits[0]:
                    outputs[5] = passed
                if distance < limits[1]:
                    outputs[6] = passed
            else:
                for channel in range(CHANNELS):
                    pulled[channel] = 0
                # What the optical depth of this sample takes from those behind it.
                slope = -cotangents[4] * outputs[4]
                if heavy:
                    asked = cotangents[3] * distance
                    for channel in range(3):
                        asked += cotangents[channel] * color[channel]
                        pull = cotangents[channel] * weight * color[channel] * (one - color[channel])
                        pulled[1 + channel] = pull
                        for axis in range(3):
                            pulled[4 + 3 * channel + axis] = view_gain * pull * direction[axis]
                    seen += weight * asked
                    slope += passed * asked
                slope -= total - seen
                if distance < limits[0]:
                    slope -= cotangents[5] * outputs[5]
                if distance < limits[1]:
                    slope -= cotangents[6] * outputs[6]
                pulled[0] = gain * slope * (length / size) / (one + np.exp(-logit))
                for corner in range(8):
                    vertex = vertices[cell, corner]
                    touched[vertex] = True
                    for channel in range(CHANNELS):
                        gradients[vertex, channel] += weights[corner] * pulled[channel]
            if passed < stop:
                ended = True
                break
    if not backward:
        outputs[4] = passed


@njit(parallel=True, cache=True, error_model='numpy')
def _forward(rays, grid, values, settings, outputs, noted):  # pragma: no cover - compiled
    """March all rays for their outputs; part k of them notes the largest weights in ``noted[k]``, if it has cells."""
    nothing, none = np.zeros((0, CHANNELS), values.dtype), np.zeros(0, np.bool_)
    parts = len(noted)
    for index in prange(parts):
        part = np.int64(index)
        scratch = np.zeros((8, max(16, len(grid[2]))), values.dtype)
        block = np.zeros(3, np.int64)
        own = noted[part]
        for ray in range(part * len(outputs) // parts, (part + 1) * len(outputs) // parts):
            _march(ray, rays, grid, values, settings, outputs, outputs, nothing, none, own, False, scratch, block)


@njit(parallel=True, cache=True, error_model='numpy')
def _backward(  # pragma: no cover - compiled
    rays, grid, values, settings, outputs, cotangents, gradients, touched
):
    """March all rays for their gradients; thread k adds to ``gradients[k]``, and takes every so many rays."""
    nothing = np.zeros(0, values.dtype)
    for index in prange(len(gradients)):
        thread = np.int64(index)
        scratch = np.zeros((8, max(16, len(grid[2]))), values.dtype)
        block = np.zeros(3, np.int64)
        own, own_touched = gradients[thread], touched[thread]
        for ray in range(thread, len(outputs), len(gradients)):
            _march(
                ray, rays, grid, values, settings, outputs, cotangents, own, own_touched, nothing, True, scratch, block
            )


@njit(parallel=True, cache=True, error_model='numpy')
def _collect(gradients, touched, total):  # pragma: no cover - compiled
    """Write the sum of the tables of all threads, and clear these."""
    for index in prange(len(total)):
        row = np.int64(index)
        for channel in range(CHANNELS):
            total[row, channel] = 0
        for thread in range(len(gradients)):
            if touched[thread, row]:
                touched[thread, row] = False
                for channel in range(CHANNELS):
                    total[row, channel] += gradients[thread, row, channel]
                    gradients[thread, row, channel] = 0


# Cleared tables ``(threads, V, CHANNELS)``, and which of their rows were added to.
_tables: list[tuple[np.ndarray, np.ndarray]] = []


def _take_tables(threads: int, rows: int, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    """Take cleared tables out of those that are kept, or make some."""
    for index, (gradients, _) in enumerate(_tables):
        if gradients.shape[:2] == (threads, rows) and gradients.dtype == dtype:
            return _tables.pop(index)
    return np.zeros((threads, rows, CHANNELS), dtype), np.zeros((threads, rows), bool)


def _keep_tables(tables: tuple[np.ndarray, np.ndarray]) -> None:
    _tables.append(tables)
    del _tables[:-KEPT_TABLES]


def _arrays(grid: NestedGrid) -> tuple[np.ndarray, ...]:
    boxes = grid.boxes
    tensors = (boxes.lower, boxes.upper, boxes.sizes, boxes.blocks, grid.block_starts)
    return tuple(x.detach().contiguous().numpy() for x in (*tensors, grid.blocks, grid.leaves, grid.vertices))


def _inputs(values: Tensor, rays: Rays, grid: NestedGrid, marching: Marching) -> tuple[Any, ...]:
    """Return the inputs that both passes share, as arrays."""
    tensors = (rays.origins, rays.directions, rays.jitter, rays.limits, rays.spans)
    array = values.detach().contiguous().numpy()
    settings = np.array([marching.step, marching.near, marching.stop], array.dtype)
    return tuple(x.detach().contiguous().numpy() for x in tensors), _arrays(grid), array, settings


class _Composite(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, values: Tensor, rays: Rays, grid: NestedGrid, marching: Marching, largest: Tensor | None
    ) -> Tensor:
        ctx.inputs = (rays, grid, marching)
        outputs = values.new_empty(len(rays), OUTPUTS)
        ctx.save_for_backward(values, outputs)
        threads = match_threads()
        if largest is None:
            noted = values.new_zeros(max(1, -(-len(rays) // CHUNK)), 0)
        else:
            # Each thread has its own: two that write to one cell would leave either's number.
            noted = largest.new_zeros(threads, len(largest))
        _forward(*_inputs(values, rays, grid, marching), outputs.numpy(), noted.numpy())
        if largest is not None:
            torch.maximum(largest, noted.amax(0), out=largest)
        return outputs

    @staticmethod
    def backward(ctx: Any, cotangents: Tensor) -> tuple[Tensor, None, None, None, None]:
        values, outputs = ctx.saved_tensors
        # numpy asks for huge pages: a table of torch would take longer to be given its pages than to be filled.
        total = np.empty(values.shape, values.detach().numpy().dtype)
        tables = _take_tables(match_threads(), len(values), total.dtype)
        _backward(*_inputs(values, *ctx.inputs), outputs.numpy(), cotangents.contiguous().numpy(), *tables)
        _collect(*tables, total)
        _keep_tables(tables)
        return torch.from_numpy(total), None, None, None, None


def composite(
    grid: NestedGrid, values: Tensor, rays: Rays, marching: Marching, largest: Tensor | None = None
) -> RayOutputs:
    """Render rays as :func:`.marching.composite` does, on a CPU."""
    outputs = _Composite.apply(values, rays, grid, marching, largest)
    return RayOutputs(outputs[:, :3], outputs[:, 3], outputs[:, 4], outputs[:, 5:])
