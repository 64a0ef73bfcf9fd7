"""Views: images with their cameras, depth maps, masks and features."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
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
