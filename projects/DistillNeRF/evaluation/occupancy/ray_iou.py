"""RayIoU: what LiDAR-like rays meet first in the prediction and in the truth (docs/EVALUATION.md#rays).

The protocol is that of SparseOcc (Liu et al., ECCV 2024), in code of our own. What it leaves open, or does in a way
that one would not expect:

* The distance of a hit is where the ray *leaves* the first occupied voxel, in prediction and truth alike.
* Rays that meet nothing in the truth do not count; those that meet nothing in the prediction are missed.
* A ray that passes exactly through an edge steps along z before y, and y before x.
* Masks are not used.
* There, an origin in the voxel beyond the lower faces counts as inside; here it is outside, where it is.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numba import njit
from typing_extensions import Self

from ...geometry.poses import inverse_pose
from ...semantics.classes import OCC3D_CLASSES
from ...semantics.occ3d import FREE, LOWER, VOXEL
from .confusion import iou, means_of_known

# Largest difference of distances, meters.
THRESHOLDS = (1.0, 2.0, 4.0)
# Origins along a drive: so many, and those no farther away than this along x and along y, meters.
MOST_ORIGINS = 8
FARTHEST_ORIGIN = 39.0
# Steepest beams of the rays: those that meet a road 1 to 10 times as far away as the LiDAR is high.
DOWNWARD = 10
# Elevation of the highest beams, rad: the first one that is not lower.
HIGHEST = 0.21


def lidar_directions() -> np.ndarray:
    """Return unit vectors ``(14040, 3)`` of the rays: 39 elevations from -45 to 12.5 degrees, one azimuth per degree.

    The ten lowest beams meet a plane at distances of 1, 2, ... 10 heights; from there on the last step is repeated.
    """
    elevations = [-np.arctan(1 / distance) for distance in range(1, DOWNWARD + 1)]
    step = elevations[-1] - elevations[-2]
    while elevations[-1] < HIGHEST:
        elevations.append(elevations[-1] + step)
    elevation, azimuth = np.meshgrid(elevations, np.deg2rad(np.arange(360)), indexing='ij')
    level = np.cos(elevation)
    directions = np.stack([level * np.cos(azimuth), level * np.sin(azimuth), np.sin(elevation)], -1).reshape(-1, 3)
    # Those along an axis are exactly so.
    directions[np.abs(directions) < 1e-12] = 0
    return directions


def drive_origins(lidar2global: np.ndarray, ego2global: np.ndarray) -> np.ndarray:
    """Return where the LiDAR is along a drive, seen from one of its frames: at most 8 places ``(n, 3)``, ego frame.

    Args:
        lidar2global: ``(n, 4, 4)`` poses of the LiDAR in the keyframes of a scene, in order of time.
        ego2global: ``(4, 4)`` pose of the ego at the frame of the grid.
    """
    places = (inverse_pose(ego2global) @ lidar2global[:, :, 3:])[:, :3, 0]
    near = places[(np.abs(places[:, :2]) < FARTHEST_ORIGIN).all(1)]
    if len(near) <= MOST_ORIGINS:
        return near
    return near[np.round(np.linspace(0, len(near) - 1, MOST_ORIGINS)).astype(int)]


def cast_rays(semantics: np.ndarray, origin: np.ndarray, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the first occupied voxel on each ray.

    Args:
        semantics: ``(X, Y, Z)`` uint8 class numbers, from :data:`...semantics.occ3d.LOWER` on.
        origin: ``(3,)`` meters in the ego frame, in the grid or outside.
        directions: ``(n, 3)`` unit vectors.

    Returns:
        distance ``(n,)`` at which the ray leaves that voxel, meters, infinite where it meets none; and its class
        ``(n,)`` uint8, free where it meets none.
    """
    distances = np.full(len(directions), np.inf)
    classes = np.full(len(directions), FREE, np.uint8)
    start = (np.asarray(origin, np.float64) - LOWER) / VOXEL
    _cast(np.ascontiguousarray(semantics), start, np.ascontiguousarray(directions), FREE, distances, classes)
    return distances * VOXEL, classes


@dataclass
class RayCounts:
    """How many rays met each class, and in how many of them the prediction is right.

    Counts of parts of a data set, such as those of several ranks, are merged by ``+``.

    Attributes:
        truth: ``(17,)`` int64, rays that meet each class in the truth.
        predicted: ``(17,)`` the same in the prediction, of rays that meet anything in the truth.
        correct: ``(3, 17)`` of these, rays with the true class and a distance within each of :data:`THRESHOLDS`.
    """

    truth: np.ndarray = field(default_factory=lambda: np.zeros(FREE, np.int64))
    predicted: np.ndarray = field(default_factory=lambda: np.zeros(FREE, np.int64))
    correct: np.ndarray = field(default_factory=lambda: np.zeros((len(THRESHOLDS), FREE), np.int64))

    def add(
        self, prediction: np.ndarray, truth: np.ndarray, origins: np.ndarray, directions: np.ndarray | None = None
    ) -> None:
        """Count the rays of a frame.

        Args:
            prediction, truth: ``(X, Y, Z)`` uint8 class numbers.
            origins: ``(m, 3)`` meters in the ego frame.
            directions: ``(n, 3)`` unit vectors; None: those of :func:`lidar_directions`.

        Raises:
            ValueError: shapes differ.
        """
        if prediction.shape != truth.shape:
            raise ValueError(f'the prediction is {prediction.shape}, the truth {truth.shape}')
        directions = lidar_directions() if directions is None else directions
        for origin in origins:
            distance, true_class = cast_rays(truth, origin, directions)
            counts = true_class != FREE
            distance, true_class = distance[counts], true_class[counts]
            predicted_distance, predicted_class = cast_rays(prediction, origin, directions[counts])
            self.truth += _histogram(true_class)
            self.predicted += _histogram(predicted_class)
            same = predicted_class == true_class
            error = np.abs(predicted_distance[same] - distance[same])
            for number, threshold in enumerate(THRESHOLDS):
                self.correct[number] += _histogram(true_class[same][error < threshold])

    def __add__(self, other: Self) -> Self:
        """Return the counts of both parts of a data set."""
        return type(self)(self.truth + other.truth, self.predicted + other.predicted, self.correct + other.correct)

    def ious(self) -> np.ndarray:
        """Return the IoU ``(3, 17)`` of each threshold and class; NaN for what no ray meets in prediction and truth."""
        return _ray_ious(self.truth, self.predicted, self.correct)

    def absent(self) -> list[str]:
        """Return the names of the classes that no ray meets: no mean has them."""
        return [OCC3D_CLASSES[number] for number in np.flatnonzero(self.truth + self.predicted == 0)]

    def scores(self) -> dict[str, float]:
        """Return ``ray_iou_1m``, ``ray_iou_2m``, ``ray_iou_4m`` (means over classes), and ``ray_iou``, their mean."""
        return {name: float(value) for name, value in ray_scores(self.truth, self.predicted, self.correct).items()}


def ray_scores(truth: np.ndarray, predicted: np.ndarray, correct: np.ndarray) -> dict[str, np.ndarray]:
    """Return the :meth:`RayCounts.scores` ``(...)`` of counts ``(..., 17)``, ``(..., 17)`` and ``(..., 3, 17)``."""
    means = means_of_known(_ray_ious(truth, predicted, correct))
    names = [f'ray_iou_{threshold:g}m' for threshold in THRESHOLDS]
    return {'ray_iou': means.mean(-1), **{name: means[..., number] for number, name in enumerate(names)}}


def _ray_ious(truth: np.ndarray, predicted: np.ndarray, correct: np.ndarray) -> np.ndarray:
    """Return the IoU ``(..., 3, 17)`` of counts as :func:`ray_scores` takes them."""
    return iou(correct, truth[..., None, :], predicted[..., None, :])


def _histogram(classes: np.ndarray) -> np.ndarray:
    """Count each class but free."""
    return np.bincount(classes, minlength=FREE + 1)[:FREE]


@njit(cache=True, nogil=True, error_model='numpy')
def _cast(semantics, origin, directions, free, distances, classes):
    """Walk along each ray from voxel to voxel (Amanatides and Woo, 1987), in units of voxels.

    Args:
        semantics: ``(X, Y, Z)`` uint8.
        origin: ``(3,)`` float64; voxel (0, 0, 0) is from 0 to 1.
        directions: ``(n, 3)`` float64.
        free: class of empty voxels.
        distances, classes: ``(n,)``, set where a ray meets something.
    """
    inside = np.empty(3, np.int64)
    for n in range(len(directions)):
        enter = _enter(semantics.shape, origin, directions[n])
        if enter == np.inf:
            continue
        for axis in range(3):
            first = int(np.floor(origin[axis] + enter * directions[n, axis]))
            inside[axis] = min(max(first, 0), semantics.shape[axis] - 1)
        x, y, z = inside
        step_x, ahead_x, inverse_x = _along(directions[n, 0])
        step_y, ahead_y, inverse_y = _along(directions[n, 1])
        step_z, ahead_z, inverse_z = _along(directions[n, 2])
        while 0 <= x < semantics.shape[0] and 0 <= y < semantics.shape[1] and 0 <= z < semantics.shape[2]:
            found = semantics[x, y, z]
            leave_x = (x + ahead_x - origin[0]) * inverse_x if step_x != 0 else np.inf
            leave_y = (y + ahead_y - origin[1]) * inverse_y if step_y != 0 else np.inf
            leave_z = (z + ahead_z - origin[2]) * inverse_z if step_z != 0 else np.inf
            if found != free:
                distances[n] = min(leave_x, leave_y, leave_z)
                classes[n] = found
                break
            if leave_x < leave_y and leave_x < leave_z:
                x += step_x
            elif leave_y < leave_z:
                y += step_y
            else:
                z += step_z


@njit(inline='always')
def _along(slope):
    """Return the step to the next voxel, which of its faces is ahead (0 or 1), and the inverse of the slope."""
    if slope == 0:
        return 0, 0, np.inf
    return (1, 1, 1 / slope) if slope > 0 else (-1, 0, 1 / slope)


@njit(inline='always')
def _enter(shape, origin, direction):
    """Return the distance at which a ray enters the grid, 0 in it; infinite if it never does."""
    enter, leave = 0.0, np.inf
    for axis in range(3):
        if direction[axis] == 0:
            if origin[axis] < 0 or origin[axis] >= shape[axis]:
                return np.inf
        else:
            one, other = -origin[axis] / direction[axis], (shape[axis] - origin[axis]) / direction[axis]
            enter, leave = max(enter, min(one, other)), min(leave, max(one, other))
    return enter if enter < leave else np.inf
