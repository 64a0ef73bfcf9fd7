"""What the depth nets are told of the camera: images alone do not say how large what they show is."""

from __future__ import annotations

import torch
from torch import Tensor

from ..geometry.cameras import Cameras

RAY_CHANNELS = 5
# Pixels: a focal length that counts as 1, so that its logarithm is small for images of the usual sizes.
USUAL_FOCAL_LENGTH = 100.0


def ray_inputs(cameras: Cameras) -> Tensor:
    """Return ``(V, 5, H, W)`` numbers of every pixel's ray, without gradient.

    x / z and y / z in the camera; the sine of its elevation over the world's horizon; the height of the camera in the
    world (over the LiDAR), meters; the logarithm of the focal length in pixels over :data:`USUAL_FOCAL_LENGTH`, which
    says how large an angle a pixel is. The last two are the same all over an image.
    """
    size = cameras.height, cameras.width
    in_camera = cameras.pixel_directions(*size)
    origins, directions = cameras.rays(*size)
    like = directions[..., 2]
    height = origins[..., 2, None, None].expand_as(like)
    log_focal = (cameras.focal_lengths() / USUAL_FOCAL_LENGTH).log()[..., None, None].expand_as(like)
    return torch.stack([in_camera[..., 0], in_camera[..., 1], like, height, log_focal], dim=-3).detach()
