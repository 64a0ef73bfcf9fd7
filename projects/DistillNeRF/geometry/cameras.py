"""Pinhole cameras.

Frames of reference: a camera looks along +z, x to the right, y down. The world is the LiDAR frame of the
current keyframe: meters, x right, y forward, z up. Pixel (0, 0) is the *center* of the top left pixel.
The depth along a ray is the distance from the camera center, not z; :meth:`Cameras.ray_lengths` converts.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import Self

from .matrices import inverse, transform
from .tensors import TensorFields

# The nearest that what a camera sees may be, meters.
NEAREST = 0.1


@dataclass(frozen=True)
class Cameras(TensorFields):
    """Any number of cameras that share one image size.

    Attributes:
        intrinsics: ``(..., 3, 3)`` pinhole matrices, in pixels of an image of ``height`` x ``width``.
        cam2world: ``(..., 4, 4)`` camera to world, meters.
        height, width: image size in pixels.

    Raises:
        ValueError: intrinsics on the CPU have no inverse; on GPUs the check would have to wait.
    """

    intrinsics: Tensor
    cam2world: Tensor
    height: int
    width: int

    def __post_init__(self) -> None:
        _check_intrinsics(self.intrinsics)

    @property
    def shape(self) -> torch.Size:
        """Return the leading shape of the cameras, such as ``(V,)``."""
        return self.cam2world.shape[:-2]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index) -> Self:
        return dataclasses.replace(self, intrinsics=self.intrinsics[index], cam2world=self.cam2world[index])

    def joined(self, others: Cameras) -> Self:
        """Return these cameras ``(V,)`` and after them others ``(W,)`` of images of the same size."""
        if (self.height, self.width) != (others.height, others.width):
            raise ValueError(
                f'cameras of images of {self.height} x {self.width} and of {others.height} x {others.width}: '
                'give those of one size'
            )
        intrinsics, poses = (
            torch.cat([self.intrinsics, others.intrinsics]),
            torch.cat([self.cam2world, others.cam2world]),
        )
        return dataclasses.replace(self, intrinsics=intrinsics, cam2world=poses)

    def resized(self, height: int, width: int) -> Self:
        """Return the cameras of the same images resized to ``height`` x ``width``.

        Follows the published convention (docs/NETWORK.md#conventions): ``pixel_new = pixel_old * new / old``
        on integer pixel positions, without a half-pixel shift.
        """
        scale = self.intrinsics.new_tensor([width / self.width, height / self.height, 1.0])
        return dataclasses.replace(self, intrinsics=scale[:, None] * self.intrinsics, height=height, width=width)

    def enlarged(self, zoom: Tensor, corner: Tensor) -> Self:
        """Return the cameras of a part of each image, enlarged to the size of the whole.

        Args:
            zoom: ``(...)`` how many times the part is enlarged.
            corner: ``(..., 2)`` pixel position (u, v) in the whole of pixel (0, 0) of the part.
        """
        change = torch.zeros_like(self.intrinsics)
        change[..., 0, 0] = change[..., 1, 1] = zoom
        change[..., :2, 2] = -zoom[..., None] * corner
        change[..., 2, 2] = 1
        return dataclasses.replace(self, intrinsics=change @ self.intrinsics)

    def focal_lengths(self) -> Tensor:
        """Return the focal lengths ``(...)``, pixels: the geometric mean of both axes."""
        return (self.intrinsics[..., 0, 0] * self.intrinsics[..., 1, 1]).abs().sqrt()

    def pixel_grid(self, rows: int, columns: int) -> Tensor:
        """Return ``(rows, columns, 2)`` pixel positions (u, v) that span the image from corner to corner."""
        like = self.intrinsics
        u = torch.linspace(0, self.width - 1, columns, dtype=like.dtype, device=like.device)
        v = torch.linspace(0, self.height - 1, rows, dtype=like.dtype, device=like.device)
        return torch.stack(torch.meshgrid(u, v, indexing='xy'), dim=-1)

    def pixel_directions(self, rows: int, columns: int) -> Tensor:
        """Return ``(..., rows, columns, 3)`` directions in the camera frame, scaled to z = 1."""
        return torch.stack(self._directions(rows, columns), dim=-1)

    def _directions(self, rows: int, columns: int) -> list[Tensor]:
        """Return x, y and z ``(..., rows, columns)`` of :meth:`pixel_directions`: on CPUs faster one by one."""
        inverses = inverse(self.intrinsics)[..., None, None]
        u, v = self.pixel_grid(rows, columns).unbind(-1)
        entries = (inverses[..., axis, :, :, :].unbind(-3) for axis in range(3))
        return [first * u + second * v + third for first, second, third in entries]

    def ray_lengths(self, rows: int, columns: int) -> Tensor:
        """Return ``(..., rows, columns)``, the distance along the ray per meter of z.

        ``distance = z * ray_lengths``.
        """
        return _length(*self._directions(rows, columns))

    def rays(self, rows: int, columns: int) -> tuple[Tensor, Tensor]:
        """Compute rays through a ``rows`` x ``columns`` grid that spans the image from corner to corner.

        Returns:
            origins ``(..., 3)`` (one per camera) and unit directions ``(..., rows, columns, 3)``, in the world.
        """
        components = self._directions(rows, columns)
        directions = torch.stack(components, dim=-1) / _length(*components)[..., None]
        rotation = self.cam2world[..., :3, :3]
        return self.cam2world[..., :3, 3], transform(rotation, directions, points=2)

    def project(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Project world points ``(n, 3)`` into every camera.

        Returns:
            pixels ``(..., n, 2)`` (u, v) and z ``(..., n)`` in the camera frame. Points with z <= 0 lie behind
            the camera: their pixels mean nothing.
        """
        in_camera = transform(inverse(self.cam2world[..., :3, :3]), points - self.cam2world[..., None, :3, 3])
        z = in_camera[..., 2]
        projected = transform(self.intrinsics, in_camera)
        return projected[..., :2] / projected[..., 2:].clamp_min(1e-9), z


def _check_intrinsics(intrinsics: Tensor) -> None:
    if intrinsics.is_cpu and (torch.linalg.det(intrinsics.detach().double()) == 0).any():
        raise ValueError('intrinsics have no inverse; give pinhole matrices [[fx, s, cx], [0, fy, cy], [0, 0, 1]]')


def _length(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Return the Euclidean length of vectors, given by their components."""
    return (x * x + y * y + z * z).sqrt()


def in_image(u: Tensor, v: Tensor, z: Tensor, height: int, width: int) -> Tensor:
    """Tell which points are before a camera, farther than :data:`NEAREST`, and in its image of ``height`` x ``width``.

    Args:
        u, v: their pixels, of any shape; an image ends half a pixel beyond the centers of its border.
        z: in the camera's frame, meters.
    """
    return (z > NEAREST) & (u > -0.5) & (u < width - 0.5) & (v > -0.5) & (v < height - 0.5)
