"""March rays through a nested grid and composite what its cells hold, in plain torch: the reference, and for GPUs.

In each box samples lie ``step`` cells apart, the same fraction (``jitter``) into their interval on the whole ray. At a
sample the values of the eight vertices around it are mixed trilinearly. The density is the softplus of a mixed value,
per edge of a cell, so that a number means the same at all sizes; the color is the sigmoid of a constant and a linear
function of the viewing direction (spherical harmonics of degree one). Gains let one learning rate suit all.

A sample of weight :data:`LIGHT` or less adds neither color nor depth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..geometry.tensors import TensorFields
from .nested_grid import NestedBoxes, NestedGrid, corner_weights

# Channels of a vertex: density, three colors, and three numbers per color for the direction.
CHANNELS = 13
DENSITY_GAIN, VIEW_GAIN = 2.0, 0.5
LIGHT = 1e-5


@dataclass(frozen=True)
class Rays(TensorFields):
    """Rays to render.

    Attributes:
        origins, directions: ``(n, 3)`` in the scene frame; unit directions.
        jitter: ``(n,)`` where in its interval a sample lies, 0 to 1.
        limits: ``(n, 2)`` distances up to which the transmittance is asked, meters.
        spans: ``(n, 2)`` distances where they begin and end, meters; not before :attr:`Marching.near`.
    """

    origins: Tensor
    directions: Tensor
    jitter: Tensor
    limits: Tensor
    spans: Tensor

    @classmethod
    def whole(cls, origins: Tensor, directions: Tensor, jitter: Tensor, limits: Tensor | None = None) -> Rays:
        """Return rays without an end; nothing is asked about their transmittance where there are no limits."""
        limits = torch.zeros_like(origins[:, :2]) if limits is None else limits
        return cls(origins, directions, jitter, limits, limits.new_tensor([0.0, torch.inf]).expand_as(limits))

    @classmethod
    def centered(cls, origins: Tensor, directions: Tensor) -> Rays:
        """Return rays without an end whose samples lie in the middle of their intervals."""
        return cls.whole(origins, directions, origins.new_full((len(origins),), 0.5))

    @classmethod
    def joined(cls, parts: Sequence[Rays]) -> Rays:
        """Return the rays of all parts."""
        return cls(*(torch.cat([getattr(part, name) for part in parts]) for name in cls.__dataclass_fields__))

    def __len__(self) -> int:
        return len(self.origins)


@dataclass(frozen=True)
class RayOutputs(TensorFields):
    """What rays see of the cells.

    Attributes:
        color: ``(n, 3)`` sum of weights times color.
        distance: ``(n,)`` sum of weights times distance.
        transmittance: ``(n,)`` what passes through everything.
        before: ``(n, 2)`` what passes up to the limits of the rays.
    """

    color: Tensor
    distance: Tensor
    transmittance: Tensor
    before: Tensor


@dataclass(frozen=True)
class Marching:
    """How rays are marched.

    Attributes:
        step: distance of the samples, in cells.
        near: where rays begin at the earliest, meters.
        stop: transmittance below which they end.
    """

    step: float = 0.7
    near: float = 0.3
    stop: float = 1e-3


@dataclass(frozen=True)
class Samples(TensorFields):
    """Samples in occupied cells, ray by ray, in order of distance.

    Attributes:
        rays: ``(s,)`` int64 ray of each sample.
        cells: ``(s,)`` int64 its cell.
        inner: ``(s, 3)`` its position in the cell, 0 to 1.
        distances: ``(s,)`` along the ray, meters.
        lengths: ``(s,)`` length of its interval, in edges of the cell.
    """

    rays: Tensor
    cells: Tensor
    inner: Tensor
    distances: Tensor
    lengths: Tensor


def box_spans(boxes: NestedBoxes, rays: Rays, near: float) -> tuple[Tensor, Tensor]:
    """Return ``(n, L)`` where rays, from ``near`` meters on and in their spans, enter and leave each box.

    One that is missed counts as entered and left where the next larger one is left.
    """
    directions = torch.where(rays.directions.abs() < 1e-9, 1e-9, rays.directions)[:, None]
    lower, upper = ((corner - rays.origins[:, None]) / directions for corner in (boxes.lower, boxes.upper))
    first, last = rays.spans[:, None].unbind(-1)
    enter = torch.maximum(torch.minimum(lower, upper).amax(-1), first.clamp_min(near))
    leave = torch.minimum(torch.maximum(lower, upper).amin(-1), last)
    leave = torch.maximum(leave, enter)
    for level in range(boxes.levels - 2, -1, -1):
        missed = leave[:, level] <= enter[:, level]
        enter[:, level] = torch.where(missed, leave[:, level + 1], enter[:, level])
        leave[:, level] = torch.where(missed, leave[:, level + 1], leave[:, level])
    return enter, leave


def place_samples(grid: NestedGrid, rays: Rays, marching: Marching) -> Samples:
    """Place samples along rays, and keep those in occupied cells."""
    boxes = grid.boxes
    enter, leave = box_spans(boxes, rays, marching.near)
    outside_in = [(level, enter[:, level], enter[:, level - 1]) for level in range(boxes.levels - 1, 0, -1)]
    inside_out = [(level, leave[:, level - 1], leave[:, level]) for level in range(1, boxes.levels)]
    parts = []
    for level, start, stop in (*outside_in, (0, enter[:, 0], leave[:, 0]), *inside_out):
        size = boxes.sizes[level]
        spacing = size * marching.step
        count = int(((stop - start) / spacing).ceil().amax()) if len(rays) else 0
        starts = start[:, None] + torch.arange(count, device=start.device) * spacing
        lengths = torch.minimum(spacing, stop[:, None] - starts)
        distances = starts + rays.jitter[:, None] * lengths
        ray, index = (lengths > 0).nonzero().unbind(1)
        distance = distances[ray, index]
        points = rays.origins[ray] + distance[:, None] * rays.directions[ray]
        cells, inner = grid.find(torch.full_like(ray, level), (points - boxes.lower[level]) / size)
        hit = cells >= 0
        parts.append(Samples(ray, cells, inner, distance, lengths[ray, index] / size).map(lambda x, hit=hit: x[hit]))
    joined = Samples(*(torch.cat([getattr(p, name) for p in parts]) for name in Samples.__dataclass_fields__))
    order = joined.rays.argsort(stable=True)
    return joined.map(lambda x: x[order])


def composite(
    grid: NestedGrid, values: Tensor, rays: Rays, marching: Marching, largest: Tensor | None = None
) -> RayOutputs:
    """Render rays through the cells.

    Args:
        grid: the cells.
        values: ``(V, CHANNELS)`` of their vertices; the outputs are differentiable in these.
        rays: the rays.
        marching: how they are marched.
        largest: ``(C,)`` is raised to the largest weight that a sample of these rays has in each cell.
    """
    with torch.no_grad():
        samples = place_samples(grid, rays, marching)
    weights = corner_weights(samples.inner)
    mixed = (weights[..., None] * values[grid.vertices[samples.cells].long()]).sum(1)
    optical = F.softplus(DENSITY_GAIN * mixed[:, 0]) * samples.lengths
    # Optical depth before each sample: a running sum over all rays, less that before its own ray. In double precision,
    # as the sums are long.
    total = optical.double().cumsum(0)
    counts = torch.bincount(samples.rays, minlength=len(rays))
    first = counts.cumsum(0) - counts
    before_ray = F.pad(total, (1, 0))[first]
    until = total - before_ray[samples.rays]
    transmittance = torch.exp(-(until - optical)).to(optical.dtype)
    # A ray ends behind the sample that lets too little through.
    used = transmittance >= marching.stop
    optical = torch.where(used, optical, 0)
    weight = transmittance * (1 - torch.exp(-optical))
    heavy = torch.where(used & (weight > LIGHT), weight, 0)
    if largest is not None:
        largest.scatter_reduce_(0, samples.cells, heavy.detach(), 'amax')
    view = rays.directions[samples.rays]
    color = torch.sigmoid(mixed[:, 1:4] + VIEW_GAIN * (mixed[:, 4:].view(-1, 3, 3) * view[:, None]).sum(-1))

    def sums(x: Tensor) -> Tensor:
        return x.new_zeros(len(rays), *x.shape[1:]).index_add(0, samples.rays, x)

    near = samples.distances[:, None] < rays.limits[samples.rays]
    return RayOutputs(
        sums(heavy[:, None] * color),
        sums(heavy * samples.distances),
        torch.exp(-sums(optical)),
        torch.exp(-sums(optical[:, None] * near)),
    )
