"""Plane sweep: depth of a view from what other views show where its pixels would be (docs/SUCCESSOR.md)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..geometry.cameras import Cameras, in_image
from ..geometry.matrices import inverse, multiply, transform
from ..geometry.tensors import full_precision
from .depth_bins import log_centers
from .layers import LEAKY_SLOPE, instance_norm, leaky_relu_

# Images are compared at half of their size.
STRIDE = 2
# Views from nearer than this to each other tell nothing of depth, meters.
MIN_BASELINE = 0.1
# Every so many-th pixel of the small images decides which views are compared.
SPARSE = 4


class PlaneSweep(nn.Module):
    """Score the depth bins of a view by how alike its pixels and other views are there.

    A pixel at the depth of a bin is a point, which other views have somewhere in their images. Where it is the right
    depth, they show the same. Features of a small CNN are compared by their cosines, group by group; a small 3D CNN
    makes scores of them, and the context decides how much these count, pixel by pixel: walls without texture and what
    moves tell nothing.

    Args:
        context_channels: channels of the coarse depth net's context features.
        channels: channels of the features that are compared; a multiple of ``groups``.
        groups: cosines of each point.
        count: how many other views are compared at most: those that have the largest part of the view's points.
        hidden: channels of the 3D CNN.

    Raises:
        ValueError: the channels are no multiple of the groups.
    """

    kernels = 'auto'

    def __init__(
        self, context_channels: int, channels: int = 8, groups: int = 2, count: int = 2, hidden: int = 8
    ) -> None:
        super().__init__()
        if channels % groups:
            raise ValueError(f'{channels} channels cannot be compared in {groups} groups: give a multiple')
        self.groups, self.count = groups, count
        self.first = nn.Conv2d(3, channels, 3, STRIDE, 1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        self.third = nn.Conv2d(channels, channels, 3, padding=1)
        self.mix = nn.Conv2d(groups + 1, hidden, 3, padding=1)
        self.score = nn.Conv2d(hidden, 1, 3, padding=1)
        self.gate = nn.Conv2d(context_channels, 1, 1)
        # At first, nothing is added, and what is learned counts everywhere.
        assert self.score.bias is not None and self.gate.bias is not None
        nn.init.zeros_(self.score.weight)
        nn.init.zeros_(self.score.bias)
        nn.init.zeros_(self.gate.weight)
        nn.init.ones_(self.gate.bias)

    def describe(self, images: Tensor) -> Tensor:
        """Return what is compared of images ``(N, 3, H, W)``: features ``(N, channels, h, w)`` of every other pixel.

        Each group of channels has length 1.
        """
        x = instance_norm(self.first(images), LEAKY_SLOPE, self.kernels)
        x = full_precision(self.third(leaky_relu_(self.second(x))))
        return F.normalize(x.unflatten(1, (self.groups, -1)), dim=2).flatten(1, 2)

    def forward(
        self,
        described: Tensor,
        cameras: Cameras,
        edges: Tensor,
        others: Tensor,
        their_cameras: Cameras,
        context: Tensor,
    ) -> Tensor:
        """Return what is added to the logits of the depth bins, ``(N, D, H, W)``; 0 where no other view has a point.

        Args:
            described: ``(N, channels, h, w)`` features of the views (:meth:`describe`).
            cameras: ``(N,)`` their cameras, of images of H x W.
            edges: ``(N, D + 1)`` of the bins, meters along the rays.
            others: ``(M, channels, h, w)`` features of the other views; the views themselves may be among them.
            their_cameras: ``(M,)``.
            context: ``(N, context_channels, H, W)``.
        """
        size = (cameras.height, cameras.width)
        centers = log_centers(edges).exp()
        if not len(their_cameras):
            return context.new_zeros(len(cameras), centers.shape[1], *size)
        with torch.no_grad():
            numbers, useful = most_seen(cameras, their_cameras, centers, self.count)
        costs = centers.new_zeros(len(cameras), centers.shape[1], self.groups, *described.shape[2:])
        seen = torch.zeros_like(costs[:, :, :1])
        for chosen, used in zip(numbers.T, useful.T, strict=True):
            with torch.no_grad():
                u, v, inside = sweep(cameras, their_cameras[chosen], centers)
                inside &= used[:, None, None, None]
            cosines = self._cosines(described, others[chosen], u, v)
            costs = costs + inside[:, :, None] * cosines
            seen = seen + inside[:, :, None]
        known = seen > 0
        costs = torch.cat([costs / seen.clamp_min(1), known.to(costs)], 2)
        scores = self.score(leaky_relu_(self.mix(costs.flatten(0, 1)))).view(known.squeeze(2).shape)
        added = enlarge_strided(full_precision(scores), size) * full_precision(self.gate(context))
        anywhere = enlarge_strided(known.any(1).to(added), size) > 0
        return torch.where(anywhere, added, 0.0)

    def _cosines(self, described: Tensor, others: Tensor, u: Tensor, v: Tensor) -> Tensor:
        """Compare features ``(N, channels, h, w)`` with those of another view each at pixels ``(N, D, h, w)``.

        Returns:
            ``(N, D, groups, h, w)``.
        """
        height, width = others.shape[2:]
        grid = torch.stack([_normalized(u, width), _normalized(v, height)], -1).flatten(1, 2)
        found = F.grid_sample(others, grid, mode='bilinear', padding_mode='border', align_corners=True)
        found = found.view(*described.shape[:2], *u.shape[1:])
        products = (found * described[:, :, None]).unflatten(1, (self.groups, -1))
        return products.sum(2).transpose(1, 2)


def sweep(cameras: Cameras, others: Cameras, centers: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Project every other pixel of views at all depths into another view each.

    Args:
        cameras: ``(N,)`` of the views.
        others: ``(N,)`` of the other views.
        centers: ``(N, D)`` distances along the rays, meters.

    Returns:
        u, v: ``(N, D, h, w)`` pixels of images that have every other pixel; 0 outside.
        inside: ``(N, D, h, w)`` whether the other view has the point.
    """
    start, step = _rays(cameras, others, STRIDE)
    return _at(start, step, centers[:, :, None, None], others)


def most_seen(cameras: Cameras, others: Cameras, centers: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Choose for each view the others that have the largest part of its points at all depths.

    Args:
        cameras: ``(N,)`` of the views.
        others: ``(M,)`` of the other views.
        centers: ``(N, D)`` distances along the rays, meters.
        count: how many.

    Returns:
        numbers of the others ``(N, K)``, K at most ``count``, and whether they have any of the points, from another
        place, ``(N, K)``.
    """
    shares = []
    for number in range(len(others)):
        one = others[[number] * len(cameras)]
        _, _, inside = _at(*_rays(cameras, one, STRIDE * SPARSE), centers[:, :, None, None], one)
        apart = (cameras.cam2world[:, :3, 3] - one.cam2world[:, :3, 3]).norm(dim=1) >= MIN_BASELINE
        shares.append(torch.where(apart, inside.flatten(1).to(centers).mean(1), 0.0))
    found, numbers = torch.stack(shares, 1).topk(min(count, len(others)), dim=1)
    return numbers, found > 0


def _rays(cameras: Cameras, others: Cameras, stride: int) -> tuple[Tensor, Tensor]:
    """Return rays as homogeneous pixels of another view each: ``start + t * step`` at the distance t, meters.

    Returns:
        ``(N, 3, 1, 1)`` and ``(N, 3, h, w)``, of every ``stride``-th pixel.
    """
    matrices = multiply(others.intrinsics, inverse(others.cam2world[:, :3, :3]))
    origins, directions = cameras.rays(cameras.height, cameras.width)
    start = transform(matrices, (origins - others.cam2world[:, :3, 3])[:, None]).squeeze(1)
    step = transform(matrices, directions[:, ::stride, ::stride], points=2)
    return start[:, :, None, None], step.movedim(-1, 1)


def _at(start: Tensor, step: Tensor, distances: Tensor, others: Cameras) -> tuple[Tensor, Tensor, Tensor]:
    x, y, z = (start[:, axis, None] + distances * step[:, axis, None] for axis in range(3))
    depth = z.clamp_min(1e-6)
    u, v = x / depth, y / depth
    inside = in_image(u, v, z, others.height, others.width)
    return torch.where(inside, u, 0.0) / STRIDE, torch.where(inside, v, 0.0) / STRIDE, inside


def _normalized(pixels: Tensor, size: int) -> Tensor:
    """Map pixels 0 to ``size - 1`` to -1 to 1."""
    return pixels * (2 / max(size - 1, 1)) - 1


def enlarge_strided(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Enlarge maps ``(N, C, h, w)`` of every other pixel, from the first on, to images of H x W."""
    height, width = maps.shape[2:]
    maps = F.interpolate(maps, size=(2 * height - 1, 2 * width - 1), mode='bilinear', align_corners=True)
    return F.pad(maps, (0, size[1] - maps.shape[3], 0, size[0] - maps.shape[2]), mode='replicate')
