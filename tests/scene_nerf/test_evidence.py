"""Where beams ended and where they went through, against slow versions."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from projects.DistillNeRF.scene_nerf import evidence as module
from projects.DistillNeRF.scene_nerf.beams import Beams, collect_beams
from projects.DistillNeRF.scene_nerf.evidence import FREE, OCCUPIED, UNKNOWN, Evidence, gather_evidence
from projects.DistillNeRF.scene_nerf.evidence_kernels import VOXELS, count_bits, mark_passes, same_stay
from projects.DistillNeRF.scene_nerf.surfaces import chunks
from tests.helpers.lidar_world import GROUND, HOUSE, Street, drive_through

VOXEL = 0.25


def _random_beams(count: int, sweeps: int) -> Beams:
    rng = np.random.default_rng(0)
    origins = rng.uniform(-1, 1, (count, 3)).astype(np.float32)
    ends = rng.uniform(-8, 8, (count, 3)).astype(np.float32)
    # Along axes, along edges of voxels, and nowhere.
    ends[:10, 1:] = origins[:10, 1:]
    origins[10:20] = np.round(origins[10:20] / VOXEL) * VOXEL
    ends[10:20] = np.round(ends[10:20] / VOXEL) * VOXEL
    ends[20] = origins[20]
    return Beams(origins, ends, np.sort(rng.integers(0, sweeps, count)).astype(np.int32), np.arange(sweeps) * 0.1)


def _voxels_on(start: np.ndarray, stop: np.ndarray) -> set[tuple[int, ...]]:
    """Return the voxels of a segment, in units of voxels: those of the middles between all its crossings."""
    along = stop - start
    cuts = [np.array([0.0, 1.0])]
    for axis in range(3):
        if along[axis]:
            low, high = sorted((start[axis], stop[axis]))
            cuts.append((np.arange(np.ceil(low), np.floor(high) + 1) - start[axis]) / along[axis])
    cuts = np.unique(np.concatenate(cuts).clip(0, 1))
    middles = start + (cuts[1:] + cuts[:-1])[:, None] / 2 * along
    # A piece of no length is where three faces meet, give or take a rounding.
    return {tuple(cell) for cell in np.floor(middles[np.diff(cuts) > 1e-9]).astype(int)}


def test_walks_through_the_same_voxels_as_a_slow_version():
    rng = np.random.default_rng(1)
    starts, stops = rng.uniform(1, 30, (300, 3)), rng.uniform(1, 30, (300, 3))
    stops[:40, :2] = starts[:40, :2]
    stops[40:80, 2] = starts[40:80, 2]
    for start, stop in zip(starts, stops, strict=True):
        blocks, passes = np.full((4, 4, 4), -1, np.int32), np.zeros((64, VOXELS), np.uint64)
        segment = start[None], stop[None], np.array([5])
        used, done = mark_passes(blocks, np.zeros_like(passes), passes, 0, *segment, 0)
        grid = Evidence(np.zeros(3), 1.0, np.zeros(6), np.zeros(1), blocks, np.zeros_like(passes), passes)
        assert done == 1 and used == (blocks >= 0).sum() and set(np.unique(passes)) <= {0, 1 << 5}
        assert {tuple(cell) for cell in grid.voxels()[0]} == _voxels_on(start, stop)


def test_a_full_table_goes_on_where_it_stopped(monkeypatch: pytest.MonkeyPatch):
    beams = _random_beams(200, 4)
    whole = gather_evidence(beams, VOXEL)
    monkeypatch.setattr(module, 'VOXELS', VOXELS)
    made = []
    fill = module._fill

    def by_one(kernel, *arguments):
        def small(*args):
            made.append(args[-1])
            return kernel(*args)

        return fill(small, *arguments)

    monkeypatch.setattr(module, '_fill', by_one)
    monkeypatch.setattr(module, 'MORE_ROWS', 1)
    again = gather_evidence(beams, VOXEL)
    assert len(set(made)) > 10
    for one, other in zip(whole.voxels(), again.voxels(), strict=True):
        np.testing.assert_array_equal(one[np.lexsort(whole.voxels()[0].T)], other[np.lexsort(again.voxels()[0].T)])


def test_counts_of_times(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, '_margins', lambda beams, voxel: np.full(len(beams), 0.5))
    beams = _random_beams(300, 5)
    evidence = gather_evidence(beams, VOXEL, reach=6.0)
    hits, passes = {}, {}
    near = beams.lengths <= 6
    for n in np.flatnonzero(near):
        cell = tuple(np.floor((beams.ends[n] - evidence.corner) / VOXEL).astype(int))
        hits.setdefault(cell, set()).add(beams.sweeps[n])
    for n, length in enumerate(beams.lengths.astype(np.float64)):
        free = min(length - 0.5, 6.0)
        if free > 0:
            start = beams.origins[n].astype(np.float64)
            stop = start + (beams.ends[n] - beams.origins[n]).astype(np.float64) * (free / length)
            for cell in _voxels_on((start - evidence.corner) / VOXEL, (stop - evidence.corner) / VOXEL):
                if beams.sweeps[n] not in hits.get(cell, ()):
                    passes.setdefault(cell, set()).add(beams.sweeps[n])
    cells, hit, free = evidence.voxels()
    found = {tuple(cell): (int(a), int(b)) for cell, a, b in zip(cells, hit, free, strict=True)}
    expected = {cell: (len(hits.get(cell, ())), len(passes.get(cell, ()))) for cell in hits.keys() | passes.keys()}
    # A beam along an edge lies in either of the voxels beside it.
    differing = {cell for cell in found.keys() | expected.keys() if found.get(cell) != expected.get(cell)}
    assert len(differing) <= 0.02 * len(expected)
    assert {cell: hit for cell, (hit, _) in found.items() if hit} == {cell: len(times) for cell, times in hits.items()}


def test_many_beams_are_walked_part_by_part(monkeypatch: pytest.MonkeyPatch):
    beams = _random_beams(300, 5)
    points = np.random.default_rng(2).uniform(-12, 12, (500, 3)).astype(np.float32)

    def all_it_says() -> list[np.ndarray]:
        evidence = gather_evidence(beams, VOXEL)
        bare = evidence.with_hits(points, np.arange(500) % 5)
        return [evidence.corner, *evidence.bits(points), *evidence.bits(points, 1), *bare.bits(points)]

    whole = all_it_says()
    monkeypatch.setattr(module, 'chunks', partial(chunks, size=7))
    for one, other in zip(whole, all_it_says(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_states_of_large_boxes():
    evidence = gather_evidence(_random_beams(300, 5), VOXEL)
    cells, hits, passes = evidence.voxels()
    middles = evidence.corner + (cells + 0.5) * VOXEL
    rng = np.random.default_rng(3)
    lower = rng.uniform(middles.min(0) - 2, middles.max(0) + 1, (400, 3))
    upper = lower + rng.uniform(0.1, 4, (400, 3))
    found = evidence.states_in(lower, upper)
    for low, high, state in zip(lower, upper, found, strict=True):
        inside = ((middles >= low) & (middles < high)).all(1)
        known = FREE if (passes[inside] > 0).any() else UNKNOWN
        assert state == (OCCUPIED if (hits[inside] > 0).any() else known)
    assert {*found} == {FREE, UNKNOWN, OCCUPIED} and found.dtype == np.int8


def test_states_of_points(tmp_path: Path):
    street = Street(lambda _: (HOUSE,))
    beams = collect_beams(drive_through(street, tmp_path, 4))
    evidence = gather_evidence(beams)
    assert (evidence.state(beams.ends[beams.lengths < 50]) == OCCUPIED).all()
    points = np.array([[3.0, 0, 0], [5.0, 2.0, 0.5], [8.0, 5.0, 0], [0, 0, -50], [1e6, 0, 0], [0, 5, GROUND - 1]])
    np.testing.assert_array_equal(evidence.state(points), [FREE, FREE] + 4 * [UNKNOWN])
    assert evidence.state(points).dtype == np.int8
    # Hits can be taken out, what is free stays.
    bare = evidence.with_hits(beams.ends[:0], np.zeros(0, np.int64))
    assert (bare.state(beams.ends) != OCCUPIED).all() and (bare.state(points) == evidence.state(points)).all()
    bits = evidence.time_of_sweep[beams.sweeps]
    same = evidence.with_hits(beams.ends, bits)
    np.testing.assert_array_equal(same.hits, evidence.hits)


def test_roads_and_walls_are_never_free(tmp_path: Path):
    beams = collect_beams(drive_through(Street(lambda _: (HOUSE,)), tmp_path, 8))
    evidence = gather_evidence(beams)
    cells, hits, passes = evidence.voxels()
    middles = evidence.corner + (cells + 0.5) * evidence.voxel
    ground = (np.abs(middles[:, 2] - GROUND) < evidence.voxel) & (hits > 0)
    wall = (np.abs(middles[:, 0] - 6) < evidence.voxel) & (middles[:, 2] > -1.5) & (hits > 0)
    assert ground.sum() > 1000 and (passes[ground] > 0).mean() < 1e-3
    assert wall.sum() > 500 and (passes[wall] > 0).mean() < 0.01
    assert (passes > 0).sum() > 50_000


def test_more_sweeps_than_bits_share_times():
    evidence = gather_evidence(_random_beams(300, 150), VOXEL)
    assert len(evidence.times) == 64 and len(evidence.time_of_sweep) == 150
    assert (np.diff(evidence.time_of_sweep) >= 0).all() and (np.diff(evidence.times) > 0).all()
    np.testing.assert_allclose(evidence.times[0], np.arange(150)[evidence.time_of_sweep == 0].mean() * 0.1)


def test_bits():
    values = np.array([0, 1, 2**63, 2**64 - 1, 0b1011], np.uint64)
    np.testing.assert_array_equal(count_bits(values), [0, 1, 1, 64, 3])
    # Hit at 1, 3, 4 and 7, free at 2 and 6: from 4 on it was there at 3, and nothing tells of 5.
    hits, passes = np.array([0b10011010], np.uint64), np.array([0b01000100], np.uint64)
    assert same_stay(hits, passes, np.array([4]))[0] == 0b00011000
    assert same_stay(hits, passes, np.array([1]))[0] == 0b00000010
    assert same_stay(hits, passes, np.array([63]))[0] == (1 << 63) | (1 << 7)
