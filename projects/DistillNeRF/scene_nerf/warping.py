"""Colors of recorded images, warped into another view by its depth.

A teacher knows better where things are than how they look: where its depth is right, recorded images are sharper than
anything it renders. Each pixel of a view is looked up in some images that were taken nearby, those that see another
surface there are left out, and the rest are averaged.

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
from .teacher import TeacherRendering


@dataclass(frozen=True)
class Settings:
    """How images are warped.

    Attributes:
        tolerance: by which share the depth of a point may differ from what the source's depth says.
        far: meters; things beyond differ by less than poses and depths are wrong.
        angle: degrees between two rays to a point that halve the weight, about.
        apart: seconds between two images that halve the weight, about.
        instant: seconds; what moves is where it was in images that are not further apart.
        enough: sum of the weights at which nothing is left of the fallback.
        bicubic: whether to read colors with a bicubic filter instead of a bilinear one.
        agreement: how far the color of a source may be from that of the others (0 to 1) before its weight
            drops to a half; 0 to average all.
    """

    tolerance: float = 0.05
    far: float = 300.0
    angle: float = 5.0
    apart: float = 1.0
    instant: float = 0.06
    enough: float = 0.1
    bicubic: bool = True
    agreement: float = 0.0
    # experiment only
    edges: bool = True
    visibility: bool = True
    resolution: float = 1.0


@dataclass(frozen=True)
class Sources(TensorFields):
    """Recorded images and what the teacher says about them; all the same size.

    Attributes:
        cameras: ``(S,)``.
        image: ``(S, 3, H, W)`` RGB, uint8 or floating-point in [0, 1].
        depth: ``(S, h, w)`` z in meters as :func:`depth_with_sky` returns it; NaN where the image must not be used
            (unknown depth, the hood of the car). Its size may differ from that of the image.
        timestamp: ``(S,)`` float64 seconds.
        moving: ``(S, h, w)`` share of what moves; None if nothing does.
        exposure: ``(S, 3, 4)``, the affine map of colors to those of the target; None for the identity.
    """

    cameras: Cameras
    image: Tensor
    depth: Tensor
    timestamp: Tensor
    moving: Tensor | None = None
    exposure: Tensor | None = None

    def __len__(self) -> int:
        return len(self.cameras)

    def __getitem__(self, index) -> Self:
        part = {
            field.name: None if (value := getattr(self, field.name)) is None else value[index]
            for field in dataclasses.fields(self)
        }
        return dataclasses.replace(self, **part)


@dataclass(frozen=True)
class Warped(TensorFields):
    """What recorded images say about views.

    Attributes:
        image: ``(V, 3, h, w)`` RGB, the fallback mixed in; NaN where neither knows anything.
        confidence: ``(V, h, w)`` share of the recorded images in it, 0 to 1.
    """

    image: Tensor
    confidence: Tensor


def depth_with_sky(rendering: TeacherRendering) -> Tensor:
    """Return the depth ``(V, h, w)`` of a rendering with infinity in the sky; NaN still means unknown."""
    return torch.where((rendering.sky > 0.5) & rendering.depth.isnan(), math.inf, rendering.depth)


def warp_colors(
    cameras: Cameras,
    depth: Tensor,
    timestamp: float,
    sources: Sources,
    fallback: Tensor | None = None,
    moving: Tensor | None = None,
    settings: Settings | None = None,
) -> Warped:
    """Look up the colors of views in recorded images.

    Args:
        cameras: of the views, ``(V,)``, whose image size is that of the depth.
        depth: ``(V, h, w)`` z in meters as :func:`depth_with_sky` returns it.
        timestamp: of the views, seconds.
        sources: recorded images in the same world; there may be none.
        fallback: ``(V, 3, h, w)`` RGB in [0, 1] for pixels that no source sees; None for NaN.
        moving: ``(V, h, w)`` share of what moves: it is looked up in images of the same instant only.
        settings: how.
    """
    settings = settings or Settings()
    if fallback is None:
        fallback = depth.new_full((len(depth), 3, *depth.shape[1:]), math.nan)
    if not len(sources):
        return Warped(fallback, torch.zeros_like(depth))
    inverse_depth = _source_inverse_depth(sources.depth, settings)
    views = []
    for view in range(len(depth)):
        weights, colors = _look_up(
            cameras[view], depth[view], timestamp, sources, inverse_depth, moving if moving is None else moving[view], settings
        )
        views.append(_blend(weights, colors, fallback[view], settings))
    images, confidences = zip(*views, strict=True)
    return Warped(torch.stack(images), torch.stack(confidences))


def _look_up(
    camera: Cameras,
    depth: Tensor,
    timestamp: float,
    sources: Sources,
    inverse_depth: Tensor,
    moving: Tensor | None,
    settings: Settings,
) -> tuple[Tensor, Tensor]:
    """Look up one view in the sources: weights ``(S, h, w)`` and colors ``(S, 3, h, w)``, 0 where not seen."""
    near = depth.reciprocal()
    u, v, z = _project(camera, near, sources.cameras)
    height, width = sources.cameras.height, sources.cameras.width
    inside = (z > 1e-6) & (u >= 0) & (u <= width - 1) & (v >= 0) & (v <= height - 1)
    grid = torch.stack((_unit(u, width), _unit(v, height)), -1)
    rows, columns = inverse_depth.shape[1:]
    small = grid
    if (rows, columns) != (height, width):
        small = torch.stack((_unit(u * (columns / width), columns), _unit(v * (rows / height), rows)), -1)
    found = _read(inverse_depth[:, None], small, 'bilinear')[:, 0]
    expected = near / z
    seen = inside & ((found - expected).abs() <= settings.tolerance * expected + 1 / settings.far)
    if not settings.visibility:
        seen = inside & depth.isfinite() | inside & depth.isinf()
    seconds = (sources.timestamp - timestamp).abs()
    if moving is not None or sources.moving is not None:
        still = torch.ones_like(seen) if moving is None else (moving <= 0.5).expand_as(seen)
        if sources.moving is not None:
            still = still & (_read(sources.moving[:, None], small, 'bilinear')[:, 0] <= 0.5)
        seen = seen & (still | (seconds <= settings.instant)[:, None, None])
    weights = torch.where(seen, _quality(camera, near, sources.cameras, seconds, settings), 0.0)
    image = sources.image if sources.image.is_floating_point() else sources.image.to(depth.dtype) / 255
    colors = _read(image.to(depth.dtype), grid, 'bicubic' if settings.bicubic else 'bilinear')
    if sources.exposure is not None:
        exposure = sources.exposure.to(depth.dtype)
        colors = torch.einsum('sij,sjhw->sihw', exposure[..., :3], colors) + exposure[..., 3, None, None]
    return weights, colors.clamp(0, 1)


def _blend(weights: Tensor, colors: Tensor, fallback: Tensor, settings: Settings) -> tuple[Tensor, Tensor]:
    """Average the colors and mix the fallback in: image ``(3, h, w)`` and confidence ``(h, w)``."""
    total = weights.sum(0)
    mean = _average(weights, colors, total)
    if settings.agreement:
        apart = (colors - mean).square().mean(1)
        agreeing = weights / (1 + apart / settings.agreement**2)
        mean = _average(agreeing, colors, agreeing.sum(0))
    confidence = (total / settings.enough).clamp(max=1)
    mixed = confidence * mean + (1 - confidence) * fallback
    # A fallback that is not known (NaN) leaves what the sources say as it is.
    mixed = torch.where((confidence == 0) | fallback.isnan().all(0) & (confidence == 0), fallback, mixed)
    return torch.where(fallback.isnan() & (confidence > 0), mean, mixed), confidence


def _average(weights: Tensor, colors: Tensor, total: Tensor) -> Tensor:
    return (weights[:, None] * colors).sum(0) / total.clamp_min(1e-12)


def _project(camera: Cameras, near: Tensor, sources: Cameras) -> tuple[Tensor, Tensor, Tensor]:
    """Return u, v and the z per meter of z in the view, ``(S, h, w)`` each, of all pixels of the view in the sources."""
    target2source, shift = _relative(camera, sources)
    to_pixels = sources.intrinsics.double()
    homography = multiply(multiply(to_pixels, target2source), inverse(camera.intrinsics.double()))
    rows = _homogeneous(homography.to(near.dtype), transform(to_pixels, shift, points=0).to(near.dtype), near)
    z = rows[2]
    return rows[0] / z, rows[1] / z, z


def _relative(camera: Cameras, sources: Cameras) -> tuple[Tensor, Tensor]:
    """Return rotation ``(S, 3, 3)`` and shift ``(S, 3)`` from the frame of one camera to those of the sources."""
    world2source = inverse(sources.cam2world[..., :3, :3].double())
    pose = camera.cam2world.double()
    rotation = multiply(world2source, pose[:3, :3].expand_as(world2source))
    return rotation, transform(world2source, pose[:3, 3] - sources.cam2world[..., :3, 3].double(), points=0)


def _homogeneous(matrices: Tensor, shifts: Tensor, near: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Compute ``matrix @ (u, v, 1) + shift * near`` for all pixels: three of ``(S, h, w)``."""
    height, width = near.shape
    u = torch.arange(width, dtype=near.dtype, device=near.device)
    v = torch.arange(height, dtype=near.dtype, device=near.device)[:, None]
    first, second, third = (
        torch.addcmul(a * u + (b * v + c), shift, near)
        for a, b, c, shift in torch.cat((matrices, shifts[..., None]), -1).permute(1, 2, 0)[..., None, None]
    )
    return first, second, third


def _quality(camera: Cameras, near: Tensor, sources: Cameras, seconds: Tensor, settings: Settings) -> Tensor:
    """Weigh sources by the angle between the rays, by how far away they are and by the time between: ``(S, h, w)``."""
    # Source centers in the frame of the view; rays from them to the point, per meter of z in the view.
    center = transform(
        inverse(camera.cam2world[:3, :3].double()), sources.cam2world[:, :3, 3].double() - camera.cam2world[:3, 3].double()
    )
    directions = inverse(camera.intrinsics.double()).to(near.dtype)[None]
    zero = center.new_zeros(1, 3).to(near.dtype)
    x, y, z = _homogeneous(directions.expand(len(sources), 3, 3), -center.to(near.dtype), near)
    a, b, c = _homogeneous(directions, zero, torch.zeros_like(near))
    own, other = a * a + b * b + c * c, x * x + y * y + z * z
    cosine = (x * a + y * b + z * c) * (own * other).rsqrt()
    # 1 - cos is half the squared angle.
    angle = (1 - cosine).clamp_min(0) * (2 / math.radians(settings.angle) ** 2)
    focal = (camera.intrinsics[0, 0] / sources.intrinsics[:, 0, 0]).to(near.dtype)[:, None, None]
    coarser = ((other / own).sqrt() * focal).clamp_min(1) ** (2 * settings.resolution)
    time = 1 + (seconds / settings.apart).to(near.dtype)[:, None, None] ** 2
    return 1 / ((1 + angle) * coarser * time)


def _source_inverse_depth(depth: Tensor, settings: Settings) -> Tensor:
    """Return the inverse depth ``(S, h, w)``, NaN at the far side of edges: colors of both sides mix there."""
    near = depth.reciprocal()
    if not settings.edges:
        return near
    threshold = settings.tolerance * near + 1 / settings.far
    behind = torch.zeros_like(near, dtype=torch.bool)
    for axis in (1, 2):
        if near.shape[axis] < 3:
            continue
        middle = near.narrow(axis, 1, near.shape[axis] - 2)
        bend = near.narrow(axis, 0, near.shape[axis] - 2) + near.narrow(axis, 2, near.shape[axis] - 2) - 2 * middle
        # On planes the inverse depth does not bend; at the far side of an edge it bends up.
        behind.narrow(axis, 1, near.shape[axis] - 2).logical_or_(bend > threshold.narrow(axis, 1, near.shape[axis] - 2))
    return near.masked_fill(behind, math.nan)


def _unit(pixels: Tensor, size: int) -> Tensor:
    """Convert pixel positions to -1 .. 1 from the center of the first to that of the last pixel."""
    return pixels * (2 / max(size - 1, 1)) - 1


def _read(maps: Tensor, grid: Tensor, mode: str) -> Tensor:
    """Read maps ``(S, C, H, W)`` at ``(S, h, w, 2)``."""
    return F.grid_sample(maps, grid, mode=mode, padding_mode='border', align_corners=True)
