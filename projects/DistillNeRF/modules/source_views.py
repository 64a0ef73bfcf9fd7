"""Source views: what the input images show where the rays of a target view end (docs/SUCCESSOR.md)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..geometry.cameras import NEAREST, Cameras, in_image
from ..geometry.matrices import inverse, multiply, transform
from ..geometry.tensors import TensorFields

# Cameras count as the same if they stand and look the same, to rounding: meters, and entries of rotations.
SAME_POSITION = 1e-3
SAME_ROTATION = 1e-4


@dataclass(frozen=True)
class Sources(TensorFields):
    """The S input views of a scene, from which colors are taken.

    Attributes:
        images: ``(S, 3, H, W)`` RGB in [0, 1].
        cameras: ``(S,)`` their cameras.
        distances: ``(S, H, W)`` meters along the rays to what each pixel shows, as the network estimates them.
        past: ``(S,)`` bool, whether they are views of the keyframe before; ``None`` if none can be.
        features: ``(S, C, H, W)`` features of the pixels, of the kind that is rendered; ``None`` if colors are.
    """

    images: Tensor
    cameras: Cameras
    distances: Tensor
    past: Tensor | None = None
    features: Tensor | None = None

    def same_cameras(self, cameras: Cameras) -> Tensor:
        """Tell which sources are views of the same camera from the same place: ``(V, S)`` bool, of cameras ``(V,)``."""
        differences = (cameras.cam2world[:, None] - self.cameras.cam2world).abs()
        moved = differences[..., :3, 3].amax(-1)
        turned = differences[..., :3, :3].flatten(-2).amax(-1)
        return (moved < SAME_POSITION) & (turned < SAME_ROTATION)


@dataclass(frozen=True)
class SourceSamples:
    """Where K source views show what each pixel of V target views shows, without gradient.

    Attributes:
        distances: ``(V, K, H, W)`` meters from the target's camera to the surface that the source sees there.
        misfit: ``(V, K, H, W)`` logarithm of the distance that the source sees over that of the point from the
            source: 0 where it sees the point itself, negative where something hides it.
        angles: ``(V, K, H, W)`` 1 - cosine between the rays of target and source.
        numbers: ``(V, K, H, W)`` numbers of the sources.
        inside: ``(V, K, H, W)`` whether the point is in the source's image. Elsewhere misfit and angles are 0, and the
            distance is the guess.
        u, v: ``(V, K, H, W)`` pixels of the source where the point falls; 0 outside of the image.
    """

    distances: Tensor
    misfit: Tensor
    angles: Tensor
    numbers: Tensor
    inside: Tensor
    u: Tensor
    v: Tensor

    def read(self, maps: Tensor) -> Tensor:
        """Read maps of the sources ``(S, C, H, W)`` there, bilinear: ``(V, K, C, H, W)``, 0 outside of the images.

        Maps get a gradient, places do not.
        """
        if not len(maps):
            return maps.new_zeros(*self.inside.shape[:2], maps.shape[1], *self.inside.shape[2:])
        return torch.where(self.inside[:, :, None], _bilinear(maps, self.numbers, self.u, self.v), 0.0)


@torch.no_grad()
def sample_sources(
    sources: Sources, cameras: Cameras, depth: Tensor, guess: Tensor, count: int, far: float, steps: int = 2
) -> SourceSamples:
    """Look up where rays end in the source views that see these places from the nearest direction.

    The depth of the voxels is only a guess, one for each pixel of a small map. Each source knows better how far what it
    shows is: ``steps`` times, the point is moved along its ray to where it is as far as the source says of its pixel.
    As long as parallax is small, it comes to lie on the surface that the source sees.

    Args:
        sources: the S views.
        cameras: ``(V,)`` the target views, of images of H x W.
        depth: ``(V, h, w)`` meters along the rays: sources are chosen for these points.
        guess: ``(V, H, W)`` meters along the rays, from which points are moved.
        count: K; if there are fewer sources, the others have nothing inside.
        far: the greatest distance, meters.
        steps: how often points are moved.
    """
    pairs = _Pairs.of(cameras, sources.cameras)
    found = min(count, len(sources.images))
    numbers = _resized(_nearest_views(pairs, cameras, depth, found), guess.shape[1:])
    rays = pairs.rays(cameras, numbers, guess.shape[1:])
    first = distances = guess[:, None].expand(-1, found, -1, -1)
    for step in range(steps + 1):
        points = rays.at(distances)
        seen = _nearest(sources.distances, numbers, points).clamp_min(NEAREST)
        if step < steps:
            moved = distances + (seen / points.length - 1) * points.along
            distances = torch.where(points.inside, moved.clamp(NEAREST, far), distances)
    inside = points.inside
    maps = {
        'distances': torch.where(inside, distances, first),
        'misfit': torch.where(inside, (seen / points.length).log(), 0.0),
        'angles': torch.where(inside, 1 - points.along / points.length, 0.0),
        'numbers': numbers,
        'inside': inside,
        'u': points.u,
        'v': points.v,
    }
    if found < count:
        maps = {name: _padded(values, count - found) for name, values in maps.items()}
        maps['distances'][:, found:] = guess[:, None]
    return SourceSamples(**maps)


@dataclass(frozen=True)
class _Points:
    """Points on rays ``(V, K, H, W)`` as their sources see them.

    Attributes:
        u, v: pixels; 0 outside of the image.
        inside: whether they are in the image.
        length: distance from the source, meters.
        along: its part along the target's ray, meters.
    """

    u: Tensor
    v: Tensor
    inside: Tensor
    length: Tensor
    along: Tensor


@dataclass(frozen=True)
class _Rays:
    """Rays of targets as their sources see them: a point at distance t has homogeneous pixels ``start + t * step``.

    Attributes:
        start, step: three tensors of shape ``(V, K, H, W)``, or that broadcast to it.
        offset: ``(V, K, H, W)`` squared distance between the two cameras.
        along: ``(V, K, H, W)`` the offset of the cameras along the ray.
        height, width: size of the source's image.
    """

    start: tuple[Tensor, ...]
    step: tuple[Tensor, ...]
    offset: Tensor
    along: Tensor
    height: int
    width: int

    def at(self, distances: Tensor) -> _Points:
        """Return the points at distances ``(V, K, H, W)``."""
        x, y, z = (torch.addcmul(a, distances, b) for a, b in zip(self.start, self.step, strict=True))
        depth = z.clamp_min(1e-6)
        u, v = x / depth, y / depth
        inside = in_image(u, v, z, self.height, self.width)
        along = self.along + distances
        length = torch.addcmul(self.offset, distances, self.along + along).clamp_min(NEAREST**2).sqrt()
        return _Points(torch.where(inside, u, 0.0), torch.where(inside, v, 0.0), inside, length, along)


@dataclass(frozen=True)
class _Pairs:
    """V target cameras and S sources.

    Attributes:
        matrices: ``(S, 3, 3)`` offsets in the world to homogeneous pixels of the sources.
        offsets: ``(V, S, 3)`` from the sources to the targets, in the world, meters.
        height, width: size of the sources' images.
    """

    matrices: Tensor
    offsets: Tensor
    height: int
    width: int

    @classmethod
    def of(cls, cameras: Cameras, sources: Cameras) -> _Pairs:
        matrices = multiply(sources.intrinsics, inverse(sources.cam2world[:, :3, :3]))
        offsets = cameras.cam2world[:, None, :3, 3] - sources.cam2world[:, :3, 3]
        return cls(matrices, offsets, sources.height, sources.width)

    def rays(self, cameras: Cameras, numbers: Tensor, size: tuple[int, int] | torch.Size) -> _Rays:
        """Return the rays of the targets through all pixels of maps of ``size``, for sources ``(V, K, *size)``."""
        directions = cameras.rays(*size)[1][:, None].unbind(-1)
        views = torch.arange(len(numbers), device=numbers.device)[:, None, None, None]
        pairs = views * len(self.matrices) + numbers
        starts = transform(self.matrices, self.offsets[..., None, :]).reshape(-1, 3)
        offsets = self.offsets.reshape(-1, 3)
        step = tuple(_dot(_gather(self.matrices[:, row], numbers), directions) for row in range(3))
        return _Rays(
            start=_gather(starts, pairs),
            step=step,
            offset=_gather(offsets.square().sum(1, keepdim=True), pairs)[0],
            along=_dot(_gather(offsets, pairs), directions),
            height=self.height,
            width=self.width,
        )


def _gather(table: Tensor, numbers: Tensor) -> tuple[Tensor, ...]:
    """Read rows of a small table ``(n, c)``: c tensors of the shape of ``numbers``."""
    flat = numbers.reshape(-1)
    return tuple(column.index_select(0, flat).view(numbers.shape) for column in table.T.contiguous())


def _dot(first: tuple[Tensor, ...], second: tuple[Tensor, ...]) -> Tensor:
    x, y, z = (a * b for a, b in zip(first, second, strict=True))
    return x + y + z


def _nearest_views(pairs: _Pairs, cameras: Cameras, depth: Tensor, count: int) -> Tensor:
    """Choose, for points at ``depth`` ``(V, h, w)``, the sources that see them from the nearest directions.

    Returns:
        ``(V, count, h, w)`` their numbers, the nearest first; those that do not have the point in the image come last.
    """
    total = len(pairs.matrices)
    everyone = torch.arange(total, device=depth.device)[None, :, None, None].expand(len(depth), -1, *depth.shape[1:])
    points = pairs.rays(cameras, everyone, depth.shape[1:]).at(depth[:, None])
    cosines = torch.where(points.inside, points.along / points.length, -2.0)
    return cosines.topk(count, dim=1).indices


def _resized(numbers: Tensor, size: torch.Size) -> Tensor:
    """Enlarge maps of numbers ``(V, K, h, w)``, which span the image from corner to corner, by the nearest ones."""
    rows, columns = (
        torch.linspace(0, small - 1, large, device=numbers.device).round().long()
        for small, large in zip(numbers.shape[2:], size, strict=True)
    )
    return numbers.index_select(2, rows).index_select(3, columns)


def _nearest(maps: Tensor, numbers: Tensor, points: _Points) -> Tensor:
    """Read maps ``(S, H, W)`` at the nearest pixels: a mean over an edge is a distance at which nothing is."""
    height, width = maps.shape[1:]
    x = points.u.round().long().clamp(0, width - 1)
    y = points.v.round().long().clamp(0, height - 1)
    flat = (numbers * height + y) * width + x
    return maps.reshape(-1).index_select(0, flat.reshape(-1)).view(numbers.shape)


def _bilinear(images: Tensor, numbers: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """Read images ``(S, C, H, W)`` at pixels: ``(V, K, C, H, W)``; outside the border pixels go on."""
    height, width = images.shape[2:]
    x, y = u.clamp(0, width - 1), v.clamp(0, height - 1)
    left, top = x.floor(), y.floor()
    a, b = x - left, y - top
    left, top = left.long(), top.long()
    right, bottom = (left + 1).clamp_max(width - 1), (top + 1).clamp_max(height - 1)
    upper, lower = (numbers * height + top) * width, (numbers * height + bottom) * width
    places = torch.stack([upper + left, upper + right, lower + left, lower + right], -1).view(-1, 4)
    shares = torch.stack([(1 - a) * (1 - b), a * (1 - b), (1 - a) * b, a * b], -1).view(-1, 4)
    table = images.permute(0, 2, 3, 1).reshape(-1, images.shape[1])
    read = F.embedding_bag(places, table, per_sample_weights=shares, mode='sum')
    return read.view(*numbers.shape, images.shape[1]).movedim(-1, 2)


def _padded(values: Tensor, missing: int) -> Tensor:
    """Add ``missing`` sources, of zeros, to ``(V, K, ...)``."""
    return torch.cat([values, values.new_zeros(len(values), missing, *values.shape[2:])], 1)
