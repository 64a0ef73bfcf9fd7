"""Views: images with their cameras, depth maps, masks and features."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from typing_extensions import Self

from .cameras import Cameras
from .tensors import TensorFields

# Images in [0, 1] stay below this value, images in 0 to 255 do not.
MAX_BRIGHTNESS = 10
# The range is checked on about this many rows and columns of an image.
CHECKED_ROWS = 8


@dataclass(frozen=True)
class Views(TensorFields):
    """The V views of *one* sample; a batch is a list of them, so V may differ from sample to sample.

    Unknown pixels of depth maps are NaN; a map that was not loaded is ``None``. Depth maps hold z in
    the camera frame in meters (not distance along the ray).

    Attributes:
        images: ``(V, 3, H, W)`` RGB in [0, 1].
        cameras: ``(V,)`` cameras of images of H x W.
        names: camera name of each view, such as ``CAM_FRONT``.
        frames: frame of each view relative to the current keyframe (0 current, -1 before, 1 after).
        lidar_depth: ``(V, h, w)`` sparse z of LiDAR points at the render size h x w.
        teacher_depth: ``(V, h_t, w_t)`` z from the per-scene teacher, at the size it was stored in.
        sky_mask: ``(V, h_t, w_t)`` 1 where the teacher sees sky, 0 elsewhere.
        features: ``(V, C, h_f, w_f)`` teacher features: those of the foundation model to distill.
        true_depth: ``(V, H, W)`` dense z of the ground truth, NaN in the sky (synthetic data only).
        moving: ``(V, H, W)`` 1 where something moves, 0 elsewhere, NaN where unknown (synthetic data only).
        true_classes: ``(V, h, w)`` class ids (:data:`..semantics.classes.CLASSES`) at the render size, NaN where
            unknown (synthetic data only).
        depth_features: ``(V, 128, H, W)`` frozen-depth features, an input of the coarse depth net.
        past: views of the keyframe before, of images of H x W, with poses in the same world; they need not be as many.
            ``None`` if there are none. Only input views have them, and choosing some of the views keeps them all.
    """

    images: Tensor
    cameras: Cameras
    names: tuple[str, ...]
    frames: tuple[int, ...]
    lidar_depth: Tensor | None = None
    teacher_depth: Tensor | None = None
    sky_mask: Tensor | None = None
    features: Tensor | None = None
    true_depth: Tensor | None = None
    moving: Tensor | None = None
    true_classes: Tensor | None = None
    depth_features: Tensor | None = None
    past: Views | None = None

    def __post_init__(self) -> None:
        count = len(self.images)
        if not (len(self.cameras) == len(self.names) == len(self.frames) == count):
            raise ValueError(
                f'{count} images, {len(self.cameras)} cameras, {len(self.names)} names, {len(self.frames)} frames'
            )
        _check_images(self.images, self.cameras.height, self.cameras.width)
        _check_size_of_intrinsics(self.cameras)
        if self.past is not None:
            _check_past(self, self.past)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: slice | list[int]) -> Self:
        """Select views in the order of ``index``: a slice, which copies nothing, or a list; the view axis is kept."""
        places = index if isinstance(index, slice) else list(index)
        chosen = range(len(self))[index] if isinstance(index, slice) else list(index)
        changed = {
            field.name: getattr(self, field.name)[places]
            for field in dataclasses.fields(self)
            if isinstance(getattr(self, field.name), Tensor | Cameras)
        }
        names = tuple(self.names[i] for i in chosen)
        frames = tuple(self.frames[i] for i in chosen)
        return dataclasses.replace(self, **changed, names=names, frames=frames)


def _check_past(views: Views, past: Views) -> None:
    """Check that past views can be encoded with the present ones.

    Raises:
        ValueError: there are none, their images have another size, or they have a past themselves.
    """
    if not len(past):
        raise ValueError('past has no views; give past=None where there are none')
    if past.images.shape[1:] != views.images.shape[1:]:
        raise ValueError(
            f'past images are {tuple(past.images.shape[-2:])}, the others {tuple(views.images.shape[-2:])}; '
            'give both in one size'
        )
    if past.past is not None:
        raise ValueError('past has a past of its own; give the views of one keyframe, with past=None')


def _check_images(images: Tensor, height: int, width: int) -> None:
    """Check shape and range, as far as this is possible without waiting for a device.

    Raises:
        ValueError: names the layout, size or range of the images, and how to convert them.
    """
    if tuple(images.shape[1:]) == (height, width, 3):
        raise ValueError(f'images are {tuple(images.shape)}, channels last; give images.movedim(-1, 1)')
    if tuple(images.shape[-2:]) != (height, width):
        raise ValueError(
            f'images are {tuple(images.shape[-2:])}, cameras {(height, width)}; cameras.resized(height, width) are '
            'those of resized images'
        )
    if images.dtype == torch.uint8:
        raise ValueError('images are uint8, 0 to 255; give images.float() / 255')
    if images.device.type == 'cpu' and images.numel():
        sampled = images.detach()[..., :: max(1, height // CHECKED_ROWS), :: max(1, width // CHECKED_ROWS)]
        if (brightest := sampled.max().item()) > MAX_BRIGHTNESS:
            raise ValueError(f'images reach {brightest:g}, but colors are in [0, 1]; give images / 255')


def _check_size_of_intrinsics(cameras: Cameras) -> None:
    """Check on CPUs that the principal points lie in the images; on GPUs the check would have to wait.

    Raises:
        ValueError: a principal point is right of and below its image, as those of larger images are.
    """
    if cameras.intrinsics.device.type != 'cpu' or not len(cameras):
        return
    centers = cameras.intrinsics.detach()[..., :2, 2].double()
    outside = (centers >= centers.new_tensor([cameras.width, cameras.height])).all(-1)
    if outside.any():
        cx, cy = centers[outside][0].tolist()
        raise ValueError(
            f'intrinsics have the principal point ({cx:g}, {cy:g}) outside of images of {cameras.width}x'
            f'{cameras.height}: they are those of larger images; give Cameras(intrinsics, cam2world, full_height, '
            f'full_width).resized({cameras.height}, {cameras.width})'
        )


def mirror_cameras(cameras: Cameras) -> Cameras:
    """Return the cameras that take the mirrored images of the world mirrored at x = 0.

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
    """Mirror images, cameras, all maps and the past; names stay: ``CAM_FRONT_LEFT`` then looks to the front right."""
    mirrored = {
        field.name: getattr(views, field.name).flip(-1)
        for field in dataclasses.fields(views)
        if isinstance(getattr(views, field.name), Tensor)
    }
    past = None if views.past is None else mirror_views(views.past)
    return dataclasses.replace(views, **mirrored, cameras=mirror_cameras(views.cameras), past=past)


def enlarge_views(views: Views, zoom: Tensor, corner: Tensor) -> Views:
    """Enlarge a part of each view to the size of the whole: image, camera and all maps; the past stays as it is.

    Images are read bilinearly, maps at the nearest pixel, as values between two surfaces are on neither.

    Args:
        zoom: ``(V,)`` how many times the part is enlarged, 1 or more.
        corner: ``(V, 2)`` pixel position (u, v) in the whole image of pixel (0, 0) of the part.
    """
    height, width = views.images.shape[-2:]
    changed: dict[str, Any] = {
        field.name: _enlarged_maps(value, (height, width), zoom, corner)
        for field in dataclasses.fields(views)
        if field.name != 'images' and isinstance(value := getattr(views, field.name), Tensor)
    }
    places = [_part(size, size, zoom, corner[:, axis]) for size, axis in ((width, 0), (height, 1))]
    u, v = (2 * place / max(size - 1, 1) - 1 for place, size in zip(places, (width, height), strict=True))
    grid = torch.stack([u[:, None].expand(-1, height, -1), v[:, :, None].expand(-1, -1, width)], dim=-1)
    images = F.grid_sample(views.images, grid.to(views.images), padding_mode='border', align_corners=True)
    cameras = views.cameras.enlarged(zoom.to(views.cameras.intrinsics), corner.to(views.cameras.intrinsics))
    return dataclasses.replace(views, **changed, images=images, cameras=cameras)


def _part(count: int, of_image: int, zoom: Tensor, start: Tensor) -> Tensor:
    """Return the positions ``(V, count)`` along an axis of a map from which its pixels come when a part is enlarged.

    Args:
        count: pixels of the map along the axis.
        of_image: those of the image.
        zoom, start: ``(V,)`` as in :func:`enlarge_views`, ``start`` along this axis.
    """
    steps = torch.arange(count, dtype=torch.float64, device=zoom.device)
    return start.double()[:, None] * count / of_image + steps / zoom.double()[:, None]


def _enlarged_maps(maps: Tensor, size: tuple[int, int], zoom: Tensor, corner: Tensor) -> Tensor:
    """Enlarge a part of each map ``(V, ..., h, w)`` of images of ``size`` (height, width)."""
    rows, columns = (
        _part(maps.shape[axis], size[axis], zoom, corner[:, 1 + axis]).round().long().clamp(0, maps.shape[axis] - 1)
        for axis in (-2, -1)
    )
    places = zip(maps, rows.to(maps.device), columns.to(maps.device), strict=True)
    parts = [one[..., row[:, None], column] for one, row, column in places]
    return torch.stack(parts) if parts else maps
