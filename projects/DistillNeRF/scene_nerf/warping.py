"""Colors of recorded images, warped into another view by its depth.

A teacher knows better where things are than how they look: where its depth is right, recorded images are sharper than
anything it renders. Each pixel of a view is looked up in some images that were taken nearby, those that see another
surface there are left out, and the rest are averaged. Beside the outline of something near, depth and colors of a
source do not fit each other: what lies there counts little, and of several sources those count more that have the
color of the fallback. Else outlines would stand in the sky beside what they belong to.

All of it happens in inverse depth: it is 0 in the sky, so that the sky needs no rule of its own; on a plane it is a
linear function of the pixel, so that reading it between pixels is exact; and unknown is NaN, which spreads by itself.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from typing_extensions import Self

from ..geometry.cameras import Cameras
from ..geometry.matrices import inverse, multiply, transform
from ..geometry.tensors import TensorFields
from .alignment import align
from .exposure import apply_exposure, fit_exposure
from .teacher import TeacherRendering


@dataclass(frozen=True)
class Warping:
    """How images are warped.

    Attributes:
        tolerance: by which share the depth of a point may differ from what the depth of the source says.
        far: meters; beyond, poses and depths are not good enough to tell things apart.
        angle: degrees between two rays to a point at which a source counts half.
        apart: seconds between two images at which a source counts half.
        instant: seconds; what moves is where it was in images that are not further apart.
        other_camera: what a source counts that another camera took: it sees other colors.
        edge: what a source counts at the far side of its edges, where colors of both sides mix.
        margin: how wide that side is, as a share of the width of the source: by so much its depth may be beside it.
        agree: difference of color from the fallback, RGB in [0, 1], at which a source counts half.
        enough: sum of what the sources count at which nothing is left of the fallback.
        exposure: whether to fit the colors of sources to the fallback, where their exposure is not given.
        align: whether to move warped images onto each other (:mod:`.alignment`).
    """

    tolerance: float = 0.05
    far: float = 300.0
    angle: float = 5.0
    apart: float = 0.1
    instant: float = 0.06
    other_camera: float = 0.01
    edge: float = 0.1
    margin: float = 0.01
    agree: float = 0.05
    enough: float = 0.001
    exposure: bool = True
    align: bool = True


@dataclass(frozen=True)
class Sources(TensorFields):
    """Recorded images and what the teacher says about them; all of one size.

    Attributes:
        cameras: ``(S,)``.
        image: ``(S, 3, H, W)`` RGB, uint8 or floating-point in [0, 1].
        depth: ``(S, h, w)`` z in meters as :func:`depth_with_sky` returns it; NaN where the image must not be used
            (unknown depth, the hood of the car). It may be smaller than the image.
        seconds: ``(S,)`` time of each image minus that of the views.
        same_camera: ``(S,)`` bool, whether the camera of the views took it.
        moving: ``(S, h, w)`` share of what moves; None if nothing does.
        exposure: ``(S, 3, 4)``, affine maps of the colors to those of the views; None if not known.
    """

    cameras: Cameras
    image: Tensor
    depth: Tensor
    seconds: Tensor
    same_camera: Tensor
    moving: Tensor | None = None
    exposure: Tensor | None = None

    def __len__(self) -> int:
        return len(self.image)

    def __getitem__(self, index: slice | list[int]) -> Self:
        """Select sources."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return dataclasses.replace(self, **{name: x[index] for name, x in values.items() if x is not None})


@dataclass(frozen=True)
class Warped(TensorFields):
    """What recorded images say about views.

    Attributes:
        image: ``(V, 3, h, w)`` RGB in [0, 1], the fallback mixed in; NaN where neither knows anything.
        confidence: ``(V, h, w)`` share of the recorded images in it, 0 to 1.
    """

    image: Tensor
    confidence: Tensor


def depth_with_sky(rendering: TeacherRendering) -> Tensor:
    """Return the depth ``(V, h, w)`` of a rendering with infinity in the sky; NaN still means unknown."""
    return rendering.depth.masked_fill((rendering.sky > 0.5) & rendering.depth.isnan(), math.inf)


def warp_colors(
    cameras: Cameras,
    depth: Tensor,
    sources: Sources,
    fallback: Tensor | None = None,
    moving: Tensor | None = None,
    how: Warping | None = None,
) -> Warped:
    """Look up the colors of views in recorded images.

    Args:
        cameras: of the views, ``(V,)``, in the world of the sources; their image size is that of the depth.
        depth: ``(V, h, w)`` z in meters as :func:`depth_with_sky` returns it.
        sources: recorded images; there may be none.
        fallback: ``(V, 3, h, w)`` RGB in [0, 1] for what no source sees, as the teacher renders it; None for NaN.
        moving: ``(V, h, w)`` share of what moves: it is looked up in images of the same instant only.
        how: the settings.
    """
    how = how or Warping()
    if fallback is None:
        fallback = depth.new_full((len(depth), 3, *depth.shape[1:]), math.nan)
    if not len(sources) or not len(depth):
        return Warped(fallback, torch.zeros_like(depth))
    maps = _source_maps(sources, how)
    image = sources.image if sources.image.is_floating_point() else sources.image / 255
    image = image.to(depth.dtype)
    images, confidences = [], []
    for view in range(len(depth)):
        weights, colors = _look_up(
            cameras[view], _inverse(depth[view]), None if moving is None else moving[view], sources, image, maps, how
        )
        exposure = sources.exposure
        if exposure is None and how.exposure:
            exposure = fit_exposure(colors, fallback[view], weights)
        if exposure is not None:
            colors = apply_exposure(exposure.to(colors), colors)
        mixed, confidence = _blend(weights, colors, fallback[view], how)
        if how.align:
            weights, colors = align(colors, weights, sources.seconds, sources.same_camera, mixed)
            mixed, confidence = _blend(weights, colors, mixed, how)
        images.append(mixed)
        confidences.append(confidence)
    return Warped(torch.stack(images), torch.stack(confidences))


def _inverse(depth: Tensor) -> Tensor:
    """Return 1 / depth: 0 in the sky, NaN where the depth is NaN or none at all (0 or negative)."""
    return depth.reciprocal().masked_fill(depth <= 0, math.nan)


def _source_maps(sources: Sources, how: Warping) -> Tensor:
    """Stack what is read of sources besides colors, ``(S, 2 or 3, h, w)``: inverse depth, trust, share that moves."""
    near = _inverse(sources.depth)
    limit = how.tolerance * near + 1 / how.far
    behind = torch.zeros_like(near, dtype=torch.bool)
    for axis in (1, 2):
        size = near.shape[axis] - 2
        if size < 1:
            continue
        before, middle, after = (near.narrow(axis, k, size) for k in range(3))
        # Along planes the inverse depth does not bend; at the far side of an edge it bends up.
        behind.narrow(axis, 1, size).logical_or_(before + after - 2 * middle > limit.narrow(axis, 1, size))
    # As far as the margin reaches, what is farther than something around it is on that side, too.
    reach = max(round(how.margin * near.shape[2]), 1)
    nearest, edges = (_largest_around(x, reach) for x in (near.nan_to_num(), behind.to(near.dtype)))
    behind |= (edges > 0) & (nearest - near > limit)
    trust = torch.ones_like(near).masked_fill(behind, how.edge)
    maps = [near, trust] if sources.moving is None else [near, trust, sources.moving.to(near.dtype)]
    return torch.stack(maps, 1)


def _largest_around(values: Tensor, reach: int) -> Tensor:
    """Return the largest of values ``(S, h, w)`` within so many pixels, in rows and columns.

    It is the maximum pooling of torch, which on CPUs takes several times as long.
    """
    for axis in (1, 2):
        largest = values.clone()
        for step in range(1, min(reach, values.shape[axis] - 1) + 1):
            size = values.shape[axis] - step
            first, last = (largest.narrow(axis, start, size) for start in (0, step))
            torch.maximum(first, values.narrow(axis, step, size), out=first)
            torch.maximum(last, values.narrow(axis, 0, size), out=last)
        values = largest
    return values


def _look_up(
    camera: Cameras,
    near: Tensor,
    moving: Tensor | None,
    sources: Sources,
    image: Tensor,
    maps: Tensor,
    how: Warping,
) -> tuple[Tensor, Tensor]:
    """Look up one view of inverse depth ``near`` ``(h, w)`` in all sources.

    Returns:
        what each counts ``(S, h, w)``, 0 where it does not see the point, and its colors ``(S, 3, h, w)``.
    """
    u, v, z = project(camera, near, sources.cameras)
    height, width = sources.cameras.height, sources.cameras.width
    inside = (z > 1e-6) & (u >= -0.5) & (u <= width - 0.5) & (v >= -0.5) & (v <= height - 0.5)
    u, v = u.masked_fill(~inside, 0.0), v.masked_fill(~inside, 0.0)
    rows, columns = maps.shape[2:]
    found, trust, *rest = read_maps(maps, u * (columns / width), v * (rows / height)).unbind(1)
    expected = near / z
    seen = inside & ((found - expected).abs() <= how.tolerance * expected + 1 / how.far)
    seconds = sources.seconds.abs().to(near.dtype)[:, None, None]
    if moving is not None or rest:
        moves = torch.stack([*([] if moving is None else [moving.expand_as(found)]), *rest]).amax(0) > 0.5
        seen &= ~moves | (seconds <= how.instant)
    counts = trust * quality(camera, near, sources.cameras, how) / (1 + (seconds / how.apart) ** 2)
    counts = torch.where(sources.same_camera[:, None, None], counts, how.other_camera * counts)
    return counts.masked_fill(~seen, 0.0), read_maps(image, u, v)


def _blend(weights: Tensor, colors: Tensor, fallback: Tensor, how: Warping) -> tuple[Tensor, Tensor]:
    """Average the colors and mix the fallback in: image ``(3, h, w)`` and confidence ``(h, w)``."""
    total = weights.sum(0)
    # Where the fallback knows nothing, all agree alike.
    differs = (colors - fallback).square().mean(1).nan_to_num()
    agreeing = weights / (1 + differs / how.agree**2)
    mean = ((agreeing[:, None] * colors).sum(0) / agreeing.sum(0).clamp_min(1e-12)).clamp(0, 1)
    confidence = (total / how.enough).clamp(max=1)
    # Where one of the two is not known, the other is all there is.
    known = torch.where(fallback.isnan(), mean, fallback)
    return torch.where(total > 0, torch.lerp(known, mean, confidence), fallback), confidence


def project(camera: Cameras, near: Tensor, sources: Cameras) -> tuple[Tensor, Tensor, Tensor]:
    """Project the pixels of a view into sources: u, v, and z per meter of z in the view, ``(S, h, w)`` each."""
    world2source = inverse(sources.cam2world[:, :3, :3].double())
    rotation = multiply(world2source, camera.cam2world[:3, :3].double().expand_as(world2source))
    baseline = camera.cam2world[:3, 3].double() - sources.cam2world[:, :3, 3].double()
    to_pixels = sources.intrinsics.double()
    homography = multiply(multiply(to_pixels, rotation), inverse(camera.intrinsics.double()).expand_as(rotation))
    shift = transform(to_pixels, transform(world2source, baseline, points=0), points=0)
    x, y, z = _homogeneous(homography, shift, near)
    return x / z, y / z, z


def _homogeneous(matrices: Tensor, shifts: Tensor, near: Tensor) -> list[Tensor]:
    """Compute the rows of ``matrix @ (u, v, 1) + shift * near`` for all pixels, ``(S, h, w)`` each."""
    height, width = near.shape
    u = torch.arange(width, dtype=near.dtype, device=near.device)
    v = torch.arange(height, dtype=near.dtype, device=near.device)[:, None]
    rows = torch.cat((matrices, shifts[..., None]), -1).to(near.dtype).permute(1, 2, 0)[..., None, None]
    return [torch.addcmul(a * u + (b * v + c), shift, near) for a, b, c, shift in rows]


def quality(camera: Cameras, near: Tensor, sources: Cameras, how: Warping) -> Tensor:
    """Say how well sources show the points of a view, by the angle between rays and by resolution.

    Args:
        camera: of the view, without leading dimension.
        near: ``(h, w)`` inverse z of the view, 1 / m.
        sources: ``(S,)``.
        how: the settings.

    Returns:
        ``(S, h, w)``, 1 for a source that stands where the view does, 0 for one that sees the other side.
    """
    to_rays = inverse(camera.intrinsics.double())[None]
    baseline = sources.cam2world[:, :3, 3].double() - camera.cam2world[:3, 3].double()
    center = transform(inverse(camera.cam2world[:3, :3].double()), baseline)
    # Rays to the points per meter of z, from the view and from the sources, in the frame of the view.
    own = torch.stack(_homogeneous(to_rays, torch.zeros_like(center[:1]), torch.zeros_like(near)))
    other = torch.stack(_homogeneous(to_rays.expand(len(center), 3, 3), -center, near))
    own_square, other_square = own.square().sum(0), other.square().sum(0)
    cosine = (own * other).sum(0) * (own_square * other_square).rsqrt()
    # 1 - cos is half the squared angle.
    bent = (1 - cosine).clamp_min(0) * (2 / math.radians(how.angle) ** 2)
    focal = (camera.intrinsics[0, 0] / camera.width) / (sources.intrinsics[:, 0, 0] / sources.width)
    coarser = other_square / own_square * focal.to(near.dtype)[:, None, None].square()
    return ((1 + bent) * coarser.clamp_min(1)).reciprocal().masked_fill(cosine <= 0, 0.0)


def read_maps(maps: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """Read maps ``(S, C, H, W)`` at pixels ``(S, h, w)``, bilinear: ``(S, C, h, w)``."""
    scales = [2 / max(size - 1, 1) for size in maps.shape[2:]]
    grid = torch.stack((u * scales[1] - 1, v * scales[0] - 1), -1)
    return F.grid_sample(maps, grid, mode='bilinear', padding_mode='border', align_corners=True)
