"""Geometry and volume rendering: no matrix unit, no half precision, whatever a run computes in."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from projects.DistillNeRF.geometry.contraction import ParameterizedSpace
from projects.DistillNeRF.geometry.trajectories import circle, move_cameras
from projects.DistillNeRF.geometry.views import mirror_cameras
from projects.DistillNeRF.models.network import DistillNeRF
from projects.DistillNeRF.models.objective import Sample, density_at
from projects.DistillNeRF.modules.pooling import candidate_positions, pool_views
from projects.DistillNeRF.modules.renderer import heaviest_interval, place_samples
from projects.DistillNeRF.modules.volume_rendering import alpha_weights, expected_depth, render_intervals
from tests.helpers.networks import TINY, lidar_views

MATRIX_UNITS = ('mm', 'bmm', 'addmm', 'baddbmm', 'addbmm', 'addmv', 'mv', 'dot', 'matmul', 'linear', 'einsum')
HALF = (torch.float16, torch.bfloat16)


class NoMatrixUnits(TorchDispatchMode):
    """Fails on what may be rounded to TF32, and on half precision."""

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        name = func.overloadpacket.__name__
        if name in MATRIX_UNITS or name.startswith(('convolution', 'linalg_')):
            raise AssertionError(f'{name} in the geometry')
        results = func(*args, **(kwargs or {}))
        if half := [x.dtype for x in tree_leaves(results) if isinstance(x, Tensor) and x.dtype in HALF]:
            raise AssertionError(f'{name} gives {half[0]}')
        return results


def strict(function: Callable[[], Any], dtype: torch.dtype) -> Any:
    """The result under autocast, without matrix units."""
    with torch.autocast('cpu', dtype=dtype), NoMatrixUnits():
        return function()


@pytest.fixture(scope='module')
def encoded():
    torch.manual_seed(0)
    views = lidar_views(2, 0)
    with torch.no_grad():
        return views, DistillNeRF(**TINY).encode([views])[0]


def geometry(views, encoded) -> dict[str, Callable[[], Any]]:
    """What a step does between its networks."""
    cameras, scene = views.cameras, encoded.scene
    origins, directions = cameras.rays(4, 6)
    origins = origins[:, None, None].expand_as(directions).reshape(-1, 3)
    directions = directions.reshape(-1, 3)
    points = origins + 3 * directions
    tables, space, sampling = scene.tables(), scene.space, scene.sampling
    edges = space.bin_edges(points)
    depths, rows = place_samples(tables, space, sampling, origins, directions, jitter=False)
    logits = tables.logits[rows]
    weights = alpha_weights(logits, depths, 'exp')
    sample = Sample(encoded, None, views, views, 0)
    return {
        'rays': lambda: cameras.rays(4, 6),
        'ray_lengths': lambda: cameras.ray_lengths(4, 6),
        'project': lambda: cameras.project(points),
        'resized': lambda: dataclasses.astuple(cameras.resized(8, 12))[:2],
        'mirrored': lambda: dataclasses.astuple(mirror_cameras(cameras))[:2],
        'moved': lambda: move_cameras(cameras, circle()).cam2world,
        'moved as published': lambda: move_cameras(cameras, circle(), published_rotation=True).cam2world,
        'contract': lambda: space.contract(points),
        'expand': lambda: space.expand(space.contract(points)),
        'candidate_positions': lambda: candidate_positions(cameras, encoded.fine.candidates),
        'cells': lambda: pool_views(cameras, encoded.fine, space, 3, 5)[0].fine_codes,
        'place_samples': lambda: place_samples(tables, space, sampling, origins, directions, jitter=False),
        'heaviest_interval': lambda: heaviest_interval(tables, sampling, depths, rows),
        'alpha_weights': lambda: alpha_weights(logits, depths, 'exp'),
        'expected_depth': lambda: expected_depth(weights, depths, 30.0),
        'render_intervals': lambda: render_intervals(torch.ones(5, len(edges) - 1), edges, -1),
        'query': lambda: scene.query(points),
        'density_at': lambda: density_at(views.lidar_depth, sample),
    }


@pytest.mark.parametrize('dtype', HALF)
def test_geometry_has_the_same_bits_under_autocast_and_needs_no_matrix_unit(encoded, dtype):
    for name, function in geometry(*encoded).items():
        expected, ours = tree_leaves(function()), tree_leaves(strict(function, dtype))
        assert len(expected) == len(ours) > 0
        for first, second in zip(ours, expected, strict=True):
            assert first.dtype == second.dtype and torch.equal(first, second), name


def test_the_guard_finds_matrix_units_and_half_precision():
    eye = torch.eye(3)
    for wrong in (
        lambda: eye @ eye,
        lambda: torch.einsum('ij,nj->ni', eye, torch.ones(4, 3)),
        lambda: torch.linalg.inv(eye),
        lambda: eye.half() + 1,
    ):
        with pytest.raises(AssertionError):
            strict(wrong, torch.bfloat16)


class Places(TorchDispatchMode):
    """Notes the devices of all results, in order, and fails on numbers that are fetched from another than the CPU."""

    def __init__(self) -> None:
        super().__init__()
        self.devices: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        results = func(*args, **(kwargs or {}))
        self.devices += [x.device.type for x in tree_leaves(results) if isinstance(x, Tensor)]
        return results


def test_the_edges_of_the_depth_bins_are_made_on_the_cpu_for_every_device():
    """So they have the same bits everywhere; a device without numbers can have them, too."""
    space = ParameterizedSpace(step=0.17)
    like = torch.empty((), device='meta')
    with Places() as places:
        edges = space.bin_edges(like)
    assert edges.device.type == 'meta' and edges.shape == space.bin_edges(torch.empty(())).shape
    assert set(places.devices[:-1]) == {'cpu'} and places.devices[-1] == 'meta'
