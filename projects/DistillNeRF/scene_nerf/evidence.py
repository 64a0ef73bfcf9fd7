"""Where beams of LiDAR ended and where they went through, at which times: voxels that are occupied, free or unknown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from typing_extensions import Self

from .beams import Beams
from .evidence_kernels import SIDE, VOXELS, count_bits, find_any, mark_hits, mark_passes, read_bits
from .surfaces import chunks, fit_surfaces

FREE, UNKNOWN, OCCUPIED = -1, 0, 1
# One bit per time in a uint64.
MOST_TIMES = 64
# Beams prove nothing nearer to the surface that they end on than this many voxels, measured along its normal: the
# diagonal of a voxel; and this share of their length more, for errors of poses.
CLEARANCE, CLEARANCE_PER_METER = 3**0.5, 0.002
# A beam that grazes proves nothing over this last part of its way, meters.
LONGEST_MARGIN = 20.0
# Rows that a full table grows by, at least.
MORE_ROWS = 1024


@dataclass(frozen=True)
class Evidence:
    """A sparse grid of voxels with what beams say of them at up to 64 times.

    Attributes:
        corner: ``(3,)`` float64, lowest corner of the grid, meters in the scene.
        voxel: side of the voxels, meters.
        times: ``(t,)`` float64, seconds; the mean of the sweeps that share a time.
        time_of_sweep: ``(s,)`` int64, the time of each sweep.
        blocks: ``(bx, by, bz)`` int32 row of each block of 8 x 8 x 8 voxels in the tables, -1 if nothing is known.
        hits, passes: ``(rows, 512)`` uint64, a bit for each time. At no time has a voxel both.
    """

    corner: np.ndarray
    voxel: float
    times: np.ndarray
    time_of_sweep: np.ndarray
    blocks: np.ndarray
    hits: np.ndarray
    passes: np.ndarray

    def cells(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the voxels ``(n, 3)`` int64 of points ``(n, 3)`` and whether they are in the grid ``(n,)``."""
        cells = np.floor((points - self.corner) / self.voxel).astype(np.int64)
        inside = ((cells >= 0) & (cells < np.array(self.blocks.shape) * SIDE)).all(1)
        return np.where(inside[:, None], cells, 0), inside

    def bits(self, points: np.ndarray, around: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Return the bits ``(n,)`` of hits and of passes at points ``(n, 3)``.

        Args:
            points: in the scene.
            around: hits in voxels up to so many beside count as well, and voxels are not free at those times.
        """
        hits, passes = np.zeros((2, len(points)), np.uint64)
        for part in chunks(len(points)):
            cells, inside = self.cells(points[part])
            hits[part] = np.where(inside, read_bits(self.blocks, self.hits, cells, around), np.uint64(0))
            passes[part] = np.where(inside, read_bits(self.blocks, self.passes, cells, 0), np.uint64(0))
        passes &= ~hits
        return hits, passes

    def state(self, points: np.ndarray) -> np.ndarray:
        """Return ``(n,)`` int8 for points ``(n, 3)``: ``OCCUPIED``, ``FREE`` or ``UNKNOWN``.

        A voxel that was ever hit is occupied. Take the hits of moving things out before: :meth:`with_hits`.
        """
        hits, passes = self.bits(points)
        return np.where(hits > 0, OCCUPIED, np.where(passes > 0, FREE, UNKNOWN)).astype(np.int8)

    def states_in(self, lower: np.ndarray, upper: np.ndarray) -> np.ndarray:
        """Return ``(n,)`` int8 for boxes, larger than voxels, from ``lower`` to ``upper`` ``(n, 3)``.

        A box is ``OCCUPIED`` if a voxel was ever hit of which the middle is in it, else ``FREE`` if one was ever free.
        """
        first, last = (np.ceil((bound - self.corner) / self.voxel - 0.5).astype(np.int64) for bound in (lower, upper))
        hit, free = find_any(self.blocks, self.hits, self.passes, first, last)
        return np.where(hit, OCCUPIED, np.where(free, FREE, UNKNOWN)).astype(np.int8)

    def voxels(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """List the voxels that are known: indices ``(m, 3)`` int32, at how many times each was hit, and free.

        The middle of a voxel is at ``corner + (index + 0.5) * voxel``.
        """
        row, slot = np.nonzero(self.hits | self.passes)
        where = np.empty((len(self.hits), 3), np.int32)
        block = np.argwhere(self.blocks >= 0).astype(np.int32)
        where[self.blocks[tuple(block.T)]] = block
        within = np.stack(np.unravel_index(slot, (SIDE,) * 3), axis=1).astype(np.int32)
        return where[row] * SIDE + within, count_bits(self.hits[row, slot]), count_bits(self.passes[row, slot])

    def with_hits(self, points: np.ndarray, times: np.ndarray) -> Self:
        """Return the same passes with other hits: points ``(n, 3)`` at times ``(n,)``."""
        hits = np.zeros_like(self.hits)
        for part in chunks(len(points)):
            cells, inside = self.cells(points[part])
            known = inside & (self.blocks[tuple((cells // SIDE).T)] >= 0)
            mark_hits(self.blocks, hits, len(hits), cells[known], times[part][known], 0)
        return replace(self, hits=hits)


def gather_evidence(beams: Beams, voxel: float = 0.2, reach: float = 100.0) -> Evidence:
    """Walk all beams through a grid.

    A beam says nothing about the last meters before its end, the more the flatter it meets the surface there: the
    voxels of a road are not free because beams went over it. Where no surface can be told, the worst is assumed, level
    ground. A voxel that a beam ended in is not free at that time, whatever else went through.

    Args:
        beams: of one drive.
        voxel: side of the voxels, meters.
        reach: beams are followed so far, meters; ends beyond are left out.
    """
    time_of_sweep, times = _shared_times(beams.times)
    margins = _margins(beams, voxel)

    def walks() -> Iterator[_Walks]:
        for part in chunks(len(beams)):
            yield _Walks.of(beams[part], margins[part], reach, time_of_sweep)

    corner, shape = _extent(walks(), voxel)
    blocks = np.full(shape, -1, np.int32)
    hits = _table(MORE_ROWS)
    used = 0
    for walk in walks():
        cells = np.floor((walk.ends - corner) / voxel).astype(np.int64)
        used = _fill(mark_hits, blocks, (hits,), used, (cells, walk.end_bits))
    passes = _table(len(hits))
    for walk in walks():
        segments = ((walk.origins - corner) / voxel, (walk.stops - corner) / voxel, walk.bits)
        used = _fill(mark_passes, blocks, (hits, passes), used, segments)
    for table in (hits, passes):
        table.resize((used, VOXELS), refcheck=False)
    return Evidence(corner, voxel, times, time_of_sweep, blocks, hits, passes)


@dataclass(frozen=True)
class _Walks:
    """Ways of some beams through free space, and where beams ended.

    Attributes:
        origins, stops: ``(m, 3)`` float64, of those that prove anything.
        bits: ``(m,)`` the number of their time.
        ends: ``(k, 3)`` float32, within reach.
        end_bits: ``(k,)``.
    """

    origins: np.ndarray
    stops: np.ndarray
    bits: np.ndarray
    ends: np.ndarray
    end_bits: np.ndarray

    @classmethod
    def of(cls, beams: Beams, margins: np.ndarray, reach: float, time_of_sweep: np.ndarray) -> Self:
        """Take beams that prove nothing over the last ``margins`` ``(n,)`` meters, nor beyond ``reach``."""
        bits, lengths = time_of_sweep[beams.sweeps], beams.lengths.astype(np.float64)
        near, free = lengths <= reach, np.minimum(lengths - margins, reach)
        used = free > 0
        origins, ways = beams.origins[used].astype(np.float64), (beams.ends - beams.origins)[used].astype(np.float64)
        stops = origins + ways * (free / np.maximum(lengths, 1e-6))[used, None]
        return cls(origins, stops, bits[used], beams.ends[near], bits[near])


def _shared_times(times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give sweeps at times ``(s,)`` numbers below 64, ``(s,)``; return these and the mean times."""
    count = min(len(times), MOST_TIMES)
    numbers = np.arange(len(times)) * count // len(times)
    return numbers, np.bincount(numbers, times - times[0]) / np.bincount(numbers) + times[0]


def _margins(beams: Beams, voxel: float) -> np.ndarray:
    """Return how many meters ``(n,)`` before its end each beam stops to prove that it is free."""
    surfaces = fit_surfaces(beams.ends, voxel)
    normals = np.where(np.isnan(surfaces.normals), np.float32([0, 0, 1]), surfaces.normals)
    margins = np.empty(len(beams), np.float32)
    for part in chunks(len(beams)):
        some = beams[part]
        lengths = np.maximum(some.lengths, 1e-6)
        slopes = np.abs(((some.ends - some.origins) * normals[surfaces.pieces[part]]).sum(1)) / lengths
        margins[part] = (CLEARANCE * voxel + CLEARANCE_PER_METER * lengths) / np.maximum(slopes, 1e-3)
    return np.minimum(margins, LONGEST_MARGIN)


def _extent(walks: Iterable[_Walks], voxel: float) -> tuple[np.ndarray, tuple[int, ...]]:
    """Return the lowest corner and the number of blocks along each axis of a grid that holds all ways and ends."""
    low, high = np.full(3, np.inf), np.full(3, -np.inf)
    for walk in walks:
        for points in (walk.origins, walk.stops, walk.ends):
            low = np.minimum(low, points.min(0, initial=np.inf))
            high = np.maximum(high, points.max(0, initial=-np.inf))
    # A voxel more at each side: rounding.
    low, high = np.floor(low / voxel) - 1, np.floor(high / voxel) + 2
    return low * voxel, tuple(int(x) for x in -(-(high - low) // SIDE))


def _table(rows: int) -> np.ndarray:
    return np.zeros((rows, VOXELS), np.uint64)


def _fill(
    kernel: Callable[..., tuple[int, int]],
    blocks: np.ndarray,
    tables: tuple[np.ndarray, ...],
    used: int,
    items: tuple[np.ndarray, ...],
) -> int:
    """Run a kernel that adds rows to tables, of which some are used; return how many are then.

    Tables grow where they are whenever they are full: a copy of them would not fit beside them.
    """
    done = 0
    while True:
        used, done = kernel(blocks, *tables, used, *items, done)
        if done == len(items[0]):
            return used
        for table in tables:
            table.resize((len(table) + max(MORE_ROWS, len(table) // 8), VOXELS), refcheck=False)
