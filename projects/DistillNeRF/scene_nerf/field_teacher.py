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
from .feature_maps import resize_features
from .field import FieldOutputs, SceneField, expose
from .marching import Rays
from .moving_colors import warp_things
from .seen_space import SeenSpace
from .solid_pixels import SolidPixels
from .source_choice import choose_sources
from .teacher import TeacherRendering, hide_own_car, own_car_masks
from .turns import turn_between, turn_image
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
        images: the training images, in the order of its exposures, with corrected poses.
        image_size: (height, width) in which they are looked up.
        seen: what the training images saw: what lies behind unseen space is not known; None: everything is known.
        warp: whether colors are looked up in them; else the field's own are shown.
        with_features: whether features are rendered, if the field learned some.
        turns: ``(n, 3)`` by which their cameras were turned (:mod:`.turns`); None: not at all.
        solid: what is called solid in them: views of these images show no sky there; None: it is not known.
    """

    field: SceneField
    images: Sequence[DriveImage]
    image_size: tuple[int, int]
    seen: SeenSpace | None = None
    warp: bool = True
    with_features: bool = True
    turns: Tensor | None = None
    solid: SolidPixels | None = None
    _rendered: OrderedDict[str, tuple[Tensor, Tensor]] = field(default_factory=OrderedDict)

    def __post_init__(self) -> None:
        self._axes = torch.from_numpy(np.stack([image.cam2scene[:3, 2] for image in self.images]))
        self._times = torch.tensor([image.timestamp for image in self.images], dtype=torch.float64)

    def corrected(self, image: DriveImage) -> DriveImage:
        """Turn the camera of an image of the drive, one that was not trained on as those around it in time."""
        return image if self.turns is None else turn_image(image, turn_between(image, self.images, self.turns))

    @torch.no_grad()
    def render(
        self, cameras: Cameras, timestamp: float, recorded: Sequence[DriveImage | None] = ()
    ) -> TeacherRendering:
        """Render all pixels of cameras ``(V,)``; exposures are those of the nearest images of the same direction.

        The field computes where it is; what it sees is returned where the cameras are. ``recorded`` is as in
        :class:`.teacher.Teacher`.
        """
        device = cameras.cam2world.device
        cameras = cameras.to(self.field.exposure.device)
        nearest = [self._nearest(cameras[index : index + 1], timestamp) for index in range(len(cameras))]
        wanted = self.with_features and self.field.features is not None
        views = [
            self._view(cameras[i : i + 1], self._exposure(images), timestamp, wanted)
            for i, images in enumerate(nearest)
        ]
        for i, one in enumerate(recorded):
            z, sky, _, moving, _ = views[i]
            self._remember_view(one, cameras[i : i + 1], timestamp, z, sky, moving)
        *parts, features = zip(*views, strict=True)
        rendering = TeacherRendering(*(torch.stack(part) for part in parts))
        if wanted:
            rendering = replace(rendering, features=torch.stack(features))
        assert rendering.image is not None
        if not self.warp or not len(cameras):
            return self._as_recorded(rendering, recorded).to(device)
        plain = replace(rendering, features=None)
        image = [
            self._looked_up(cameras[i : i + 1], plain.map(lambda x, i=i: x[i : i + 1]), nearest[i], timestamp)
            for i in range(len(cameras))
        ]
        return self._as_recorded(replace(rendering, image=torch.cat(image)), recorded).to(device)

    def _as_recorded(self, rendering: TeacherRendering, recorded: Sequence[DriveImage | None]) -> TeacherRendering:
        """Show in views of recorded images what these tell: no sky where they are solid, and the own car."""
        return self._with_own_car(self._without_solid_sky(rendering, recorded), recorded)

    def _without_solid_sky(
        self, rendering: TeacherRendering, recorded: Sequence[DriveImage | None]
    ) -> TeacherRendering:
        """Leave no sky where training images are solid; depth stays, unknown where most of a ray goes to the sky."""
        if self.solid is None:
            return rendering
        sky, numbers = rendering.sky.clone(), self._number
        for view, image in enumerate(recorded):
            number = None if image is None else numbers.get(image.path)
            solid = None if number is None else self.solid.mask(number, *sky.shape[-2:])
            if solid is not None:
                sky[view] = sky[view].masked_fill(solid.to(sky.device), 0.0)
        return replace(rendering, sky=sky)

    def _with_own_car(self, rendering: TeacherRendering, recorded: Sequence[DriveImage | None]) -> TeacherRendering:
        """Show the own car in views of recorded images, as the nearest training image of the camera has it."""
        masks = own_car_masks(recorded, *rendering.depth.shape[-2:])
        if masks is None:
            return rendering
        assert rendering.image is not None
        image = rendering.image.clone()
        for view, (one, mask) in enumerate(zip(recorded, masks, strict=True)):
            if one is not None and mask.any():
                image[view, :, mask] = self._own_car(one, mask).to(image)
        return hide_own_car(replace(rendering, image=image), recorded)

    def _own_car(self, recorded: DriveImage, mask: Tensor) -> Tensor:
        """Return the colors ``(3, n)`` of the pixels of a mask ``(h, w)`` in the nearest training image; else NaN."""
        same = [image for image in self.images if image.camera == recorded.camera]
        if not same:
            return torch.full((3, int(mask.sum())), torch.nan)
        nearest = min(same, key=lambda image: abs(image.timestamp - recorded.timestamp))
        return torch.from_numpy(nearest.read(*mask.shape))[mask].T / 255

    def _view(
        self, camera: Cameras, exposure: Tensor, timestamp: float, with_features: bool = False
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None]:
        """Return z depth, sky, color, what moves and, if asked for, features of one camera as the field has them."""
        height, width = camera.height, camera.width

        def as_image(x: Tensor) -> Tensor:
            return x.unflatten(-1, (width, height)).mT.contiguous()

        origins, directions = camera.rays(height, width)
        # Column by column: cells above each other lie side by side in memory.
        directions = directions[0].transpose(0, 1).reshape(-1, 3).float()
        rays = Rays.centered(origins.float().expand_as(directions).contiguous(), directions)
        times = torch.full((len(rays),), timestamp, dtype=torch.float64, device=directions.device)
        outputs = march(self.field, rays, times)
        opacity = 1 - outputs.transmittance
        distance = outputs.distance / opacity.clamp_min(1e-6)
        z = as_image(distance) / camera.ray_lengths(height, width)[0].float()
        color = as_image(expose(self.field.color(outputs, directions), exposure[None]).clamp(0, 1).T)
        solid = opacity >= OPAQUE
        sky = as_image(outputs.transmittance)
        unknown = torch.zeros_like(solid)
        if self.seen is not None:
            reach = torch.where(solid, distance - self.seen.boxes.sizes[0], FAR)
            unknown = self.seen.unseen(rays.origins, directions, reach)
            hidden = as_image(unknown)
            z, sky, color = (x.masked_fill(hidden, y) for x, y in ((z, torch.nan), (sky, 0.0), (color, torch.nan)))
        features = None
        if with_features and self.field.features is not None:
            ends = self.field.ends(rays, times, outputs)
            features = as_image(self.field.features(ends).masked_fill(unknown[:, None], torch.nan).T)
            features = resize_features(features, self.field.features.size)
        moving, solid = as_image(outputs.moving), as_image(solid)
        return z.masked_fill(~solid, torch.nan), sky, color, moving, features

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
        maps, like = [self._maps(number) for number in numbers], self.field.exposure
        pixels = np.stack([image.read(*self.image_size) for image in chosen])
        cameras = [image.camera_at(*self.image_size).to(like) for image in chosen]
        sources = Sources(
            Cameras(
                torch.cat([c.intrinsics for c in cameras]), torch.cat([c.cam2world for c in cameras]), *self.image_size
            ),
            torch.from_numpy(pixels).to(like.device).permute(0, 3, 1, 2),
            torch.stack([depth for depth, _ in maps]),
            like.new_tensor([image.timestamp - timestamp for image in chosen]),
            like.new_tensor([image.camera == own.camera for image in chosen], dtype=torch.bool),
            moving=torch.stack([moving for _, moving in maps]),
            exposure=torch.stack([between(self.field.exposure[number], exposure) for number in numbers]),
        )
        camera = camera.to(torch.float32)
        depth = depth_with_sky(rendering)
        standing = warp_colors(camera, depth, sources, rendering.image, rendering.moving).image
        rendering = replace(rendering, image=standing)
        return warp_things(camera, rendering, sources, self.field.moving.things, timestamp)[None]

    @property
    def _number(self) -> dict[str, int]:
        return {image.path: number for number, image in enumerate(self.images)}

    def _maps(self, number: int) -> tuple[Tensor, Tensor]:
        """Render the depth and what moves ``(h, w)`` of a training image, or take them from before."""
        image = self.images[number]
        if image.path not in self._rendered:
            camera = image.camera_at(*self.image_size).to(self.field.exposure.device)
            z, sky, _, moving, _ = self._view(camera, self.field.exposure[number], image.timestamp)
            self._remember(image, z, sky, moving)
        self._rendered.move_to_end(image.path)
        return self._rendered[image.path]

    def _remember_view(
        self, recorded: DriveImage | None, camera: Cameras, timestamp: float, z: Tensor, sky: Tensor, moving: Tensor
    ) -> None:
        """Keep a view that is just that of a training image: its maps need not be rendered again."""
        number = None if recorded is None else self._number.get(recorded.path)
        if number is None or self.images[number].path in self._rendered:
            return
        image = self.images[number]
        own = image.camera_at(*self.image_size).to(camera.cam2world.device)
        same = all(torch.equal(getattr(own, name), getattr(camera, name)) for name in ('intrinsics', 'cam2world'))
        if same and (camera.height, camera.width) == self.image_size and timestamp == image.timestamp:
            self._remember(image, z, sky, moving)

    def _remember(self, image: DriveImage, z: Tensor, sky: Tensor, moving: Tensor) -> None:
        """Keep the depth of a training image, unknown behind the own car, and what moves in it."""
        depth = depth_with_sky(TeacherRendering(z[None], sky[None]))[0]
        own_car = torch.from_numpy(image.own_car_mask(*self.image_size)).to(depth.device)
        self._rendered[image.path] = depth.masked_fill(own_car, torch.nan), moving
        if len(self._rendered) > KEPT:
            self._rendered.popitem(last=False)


def march(field: SceneField, rays: Rays, times: Tensor) -> FieldOutputs:
    """Render rays; away from CPUs, whose kernels store no samples, only so many at a time."""
    if times.is_cpu or len(rays) <= RAYS_AT_ONCE:
        return field.march(rays, times)
    parts = [
        field.march(rays.map(lambda x, i=i: x[i : i + RAYS_AT_ONCE]), times[i : i + RAYS_AT_ONCE])
        for i in range(0, len(rays), RAYS_AT_ONCE)
    ]
    names = FieldOutputs.__dataclass_fields__
    return FieldOutputs(*(torch.cat([getattr(part, name) for part in parts]) for name in names))


def between(source: Tensor, target: Tensor) -> Tensor:
    """Return the affine map ``(3, 4)`` of colors under one exposure to those under another one."""
    identity = torch.eye(3, dtype=source.dtype, device=source.device)
    matrix = (identity + target[:, :3]) @ torch.linalg.inv(identity + source[:, :3])
    return torch.cat([matrix, target[:, 3:] - matrix @ source[:, 3:]], 1)
