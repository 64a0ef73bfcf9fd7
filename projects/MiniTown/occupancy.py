"""Occ3D occupancy labels, voxelized from the surfaces of the town.

The grid is that of Occ3D-nuScenes (:mod:`projects.DistillNeRF.semantics.occ3d`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from projects.DistillNeRF.semantics.classes import OCC3D_CLASSES, OCC3D_ID
from projects.DistillNeRF.semantics.occ3d import FREE, LOWER, SHAPE, UPPER, VOXEL, voxel_indices

from .rig import box2world, transform

if TYPE_CHECKING:
    from .world import Town

# A voxel of any orientation is met by a grid of rays this far apart (0.4 / sqrt 2 = 0.283).
STATIC_SPACING = 0.25
OBJECT_SPACING = 0.2
# Radius of the grid's outline around the ego car.
RADIUS = float(np.hypot(40.0, 40.0))
# Casting goes on this far behind a hit; thinner layers count as one.
STEP = 5e-3
FLAT = tuple(map(OCC3D_CLASSES.index, ('driveable_surface', 'other_flat', 'sidewalk', 'terrain')))


@dataclass(frozen=True)
class SurfacePoints:
    """Points on surfaces: ``(n, 3)`` positions in the frame of the town, and their Occ3D classes ``(n,)``."""

    points: np.ndarray
    classes: np.ndarray


@dataclass(frozen=True)
class CameraView:
    """A camera of the key frame as the visibility mask needs it.

    Attributes:
        cam2ego: ``(4, 4)`` to the ego frame of the *key frame*.
        intrinsics: ``(3, 3)``.
        depth: ``(H, W)`` z in meters, NaN in the sky.
    """

    cam2ego: np.ndarray
    intrinsics: np.ndarray
    depth: np.ndarray


def crossings(
    town: Town, origins: np.ndarray, directions: np.ndarray, reach: np.ndarray, time: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Find every surface that rays cross, by casting on from behind each hit.

    Args:
        town: the world.
        origins, directions: ``(n, 3)`` rays in the frame of the town; directions are of unit length.
        reach: ``(n,)`` length of each ray, meters.
        time: when, seconds.

    Returns:
        points ``(m, 3)``, classes ``(m,)`` and instances ``(m,)`` as ``Town.cast`` gives them, and rays ``(m,)``.
    """
    found = [(np.zeros((0, 3)), np.zeros(0, np.uint8), np.zeros(0, np.int32), np.zeros(0, np.int64))]
    rays = np.arange(len(origins))
    while len(rays):
        distance, classes, instances, _ = town.cast(origins, directions, time)
        hit = distance < reach
        rays, directions, distance = rays[hit], directions[hit], distance[hit]
        points = origins[hit] + directions * distance[:, None]
        found.append((points, classes[hit], instances[hit], rays))
        origins = points + directions * STEP
        reach = reach[hit] - distance - STEP
    return tuple(np.concatenate(parts) for parts in zip(*found, strict=True))


def axis_rays(lower: np.ndarray, upper: np.ndarray, spacing: float, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Return origins and directions ``(n, 3)`` of rays along ``axis`` that fill a box with a grid of ``spacing``.

    z is crossed downwards, x and y upwards.
    """
    ticks = [np.arange(low + spacing / 2, high, spacing) for low, high in zip(lower, upper, strict=True)]
    sign = -1.0 if axis == 2 else 1.0
    ticks[axis] = np.array([upper[axis] if axis == 2 else lower[axis]])
    origins = np.stack(np.meshgrid(*ticks, indexing='ij'), axis=-1).reshape(-1, 3)
    return origins, np.broadcast_to(sign * np.eye(3)[axis], origins.shape)


def static_surface(town: Town, poses: np.ndarray, time: float) -> SurfacePoints:
    """Sample everything but the objects, within the grids of the ego poses ``(k, 4, 4)``, along three axes.

    A patch of any orientation faces at least one of the three axes, so none is missed.
    """
    positions = poses[:, :3, 3]
    lower = positions.min(axis=0) + np.array([-RADIUS, -RADIUS, LOWER[2]])
    upper = positions.max(axis=0) + np.array([RADIUS, RADIUS, UPPER[2]])
    parts = []
    for axis in range(3):
        origins, directions = axis_rays(lower, upper, STATIC_SPACING, axis)
        if axis == 2:
            gaps = np.linalg.norm(origins[:, None, :2] - positions[None, :, :2], axis=-1)
            near = gaps.min(axis=1) < RADIUS
            origins, directions = origins[near], directions[near]
        reach = np.full(len(origins), upper[axis] - lower[axis])
        points, classes, instances, rays = crossings(town, origins, directions, reach, time)
        kept = instances < 0
        if axis == 2:
            kept[kept] = _exposed(points[kept, 2], rays[kept])
        parts.append((points[kept], OCC3D_ID[classes[kept]]))
    points, classes = (np.concatenate(part) for part in zip(*parts, strict=True))
    return SurfacePoints(points, classes)


def _exposed(heights: np.ndarray, rays: np.ndarray) -> np.ndarray:
    """Return which hits of downward rays are not less than a voxel below another, as a road below a pavement."""
    order = np.lexsort((-heights, rays))
    covered = (np.diff(rays[order]) == 0) & (-np.diff(heights[order]) < VOXEL)
    exposed = np.ones(len(heights), bool)
    exposed[order[1:]] = ~covered
    return exposed


def object_surface(town: Town, pose: np.ndarray, time: float) -> SurfacePoints:
    """Sample the surfaces of all objects within the grid of the ego pose ``(4, 4)``, along the axes of their boxes."""
    origins, directions, reaches, owners = [], [], [], []
    for index, box in enumerate(town.boxes(time)):
        width, length, height = box.size
        half = np.array([length, width, height]) / 2 + STEP
        if np.linalg.norm(box.center - pose[:3, 3]) > RADIUS + np.linalg.norm(half):
            continue
        to_town = box2world(box)
        for axis in range(3):
            starts, along = axis_rays(-half, half, OBJECT_SPACING, axis)
            origins.append(transform(to_town, starts))
            directions.append(along @ to_town[:3, :3].T)
            reaches.append(np.full(len(starts), 2 * half[axis]))
            owners.append(np.full(len(starts), index))
    if not origins:
        return SurfacePoints(np.zeros((0, 3)), np.zeros(0, np.uint8))
    origins, directions, reaches, owners = map(np.concatenate, (origins, directions, reaches, owners))
    points, classes, instances, rays = crossings(town, origins, directions, reaches, time)
    own = instances == owners[rays]
    return SurfacePoints(points[own], OCC3D_ID[classes[own]])


def voxelize(points: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Vote for the class of every voxel; return uint8 ``SHAPE``.

    The class with most points wins; ground only where nothing stands on it. Voxels without surface are free.

    Args:
        points: ``(n, 3)`` on surfaces, in the ego frame.
        classes: ``(n,)`` their Occ3D classes.
    """
    indices, inside = voxel_indices(points)
    flat = np.ravel_multi_index(indices.T, SHAPE)
    votes = np.bincount(flat * FREE + classes[inside], minlength=np.prod(SHAPE) * FREE)
    votes = votes.reshape(-1, FREE)
    occupied = votes.any(axis=1)
    standing = np.delete(votes[occupied], FLAT, axis=1).any(axis=1)
    chosen = votes[occupied]
    chosen[np.ix_(standing, FLAT)] = 0
    semantics = np.full(len(votes), FREE, np.uint8)
    semantics[occupied] = chosen.argmax(axis=1)
    return semantics.reshape(SHAPE)


def without_hidden(semantics: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Return semantics ``SHAPE`` without the insides of houses and cars.

    What stays are the voxels next to the free space that is connected with ``start`` ``(3,)`` in the ego frame. Real
    labels are made from measurements and hold no more than that either.
    """
    free = semantics == FREE
    regions, _ = ndimage.label(free)
    (voxel,), _ = voxel_indices(start[None])
    region = regions[tuple(voxel)]
    if region == 0:
        raise ValueError(f'{start} lies in an occupied voxel')
    outside = ndimage.binary_dilation(regions == region, np.ones((3, 3, 3), bool))
    return np.where(outside, semantics, FREE).astype(np.uint8)


def lidar_mask(origin: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Mark the voxels that LiDAR rays pass or end in, bool ``SHAPE``.

    Args:
        origin: ``(3,)`` of the rays, in the ego frame.
        points: ``(n, 3)`` their ends.
    """
    mask = np.zeros(SHAPE, bool)
    rays = points - origin
    length = np.linalg.norm(rays, axis=-1, keepdims=True)
    rays = rays / length
    for distance in np.arange(0.0, np.linalg.norm(UPPER - LOWER), VOXEL / 2):
        rays, length = rays[length[:, 0] > distance], length[length[:, 0] > distance]
        mask[tuple(voxel_indices(origin + rays * distance)[0].T)] = True
    mask[tuple(voxel_indices(points)[0].T)] = True
    return mask


def camera_mask(semantics: np.ndarray, views: list[CameraView]) -> np.ndarray:
    """Mark the voxels that at least one camera sees, bool ``SHAPE``.

    An empty voxel is seen if its center lies in front of what its pixel shows. An occupied one is seen if the
    surface in some pixel lies in it, or if its center is in the image and the voxel beyond one of its faces toward
    the camera is seen and empty (pixels alone would leave gaps in distant ground).
    """
    mask = np.zeros(SHAPE, bool)
    empty = semantics == FREE
    for view in views:
        in_image, in_front = _project_centers(view)
        seen = in_front & empty
        facing = np.zeros(SHAPE, bool)
        camera = (view.cam2ego[:3, 3] - LOWER) / VOXEL
        for axis in range(3):
            ahead = np.arange(SHAPE[axis]) + 0.5 < camera[axis]
            along = np.moveaxis(seen, axis, 0)
            result = np.moveaxis(facing, axis, 0)
            result[:-1] |= along[1:] & ahead[:-1, None, None]
            result[1:] |= along[:-1] & ~ahead[1:, None, None]
        hits, _ = voxel_indices(transform(view.cam2ego, _unproject(view)))
        touched = np.zeros(SHAPE, bool)
        touched[tuple(hits.T)] = True
        mask |= seen | (~empty & (touched | (facing & in_image)))
    return mask


def _project_centers(view: CameraView) -> tuple[np.ndarray, np.ndarray]:
    """Mark the voxel centers that lie in the image, and those of them in front of its surfaces; bool ``SHAPE`` each."""
    ego2cam = np.linalg.inv(view.cam2ego)
    projection = (view.intrinsics @ ego2cam[:3]).astype(np.float32)
    ticks = [
        (low + VOXEL * (np.arange(count) + 0.5)).astype(np.float32) for low, count in zip(LOWER, SHAPE, strict=True)
    ]
    # The projection is linear: add up what each axis contributes.
    u, v, z = (
        row[0] * ticks[0][:, None, None] + row[1] * ticks[1][:, None] + row[2] * ticks[2] + row[3] for row in projection
    )
    height, width = view.depth.shape
    with np.errstate(divide='ignore', invalid='ignore'):
        column, line = u / z, v / z
    in_image = (z > 0) & (column >= -0.5) & (column < width - 0.5) & (line >= -0.5) & (line < height - 0.5)
    depth = np.where(np.isnan(view.depth), np.inf, view.depth)
    in_front = np.zeros(SHAPE, bool)
    pixels = np.rint(line[in_image]).astype(np.int32), np.rint(column[in_image]).astype(np.int32)
    in_front[in_image] = z[in_image] < depth[pixels]
    return in_image, in_front


def _unproject(view: CameraView) -> np.ndarray:
    """Return the surface points ``(n, 3)`` of all pixels that are not sky, in the camera frame."""
    line, column = np.nonzero(~np.isnan(view.depth))
    homogeneous = np.stack([column, line, np.ones_like(line)], axis=-1)
    return (homogeneous @ np.linalg.inv(view.intrinsics).T) * view.depth[line, column][:, None]
