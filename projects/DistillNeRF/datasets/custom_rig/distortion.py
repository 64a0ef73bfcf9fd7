"""Undo the distortion of a lens, so that the image is that of a pinhole camera."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ...utils.errors import InputError

# Models and how many coefficients they take; OpenCV's order (k1 k2 p1 p2 k3 k4 k5 k6 s1 s2 s3 s4 tx ty; k1 k2 k3 k4).
COEFFICIENTS = {'opencv': (4, 5, 8, 12, 14), 'fisheye': (4,)}
# Points along each side of the image that the new one must lie within.
BORDER_POINTS = 65
# How well the inverse must hold on the border, pixels.
LARGEST_RESIDUAL = 0.5
# The new focal length over the old one.
PLAUSIBLE_ZOOM = (0.2, 5.0)


@dataclass(frozen=True)
class Distortion:
    """Distortion of a lens.

    Attributes:
        model: one of :data:`COEFFICIENTS`.
        coefficients: its coefficients, in OpenCV's order.
    """

    model: str
    coefficients: tuple[float, ...]

    def undo(self, image: np.ndarray, intrinsics: np.ndarray, where: str) -> tuple[np.ndarray, np.ndarray]:
        """Make the image of a pinhole camera in the same place.

        The principal point stays; both focal lengths grow by one factor, just so much that every pixel is known.

        Args:
            image: ``(H, W, 3)`` distorted image.
            intrinsics: ``(3, 3)`` of the distorted image, without skew.
            where: for messages.

        Returns:
            the image ``(H, W, 3)`` and its intrinsics ``(3, 3)``.

        Raises:
            InputError: coefficients that cannot be undone on a plane.
        """
        undistortion = self.undistortion(*image.shape[:2], intrinsics, where)
        return undistortion.image(image), undistortion.pinhole

    def undistortion(self, height: int, width: int, intrinsics: np.ndarray, where: str) -> Undistortion:
        """Prepare :meth:`undo` for many images of one camera.

        Args:
            height, width: of its images, pixels.
            intrinsics: ``(3, 3)`` of the distorted images, without skew.
            where: for messages.

        Raises:
            InputError: coefficients that cannot be undone on a plane.
        """
        if intrinsics[0, 1] != 0:
            raise InputError(f'{where}: has distortion and skew, which OpenCV cannot undo together; give one of them')
        zoom = self._zoom(height, width, intrinsics)
        if zoom is None:
            raise InputError(
                f'{where}: the distortion {self.model} {list(self.coefficients)} cannot be undone within this image; '
                'correct the coefficients, or crop the image'
            )
        pinhole = intrinsics * np.array([[zoom, 1, 1], [1, zoom, 1], [1, 1, 1]])
        return Undistortion(self, intrinsics, pinhole, self._maps(intrinsics, pinhole, height, width))

    def _zoom(self, height: int, width: int, intrinsics: np.ndarray) -> float | None:
        """Return the factor of the focal length at which the new image lies within the old one; ``None``: never."""
        u, v = np.linspace(0, width - 1, BORDER_POINTS), np.linspace(0, height - 1, BORDER_POINTS)
        sides = [
            np.column_stack([np.zeros_like(v), v]),
            np.column_stack([np.full_like(v, width - 1), v]),
            np.column_stack([u, np.zeros_like(u)]),
            np.column_stack([u, np.full_like(u, height - 1)]),
        ]
        border = np.concatenate(sides)
        rays = self.rays(border, intrinsics)
        if not np.isfinite(rays).all() or np.abs(self.pixels(rays, intrinsics) - border).max() > LARGEST_RESIDUAL:
            return None
        left, right, top, bottom = np.split(rays, 4)
        inner = np.array([left[:, 0].max(), right[:, 0].min(), top[:, 1].max(), bottom[:, 1].min()])
        corners = np.linalg.inv(intrinsics) @ [[0, width - 1], [0, height - 1], [1, 1]]
        outer = np.array([corners[0, 0], corners[0, 1], corners[1, 0], corners[1, 1]])
        if not (inner * [-1, 1, -1, 1] > 0).all():
            return None
        zoom = float((outer / inner).max())
        return zoom if PLAUSIBLE_ZOOM[0] < zoom < PLAUSIBLE_ZOOM[1] else None

    def rays(self, pixels: np.ndarray, intrinsics: np.ndarray) -> np.ndarray:
        """Undistort pixels ``(n, 2)`` to positions ``(n, 2)`` on the plane z = 1."""
        points, coefficients = pixels[:, None], np.array(self.coefficients)
        criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 200, 1e-10)
        if self.model == 'fisheye':
            return cv2.fisheye.undistortPoints(points, intrinsics, coefficients, criteria=criteria)[:, 0]
        return cv2.undistortPointsIter(points, intrinsics, coefficients, None, None, criteria)[:, 0]

    def pixels(self, rays: np.ndarray, intrinsics: np.ndarray) -> np.ndarray:
        """Distort positions on the plane z = 1 to pixels: the inverse of :meth:`rays`."""
        coefficients = np.array(self.coefficients)
        if self.model == 'fisheye':
            return cv2.fisheye.distortPoints(rays[:, None], intrinsics, coefficients)[:, 0]
        points, still = np.column_stack([rays, np.ones(len(rays))]), np.zeros(3)
        return cv2.projectPoints(points, still, still, intrinsics, coefficients)[0][:, 0]

    def _maps(self, intrinsics: np.ndarray, pinhole: np.ndarray, height: int, width: int) -> tuple:
        """Return the two maps of where each pixel of the new image lies in the old one."""
        coefficients, still, size = np.array(self.coefficients), np.eye(3), (width, height)
        undistort = cv2.fisheye if self.model == 'fisheye' else cv2
        return undistort.initUndistortRectifyMap(intrinsics, coefficients, still, pinhole, size, cv2.CV_32FC1)


@dataclass(frozen=True)
class Undistortion:
    """From the images of a camera to those of a pinhole camera in the same place.

    Attributes:
        distortion: of the camera.
        intrinsics: ``(3, 3)`` of the camera.
        pinhole: ``(3, 3)`` of the pinhole camera.
        maps: where each of its pixels lies in the distorted image, as OpenCV has them.
    """

    distortion: Distortion
    intrinsics: np.ndarray
    pinhole: np.ndarray
    maps: tuple[np.ndarray, np.ndarray]

    def image(self, image: np.ndarray, labels: bool = False) -> np.ndarray:
        """Return the image of the pinhole camera, of the same size.

        Args:
            image: ``(H, W)`` or ``(H, W, 3)``.
            labels: take the nearest pixel, rather than mix four.
        """
        # Rounding may look a hundredth of a pixel beyond the border.
        interpolation = cv2.INTER_NEAREST if labels else cv2.INTER_LINEAR
        return cv2.remap(image, *self.maps, interpolation, borderMode=cv2.BORDER_REPLICATE)

    def pixels(self, pixels: np.ndarray) -> np.ndarray:
        """Return where pixels ``(n, 2)`` of the distorted image are in that of the pinhole camera."""
        rays = self.distortion.rays(pixels, self.intrinsics)
        return rays @ self.pinhole[:2, :2].T + self.pinhole[:2, 2]
