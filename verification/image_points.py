"""Points that two images of a moving camera tell: dense optical flow, triangulated with the known poses.

They stand in for LiDAR where there is none, on what stands still (``verification/nuscenes_keyframes.py``). Flow is
believed where it agrees forward and backward, ends on the epipolar line, and has enough parallax.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from projects.DistillNeRF.geometry.poses import inverse_pose

# Pixels of the images as given: between a pixel and where its flow there and back ends, and between where the flow ends
# and where the point is seen.
MOST_OFF = 1.0
# Radians between the two rays: half a pixel is then less than a tenth of the depth, with a focal length of 630 pixels.
LEAST_PARALLAX = 0.01
# Meters from the camera; what is nearer is the car itself.
NEAREST, FARTHEST = 2.0, 80.0
# Every so many pixels a point.
STRIDE = 2


@dataclass(frozen=True)
class Image:
    """An image of a calibrated camera.

    Attributes:
        gray: ``(H, W)`` uint8.
        intrinsics: ``(3, 3)`` for this size.
        cam2world: ``(4, 4)``; x right, y down, z forward, meters.
    """

    gray: np.ndarray
    intrinsics: np.ndarray
    cam2world: np.ndarray


def triangulate(first: Image, second: Image) -> np.ndarray:
    """Return points ``(n, 3)`` in the world that both images of a camera show, meters."""
    there, back = _flow(first.gray, second.gray), _flow(second.gray, first.gray)
    height, width = first.gray.shape
    y, x = (values.ravel() for values in np.mgrid[0:height:STRIDE, 0:width:STRIDE])
    start = np.stack([x, y], axis=1).astype(np.float64)
    end = start + there[y, x]
    column, row = np.rint(end).astype(int).T
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    start, end, row, column = start[inside], end[inside], row[inside], column[inside]
    agree = np.linalg.norm(end + back[row, column] - start, axis=1) < MOST_OFF
    start, end = start[agree], end[agree]
    points, distances, parallax = _between_rays(_rays(first, start), _rays(second, end), first, second)
    off = np.linalg.norm(_project(second, points) - end, axis=1)
    sharp = (parallax > LEAST_PARALLAX) & (off < MOST_OFF)
    near = (distances > NEAREST).all(1) & (distances < FARTHEST).all(1)
    return points[sharp & near]


def _flow(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the optical flow ``(H, W, 2)``, pixels."""
    solver = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    return solver.calc(first, second, None)


def _rays(image: Image, pixels: np.ndarray) -> np.ndarray:
    """Return unit directions ``(n, 3)`` in the world through pixels ``(n, 2)``."""
    ahead = np.column_stack([pixels, np.ones(len(pixels))]) @ np.linalg.inv(image.intrinsics).T
    directions = ahead @ image.cam2world[:3, :3].T
    return directions / np.linalg.norm(directions, axis=1, keepdims=True)


def _between_rays(
    first: np.ndarray, second: np.ndarray, one: Image, other: Image
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what is nearest to both of two rays, on the first.

    Args:
        first, second: ``(n, 3)`` unit directions from the two cameras.
        one, other: the images, for the places of the cameras.

    Returns:
        ``(n, 3)`` points, ``(n, 2)`` distances along the rays, ``(n,)`` angles between them, radians.
    """
    offset = other.cam2world[:3, 3] - one.cam2world[:3, 3]
    cosine = (first * second).sum(1)
    along_first, along_second = first @ offset, second @ offset
    sine2 = np.maximum(1 - cosine**2, 1e-12)
    t = (along_first - cosine * along_second) / sine2
    u = (cosine * along_first - along_second) / sine2
    return one.cam2world[:3, 3] + t[:, None] * first, np.stack([t, u], axis=1), np.sqrt(sine2)


def _project(image: Image, points: np.ndarray) -> np.ndarray:
    """Return the pixels ``(n, 2)`` of points ``(n, 3)`` in the world."""
    world2cam = inverse_pose(image.cam2world)
    x = points @ world2cam[:3, :3].T + world2cam[:3, 3]
    pixels = x @ image.intrinsics.T
    depth = np.where(np.abs(pixels[:, 2:]) > 1e-9, pixels[:, 2:], 1e-9)
    return pixels[:, :2] / depth


def points_of_rig(now: Sequence[Image], then: Sequence[Image]) -> np.ndarray:
    """Return the points ``(n, 3)`` of all cameras of a rig, each with its own image of another time."""
    return np.concatenate([triangulate(first, second) for first, second in zip(now, then, strict=True)])
