"""A trained field as a teacher: it says where things are, and recorded images, warped by that, how they look."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from ..geometry.cameras import Cameras
from .drive import DriveImage
from .field import SceneField, expose
from .marching import RayOutputs, Rays
from .seen_space import SeenSpace
from .source_choice import choose_sources
from .teacher import TeacherRendering
from .warping import Sources, depth_with_sky, warp_colors

# A pixel shows a surface where at least so much of the light ends on one.
OPAQUE = 0.5
# Up to where unseen space hides the sky, meters: beyond, everything was seen from nearly the same place.
FAR = 100.0
# Cameras of nearly the same direction are the same camera of the rig: cosine between their axes.
SAME_DIRECTION = 0.97
# Training images whose exposures a view takes, the nearest in time.
NEAREST_IMAGES = 2
# So many rays as in a step of the training.
RAYS_AT_ONCE = 10240
# Recorded images that a view is looked up in, and how many renderings of them are kept for the next view.
SOURCES, KEPT = 6, 96


@dataclass
class FieldTeacher:
    """Renders a field.

    Attributes:
        field: the field.
        images: the training images, in the order of its exposures.
        image_size: (height, width) in which they are looked up.
        seen: what the training images saw: what lies behind unseen space is not known; None: everything is known.
        warp: whether colors are looked up in them; else the field's own are shown.
    """

    field: SceneField
    images: Sequence[DriveImage]
    image_size: tuple[int, int]
    seen: SeenSpace | None = None
    warp: bool = True
    _rendered: OrderedDict[str, Tensor] = field(default_factory=OrderedDict)

    def __post_init__(self) -> None:
        self._axes = torch.from_numpy(np.stack([image.cam2scene[:3, 2] for image in self.images]))
        self._times = torch.tensor([image.timestamp for image in self.images], dtype=torch.float64)

    @torch.no_grad()
    def render(self, cameras: Cameras, timestamp: float) -> TeacherRendering:
        """Render all pixels of cameras ``(V,)``; exposures are those of the nearest images of the same direction.

        The field computes where it is; what it sees is returned where the cameras are.
        """
        device = cameras.cam2world.device
        cameras = cameras.to(self.field.values.device)
        nearest = [self._nearest(cameras[index : index + 1], timestamp) for index in range(len(cameras))]
        views = [self._view(cameras[i : i + 1], self._exposure(images)) for i, images in enumerate(nearest)]
        rendering = TeacherRendering(*(torch.stack(parts) for parts in zip(*views, strict=True)))
        if not self.warp or not len(cameras):
            return rendering.to(device)
        assert rendering.image is not None
        image = [
            self._looked_up(cameras[i : i + 1], rendering.map(lambda x, i=i: x[i : i + 1]), nearest[i], timestamp)
            for i in range(len(cameras))
        ]
        return replace(rendering, image=torch.cat(image)).to(device)

    def _view(self, camera: Cameras, exposure: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return z depth, sky and color of one camera as the field has them."""
        height, width = camera.height, camera.width
        origins, directions = camera.rays(height, width)
        directions = directions.reshape(-1, 3).float()
        outputs = self._march(Rays.centered(origins.float().expand_as(directions).contiguous(), directions))
        opacity = 1 - outputs.transmittance
        distance = (outputs.distance / opacity.clamp_min(1e-6)).view(height, width)
        z = distance / camera.ray_lengths(height, width)[0].float()
        color = expose(self.field.color(outputs, directions), exposure[None]).clamp(0, 1)
        solid = opacity.view(height, width) >= OPAQUE
        sky = outputs.transmittance.view(height, width)
        if self.seen is not None:
            reach = torch.where(solid.flatten(), distance.flatten() - self.seen.boxes.sizes[0], FAR)
            unknown = self.seen.unseen(origins.float().expand_as(directions), directions, reach).view(height, width)
            z, sky = z.masked_fill(unknown, torch.nan), sky.masked_fill(unknown, 0.0)
        return z.masked_fill(~solid, torch.nan), sky, color.T.view(3, height, width)

    def _march(self, rays: Rays) -> RayOutputs:
        """Render rays; away from CPUs, whose kernels store no samples, only so many at a time."""
        if self.field.values.is_cpu or len(rays) <= RAYS_AT_ONCE:
            return self.field.march(rays)
        parts = [
            self.field.march(rays.map(lambda x, i=i: x[i : i + RAYS_AT_ONCE]))
            for i in range(0, len(rays), RAYS_AT_ONCE)
        ]
        return RayOutputs(*(torch.cat([getattr(part, f) for part in parts]) for f in RayOutputs.__dataclass_fields__))

    def _nearest(self, camera: Cameras, timestamp: float) -> list[int]:
        """Return the training images that look the same way, the nearest in time."""
        alike = self._axes @ camera.cam2world[0, :3, 2].double().cpu()
        apart = (self._times - timestamp).abs() + torch.where(alike < SAME_DIRECTION, 1e9, 0.0)
        return apart.argsort(stable=True)[:NEAREST_IMAGES].tolist()

    def _exposure(self, images: list[int]) -> Tensor:
        """Return the mean exposure ``(3, 4)`` of training images."""
        return self.field.exposure[images].mean(0)

    def _looked_up(self, camera: Cameras, rendering: TeacherRendering, nearest: list[int], timestamp: float) -> Tensor:
        """Return the colors ``(1, 3, h, w)`` of recorded images where the depth says what they show."""
        own = self.images[nearest[0]]
        target = replace(
            own,
            timestamp=timestamp,
            height=camera.height,
            width=camera.width,
            intrinsics=camera.intrinsics[0].double().cpu().numpy(),
            cam2scene=camera.cam2world[0].double().cpu().numpy(),
        )
        chosen = choose_sources(self.images, target, SOURCES)
        numbers = [self._number[image.path] for image in chosen]
        exposure = self._exposure(nearest)
        like, pixels = self.field.values, np.stack([image.read(*self.image_size) for image in chosen])
        cameras = [image.camera_at(*self.image_size).to(like) for image in chosen]
        sources = Sources(
            Cameras(
                torch.cat([c.intrinsics for c in cameras]), torch.cat([c.cam2world for c in cameras]), *self.image_size
            ),
            torch.from_numpy(pixels).to(like.device).permute(0, 3, 1, 2),
            torch.stack([self._depth(number) for number in numbers]),
            like.new_tensor([image.timestamp - timestamp for image in chosen]),
            like.new_tensor([image.camera == own.camera for image in chosen], dtype=torch.bool),
            exposure=torch.stack([between(self.field.exposure[number], exposure) for number in numbers]),
        )
        return warp_colors(camera.to(torch.float32), depth_with_sky(rendering), sources, rendering.image).image

    @property
    def _number(self) -> dict[str, int]:
        return {image.path: number for number, image in enumerate(self.images)}

    def _depth(self, number: int) -> Tensor:
        """Render the depth ``(h, w)`` of a training image, or take it from before."""
        image = self.images[number]
        if image.path not in self._rendered:
            camera = image.camera_at(*self.image_size).to(self.field.values.device)
            z, sky, color = self._view(camera, self.field.exposure[number])
            self._rendered[image.path] = depth_with_sky(TeacherRendering(z[None], sky[None], color[None]))[0]
            if len(self._rendered) > KEPT:
                self._rendered.popitem(last=False)
        self._rendered.move_to_end(image.path)
        return self._rendered[image.path]


def between(source: Tensor, target: Tensor) -> Tensor:
    """Return the affine map ``(3, 4)`` of colors under one exposure to those under another one."""
    identity = torch.eye(3, dtype=source.dtype, device=source.device)
    matrix = (identity + target[:, :3]) @ torch.linalg.inv(identity + source[:, :3])
    return torch.cat([matrix, target[:, 3:] - matrix @ source[:, 3:]], 1)
