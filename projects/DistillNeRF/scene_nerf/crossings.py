"""Where rays cross the boxes of things that move: plain torch, and a numba kernel for CPUs.

Of the thousands of rays of a step and the dozens of things that are there, few meet: the kernel passes the others at
once, where torch computes with all pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numba import njit
from torch import Tensor

from ..geometry.tensors import TensorFields

# Least share of a ray's way along an axis.
TINY = 1e-9


@dataclass(frozen=True)
class Crossings(TensorFields):
    """Parts of rays in the boxes of things, ray by ray, in order of distance.

    Attributes:
        rays: ``(p,)`` int64, the ray.
        ranks: ``(p,)`` int64, how many come before it on the same ray.
        spans: ``(p, 2)`` distances where the ray enters and leaves the box, meters.
        origins, directions: ``(p, 3)`` of the ray, in the frame of the box.
    """

    rays: Tensor
    ranks: Tensor
    spans: Tensor
    origins: Tensor
    directions: Tensor


def find_crossings(origins: Tensor, directions: Tensor, firsts: Tensor, counts: Tensor, table: Tensor) -> Crossings:
    """Find the parts of rays that lie in boxes.

    Args:
        origins, directions: ``(n, 3)`` of the rays.
        firsts, counts: ``(n,)`` int64 which rows of the table each ray may meet.
        table: ``(m, 6, 3)`` boxes. Rows 0 to 2 rotate from the frame of the rays to that of the box, row 3 is added
            then; rows 4 and 5 are the lowest and the highest corner.
    """
    if origins.is_cpu and not (origins.requires_grad or directions.requires_grad):
        return _by_kernel(origins, directions, firsts, counts, table)
    return _plain(origins, directions, firsts, counts, table)


def _plain(origins: Tensor, directions: Tensor, firsts: Tensor, counts: Tensor, table: Tensor) -> Crossings:
    """Try every ray with every box."""
    ray = torch.arange(len(origins), device=origins.device).repeat_interleave(counts)
    total = counts.cumsum(0) - counts
    entry = firsts[ray] + torch.arange(len(ray), device=origins.device) - total[ray]
    rotation, shift, low, high = table[:, :3], table[:, 3], table[:, 4], table[:, 5]
    moved = torch.einsum('pij,pj->pi', rotation[entry], origins[ray]) + shift[entry]
    along = torch.einsum('pij,pj->pi', rotation[entry], directions[ray])
    ways = torch.where(along.abs() < TINY, TINY, along)
    first, second = (low[entry] - moved) / ways, (high[entry] - moved) / ways
    enter = torch.minimum(first, second).amax(1).clamp_min(0)
    leave = torch.maximum(first, second).amin(1)
    hit = leave > enter
    ray, spans = ray[hit], torch.stack([enter, leave], 1)[hit]
    order = spans[:, 0].argsort(stable=True)
    order = order[ray[order].argsort(stable=True)]
    ray = ray[order]
    per_ray = torch.bincount(ray, minlength=len(origins))
    ranks = torch.arange(len(ray), device=ray.device) - (per_ray.cumsum(0) - per_ray)[ray]
    return Crossings(ray, ranks, spans[order], moved[hit][order], along[hit][order])


def _by_kernel(origins: Tensor, directions: Tensor, firsts: Tensor, counts: Tensor, table: Tensor) -> Crossings:
    """Do the same on a CPU."""
    rays, ranks, parts = _search(
        *(x.detach().contiguous().numpy() for x in (origins, directions, firsts, counts, table))
    )
    spans, moved, along = torch.from_numpy(parts).split([2, 3, 3], 1)
    pair = torch.from_numpy(rays), torch.from_numpy(ranks)
    return Crossings(*pair, spans.contiguous(), moved.contiguous(), along.contiguous())


@njit(cache=True)
def _spheres(table):  # pragma: no cover - compiled
    """Return the middles ``(m, 3)`` of boxes in the frame of the rays, and the squares ``(m,)`` of half diagonals."""
    middles, squares = np.zeros((len(table), 3)), np.zeros(len(table))
    for entry in range(len(table)):
        box = table[entry]
        for row in range(3):
            place = (np.float64(box[4, row]) + box[5, row]) / 2 - box[3, row]
            squares[entry] += ((np.float64(box[5, row]) - box[4, row]) / 2) ** 2
            # A rotation's inverse is its transpose.
            for axis in range(3):
                middles[entry, axis] += box[row, axis] * place
    return middles, squares


@njit(inline='always')
def _passes(origin, direction, middle, square):  # pragma: no cover - compiled
    """Tell whether the line of a ray passes a sphere for certain, however rounding was."""
    apart, along, length = 0.0, 0.0, 0.0
    for axis in range(3):
        way = middle[axis] - origin[axis]
        apart += way * way
        along += way * direction[axis]
        length += np.float64(direction[axis]) * direction[axis]
    return apart * length - along * along > (1.01 * square + 0.01) * length


@njit(cache=True, error_model='numpy')
def _search(origins, directions, firsts, counts, table):  # pragma: no cover - compiled
    """Return ray and rank ``(p,)``, and ``(p, 8)``: where it enters and leaves, its origin and direction in the box."""
    room, found = max(16, len(origins)), 0
    rays, ranks = np.empty(room, np.int64), np.empty(room, np.int64)
    parts = np.empty((room, 8), origins.dtype)
    one = np.empty(8, origins.dtype)
    middles, squares = _spheres(table)
    for ray in range(len(origins)):
        begin = found
        for entry in range(firsts[ray], firsts[ray] + counts[ray]):
            if _passes(origins[ray], directions[ray], middles[entry], squares[entry]):
                continue
            if not _crosses(origins[ray], directions[ray], table[entry], one):
                continue
            if found == room:
                room *= 2
                rays, ranks, parts = _longer(rays, room), _longer(ranks, room), _taller(parts, room)
            place = found
            while place > begin and parts[place - 1, 0] > one[0]:
                parts[place] = parts[place - 1]
                place -= 1
            parts[place] = one
            rays[found], ranks[found] = ray, found - begin
            found += 1
    return rays[:found].copy(), ranks[:found].copy(), parts[:found].copy()


@njit(inline='always')
def _crosses(origin, direction, box, one):  # pragma: no cover - compiled
    """Tell whether a ray crosses a box, and write its part of :func:`_search`'s results."""
    tiny = box.dtype.type(TINY)
    enter, leave = box.dtype.type(0), box.dtype.type(np.inf)
    for axis in range(3):
        moved = box[axis, 0] * origin[0] + box[axis, 1] * origin[1] + box[axis, 2] * origin[2] + box[3, axis]
        along = box[axis, 0] * direction[0] + box[axis, 1] * direction[1] + box[axis, 2] * direction[2]
        way = along if abs(along) >= tiny else tiny
        first, second = (box[4, axis] - moved) / way, (box[5, axis] - moved) / way
        enter, leave = max(enter, min(first, second)), min(leave, max(first, second))
        one[2 + axis], one[5 + axis] = moved, along
    one[0], one[1] = enter, leave
    return leave > enter


@njit(cache=True)
def _longer(values, room):  # pragma: no cover - compiled
    longer = np.empty(room, values.dtype)
    longer[: len(values)] = values
    return longer


@njit(cache=True)
def _taller(values, room):  # pragma: no cover - compiled
    taller = np.empty((room, values.shape[1]), values.dtype)
    taller[: len(values)] = values
    return taller
