"""Render the voxel field along rays (docs/NETWORK.md#rendering; paper section 3.3)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..geometry.contraction import ParameterizedSpace
from .chunked import chunk_numel, map_chunked
from .layers import soft_clamp
from .segments import segment_offsets
from .volume_rendering import alpha_weights, expected_depth
from .voxels import VoxelGrid

EMPTY_LOGIT = -30.0

# Look-ups are some thirty elementwise steps: on a CPU they are several times faster if a chunk stays in its cache.
CPU_CHUNK_SAMPLES = 1 << 16


@dataclass(frozen=True)
class Hits:
    """The samples of rays that lie in occupied cells, ray by ray.

    Attributes:
        occupied: ``(rays, n)`` bool.
        positions: ``(E,)`` where they are among all ``rays * n`` samples.
        rows: ``(E,)`` the rows of the voxel tables that they hit, int32.
        offsets: ``(rays + 1,)`` the hits of ray r are ``offsets[r]`` to ``offsets[r + 1] - 1``.
    """

    occupied: Tensor
    positions: Tensor
    rows: Tensor
    offsets: Tensor

    @classmethod
    def find(cls, rows: Tensor, empty_row: int) -> Hits:
        """Find the hits among the rows of all samples, ``(rays, n)``."""
        occupied = rows < empty_row
        positions = occupied.view(-1).nonzero().squeeze(1)
        hit = rows.view(-1).index_select(0, positions)
        return cls(occupied, positions, hit, segment_offsets(occupied.sum(1)))

    def select(self, values: Tensor) -> Tensor:
        """Return the values ``(E,)`` at the hits, of ``(rays, n)``."""
        return values.reshape(-1).index_select(0, self.positions)

    def read(self, values: Tensor) -> Tensor:
        """Read a table ``(rows + 1,)`` at all samples, ``(rays, n)``; its last value, of empty space, is a constant.

        Most samples hit nothing: their gradients would all be added into one place.
        """
        samples = values[-1].detach().expand(self.occupied.numel())
        samples = samples.index_copy(0, self.positions, values.index_select(0, self.rows))
        return samples.view(self.occupied.shape)


# Composites along rays: hits, or those of fused_rays.py, and the weights ``(rays, n)`` of all samples to
# ``(rays, channels)``.
Compositor = Callable[[Any, Tensor], Tensor]


@dataclass(frozen=True)
class RaySampling:
    """Where samples are placed on a ray.

    Attributes:
        stride: width of the coarse samples' bins, in depth bins (``sparse_sample_ratio``); below 1 they are narrower.
        fine_samples: number of fine samples, around the interval of the greatest weight.
        fine_step: distance between fine samples, meters.
        density_activation: ``exp``, ``softplus`` or ``sigmoid``.
        logit_bound: soft clamp of the density logits.
        mean_density: what the density of an interval is: see :func:`.volume_rendering.alpha_weights`.
        published_quirks: reproduce foggy-empty-space, off-center-fine-samples, interval-as-sample and forward-jitter
            (docs/NETWORK.md#oddities-of-the-published-code): empty space keeps a little density, as its logit goes
            through the soft clamp; fine samples are not centered, and gather around the sample before the heaviest
            interval; jitter moves samples only away from the camera.
    """

    stride: float = 1
    fine_samples: int = 30
    fine_step: float = 0.1
    density_activation: str = 'exp'
    logit_bound: float = 10.0
    published_quirks: bool = False
    mean_density: bool = False


@dataclass(frozen=True)
class VoxelTables:
    """The tables in which samples look up density logits, by row, and voxel features, by cell.

    Attributes:
        grid: maps points to rows.
        logits: ``(F + C + 1,)`` clamped density logit of every row.
        coarse: ``(C, channels)`` voxel features of the coarse cells.
        fine: ``(F, channels)`` voxel features of the fine cells.
        clear: whether empty space has no density, so that something of most rays is left at their end.
    """

    grid: VoxelGrid
    logits: Tensor
    coarse: Tensor
    fine: Tensor
    clear: bool = False

    @classmethod
    def build(
        cls, grid: VoxelGrid, coarse: Tensor, fine: Tensor, logit_bound: float, published_quirks: bool
    ) -> VoxelTables:
        """Build tables of voxels ``(C, channels + 1)`` and ``(F, channels + 1)``, whose last channel is the logit.

        With ``published_quirks`` the first occupied cell of each level reads as zero, and empty space keeps a little
        density (first-cell-empty and foggy-empty-space in docs/NETWORK.md#oddities-of-the-published-code).
        """
        if published_quirks:
            coarse, fine = _without_first_row(coarse), _without_first_row(fine)
        empty = fine.new_full((1,), EMPTY_LOGIT)
        if published_quirks:
            empty = soft_clamp(empty, logit_bound)
        logits = torch.cat([soft_clamp(torch.cat([fine[:, -1], coarse[:, -1]]), logit_bound), empty])
        return cls(grid, logits, coarse[:, :-1].contiguous(), fine[:, :-1].contiguous(), not published_quirks)

    def hits(self, rows: Tensor) -> Hits:
        """Find the samples, of rows ``(rays, n)``, that lie in occupied cells."""
        return Hits.find(rows, self.grid.empty_row)


def _without_first_row(voxels: Tensor) -> Tensor:
    return F.pad(voxels[1:], (0, 0, 1, 0)) if len(voxels) else voxels


@dataclass(frozen=True)
class RayRendering:
    """The rendering of single rays.

    Attributes:
        composite: ``(rays, channels)`` composited color, ``2 * sum(weight * color) - 1``.
        depth: ``(rays,)`` expected distance along the ray, meters.
        opacity: ``(rays,)`` sum of the weights.
        weights: ``(rays, n)`` weights of the intervals between samples; ``None`` if they were not kept.
        depths: ``(rays, n + 1)`` distances of the samples, meters; ``None`` if they were not kept.
    """

    composite: Tensor
    depth: Tensor
    opacity: Tensor
    weights: Tensor | None
    depths: Tensor | None


def render_rays(
    tables: VoxelTables,
    space: ParameterizedSpace,
    sampling: RaySampling,
    composite: Compositor,
    origins: Tensor,
    directions: Tensor,
    jitter: bool = False,
) -> RayRendering:
    """Render rays ``(rays, 3)`` with unit directions; positions and the choice of samples carry no gradient.

    Args:
        tables: density logits and voxel features.
        space: maps positions into the grid, and places the depth bins.
        sampling: where samples are placed on a ray.
        composite: turns the samples that hit something and the weights of all into ``(rays, channels)``.
        origins, directions: ``(rays, 3)`` of the rays, in the world.
        jitter: move every coarse sample by a random share of its bin (training, ``stochastic_render_sample``).
    """
    with torch.no_grad():
        depths, rows = place_samples(tables, space, sampling, origins, directions, jitter)
        hits = tables.hits(rows)

    def composite_interval(logits: Tensor, depths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        weights = alpha_weights(logits, depths, sampling.density_activation, sampling.mean_density)
        return weights, expected_depth(weights, depths, space.far), weights.sum(-1)

    weights, depth, opacity = map_chunked(composite_interval, hits.read(tables.logits), depths)
    # An interval has the mean color of its ends, so a sample counts half in each of its two intervals.
    per_sample = (F.pad(weights, (1, 0)) + F.pad(weights, (0, 1))) / 2
    color = 2 * composite(hits, per_sample) - 1
    return RayRendering(color, depth, opacity, weights, depths)


def place_samples(
    tables: VoxelTables,
    space: ParameterizedSpace,
    sampling: RaySampling,
    origins: Tensor,
    directions: Tensor,
    jitter: bool,
) -> tuple[Tensor, Tensor]:
    """Place all samples: their depths ``(rays, n)``, ascending, and the rows that they hit, ``(rays, n)``."""
    coarse, coarse_rows = place_coarse_samples(tables, space, sampling, origins, directions, jitter)
    interval = heaviest_interval(tables, sampling, coarse, coarse_rows)
    count, steps = sampling.fine_samples, torch.arange(sampling.fine_samples, dtype=coarse.dtype, device=coarse.device)
    if sampling.published_quirks:
        # The index of an interval is used as the index of a sample.
        center, steps = coarse.gather(1, interval), steps - count // 2
    else:
        center = (coarse.gather(1, interval) + coarse.gather(1, interval + 1)) / 2
        steps = steps - (count - 1) / 2
    fine = (center + sampling.fine_step * steps).clamp(0, space.far)
    fine_rows = rows_along(tables.grid, space, origins, directions, fine)
    order = merge_order(coarse, fine)
    return torch.cat([coarse, fine], 1).gather(1, order), torch.cat([coarse_rows, fine_rows], 1).gather(1, order)


def place_coarse_samples(
    tables: VoxelTables,
    space: ParameterizedSpace,
    sampling: RaySampling,
    origins: Tensor,
    directions: Tensor,
    jitter: bool = False,
) -> tuple[Tensor, Tensor]:
    """Place one sample per depth bin: depths ``(rays, S)``, and the rows that they hit, ``(rays, S)``."""
    depths = coarse_depths(space, sampling, origins, jitter)
    return depths, rows_along(tables.grid, space, origins, directions, depths)


def coarse_depths(space: ParameterizedSpace, sampling: RaySampling, origins: Tensor, jitter: bool) -> Tensor:
    """Place one sample per depth bin on every ray, ``(rays, S)``, ascending."""
    edges = space.bin_edges(origins, sampling.stride)
    depths = ((edges[:-1] + edges[1:]) / 2).expand(len(origins), -1)
    if jitter:
        shift = torch.rand_like(depths) - (0 if sampling.published_quirks else 0.5)
        depths = (depths + shift * (edges[1:] - edges[:-1])).sort(dim=1).values
    return depths


def heaviest_interval(tables: VoxelTables, sampling: RaySampling, depths: Tensor, rows: Tensor) -> Tensor:
    """Return the index ``(rays, 1)`` of the interval between samples ``(rays, S)`` that has the greatest weight."""
    logits = gather_rows(tables.logits, rows)
    weights = alpha_weights(logits, depths, sampling.density_activation, sampling.mean_density)
    return weights.argmax(1, keepdim=True)


def rows_along(
    grid: VoxelGrid, space: ParameterizedSpace, origins: Tensor, directions: Tensor, depths: Tensor
) -> Tensor:
    """Look up the rows ``(rays, n)`` at ``depths`` ``(rays, n)`` along rays ``(rays, 3)``."""
    size = max(1, chunk_numel(depths.device, CPU_CHUNK_SAMPLES) // max(1, depths.shape[1]))
    chunks = zip(origins.split(size), directions.split(size), depths.split(size), strict=True)
    return torch.cat([grid.rows_at(space.contract_axes(_along(o, d, t))) for o, d, t in chunks])


def _along(origins: Tensor, directions: Tensor, depths: Tensor) -> Tensor:
    """Compute positions on rays ``(3, rays, n)``; a last dimension of three is slow on CPUs."""
    return origins.T[:, :, None] + depths * directions.T[:, :, None]


def gather_rows(values: Tensor, rows: Tensor) -> Tensor:
    """Compute ``values[rows]`` for a flat table, several times faster than by indexing with int32 rows."""
    return values.index_select(0, rows.reshape(-1)).view(rows.shape)


def merge_order(first: Tensor, second: Tensor) -> Tensor:
    """Return indices ``(rays, a + b)`` that sort the concatenation of two ascending ``(rays, a)``, ``(rays, b)``."""
    count = first.shape[1]
    total = count + second.shape[1]
    index = torch.arange(total, device=first.device)
    slots = torch.searchsorted(first.contiguous(), second.contiguous()) + index[: second.shape[1]]
    order = torch.full((len(first), total), -1, dtype=torch.int64, device=first.device)
    order.scatter_(1, slots, (count + index[: second.shape[1]]).expand_as(slots))
    from_first = order < 0
    return torch.where(from_first, from_first.cumsum(1) - 1, order)
