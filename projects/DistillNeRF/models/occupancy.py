"""Which voxels of a regular grid in the world a scene fills."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..modules.renderer import gather_rows
from ..modules.volume_rendering import activate_density

if TYPE_CHECKING:
    from .scene import Scene

# Points whose densities are held at a time.
POINTS_PER_CHUNK = 4_000_000
# How far from a whole number of voxels an edge may be.
TOLERANCE = 1e-3


def occupancy(scene: Scene, lower: Sequence[float], upper: Sequence[float], voxel: float, min_density: float) -> Tensor:
    """:meth:`.scene.Scene.occupancy`."""
    shape = _shape(lower, upper, voxel)
    counts = _points_per_axis(scene, voxel)
    axes = [
        # From the middle of the first part of the first voxel to that of the last part of the last one.
        start + voxel / count * (torch.arange(size * count, dtype=scene.fine.dtype, device=scene.fine.device) + 0.5)
        for start, size, count in zip(lower, shape, counts, strict=True)
    ]
    tables = scene.tables()
    dense = activate_density(tables.logits, scene.sampling.density_activation) >= min_density
    y, z = axes[1][:, None], axes[2]
    slabs = axes[0].split(counts[0] * max(1, POINTS_PER_CHUNK // (counts[0] * len(y) * len(z))))
    parts = []
    for x in slabs:
        rows = scene.grid.rows_at(scene.space.contract_axes([x[:, None, None], y, z]))
        blocks = gather_rows(dense, rows).view(-1, counts[0], shape[1], counts[1], shape[2], counts[2])
        parts.append(blocks.any(5).any(3).any(1))
    return torch.cat(parts)


def _shape(lower: Sequence[float], upper: Sequence[float], voxel: float) -> tuple[int, int, int]:
    """How many voxels there are along each axis."""
    sizes = [(high - low) / voxel if voxel > 0 else math.nan for low, high in zip(lower, upper, strict=True)]
    if len(sizes) != 3 or not all(size > 0.5 and abs(size - round(size)) < TOLERANCE for size in sizes):
        raise ValueError(f'{list(lower)} and {list(upper)} are not some whole voxels of {voxel} m apart on 3 axes')
    return tuple(round(size) for size in sizes)


def _points_per_axis(scene: Scene, voxel: float) -> list[int]:
    """At least two, and no farther apart than the smallest fine cells are large on that axis."""
    space = scene.space
    cells_per_meter = 2 ** (scene.grid.fine_level - 1) * space.contract_ratio
    ranges = (space.inner_range, space.inner_range, space.inner_range_z)
    return [max(2, math.ceil(voxel * cells_per_meter / extent)) for extent in ranges]
