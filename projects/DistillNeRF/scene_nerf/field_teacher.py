"""A trained field as a teacher."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..geometry.cameras import Cameras
from .field import SceneField, expose
from .marching import Rays
from .teacher import TeacherRendering

# A pixel shows a surface where at least so much of the light ends on one.
OPAQUE = 0.5
# Cameras of nearly the same direction are the same camera of the rig: cosine between their axes.
SAME_DIRECTION = 0.97
# Training images whose exposures a view takes, the nearest in time.
NEAREST_IMAGES = 2


@dataclass(frozen=True)
class FieldTeacher:
    """Renders a field.

    Attributes:
        field: the field.
        poses, times: ``(n, 4, 4)`` and ``(n,)`` of the training images.
    """

    field: SceneField
    poses: Tensor
    times: Tensor

    @torch.no_grad()
    def render(self, cameras: Cameras, timestamp: float) -> TeacherRendering:
        """Render all pixels of cameras ``(V,)``; exposures are those of the nearest images of the same direction."""
        views = [self._view(cameras[index : index + 1], timestamp) for index in range(len(cameras))]
        return TeacherRendering(*(torch.stack(parts) for parts in zip(*views, strict=True)))

    def _view(self, camera: Cameras, timestamp: float) -> tuple[Tensor, Tensor, Tensor]:
        height, width = camera.height, camera.width
        origins, directions = camera.rays(height, width)
        directions = directions.reshape(-1, 3).float()
        outputs = self.field.march(Rays.centered(origins.float().expand_as(directions).contiguous(), directions))
        opacity = 1 - outputs.transmittance
        distance = (outputs.distance / opacity.clamp_min(1e-6)).view(height, width)
        z = distance / camera.ray_lengths(height, width)[0].float()
        color = expose(self.field.color(outputs, directions), self._exposure(camera, timestamp)).clamp(0, 1)
        solid = opacity.view(height, width) >= OPAQUE
        sky = outputs.transmittance.view(height, width)
        return z.masked_fill(~solid, torch.nan), sky, color.T.view(3, height, width)

    def _exposure(self, camera: Cameras, timestamp: float) -> Tensor:
        """Return the mean exposure ``(1, 3, 4)`` of the nearest images in time that look the same way."""
        if not len(self.poses):
            return self.field.exposure.new_zeros(1, 3, 4)
        alike = self.poses[:, :3, 2] @ camera.cam2world[0, :3, 2].to(self.poses)
        apart = (self.times - timestamp).abs() + torch.where(alike < SAME_DIRECTION, 1e9, 0.0)
        nearest = apart.argsort(stable=True)[:NEAREST_IMAGES]
        return self.field.exposure[nearest].mean(0, keepdim=True)
