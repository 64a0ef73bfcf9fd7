"""The mirrored world: left becomes right in the world (x of the LiDAR frame) and in every camera."""

from __future__ import annotations

import dataclasses

from torch import Tensor

from .cameras import Cameras
from .views import Views


def mirror_cameras(cameras: Cameras) -> Cameras:
    """The cameras that take the mirrored images of the world mirrored at x = 0.

    A camera is mirrored along its own x axis as well, so that it stays right-handed.
    """
    signs = cameras.cam2world.new_tensor([-1.0, 1.0, 1.0, 1.0])
    intrinsics = cameras.intrinsics.clone()
    intrinsics[..., 0, 1] = -intrinsics[..., 0, 1]
    intrinsics[..., 0, 2] = cameras.width - 1 - intrinsics[..., 0, 2]
    return dataclasses.replace(
        cameras, intrinsics=intrinsics, cam2world=signs[:, None] * cameras.cam2world * signs[None, :]
    )


def mirror_views(views: Views) -> Views:
    """Images, cameras and all maps mirrored; what looked to the front left looks to the front right, names stay."""
    mirrored = {
        field.name: getattr(views, field.name).flip(-1)
        for field in dataclasses.fields(views)
        if isinstance(getattr(views, field.name), Tensor)
    }
    return dataclasses.replace(views, **mirrored, cameras=mirror_cameras(views.cameras))
