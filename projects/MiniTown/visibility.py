"""How much of each object a camera sees."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .rig import box2world, transform

if TYPE_CHECKING:
    from .world import Box, Town

# Silhouettes are counted on every second pixel in both directions.
STRIDE = 2
# Rays toward an object start this far in front of its box, meters.
_MARGIN = 0.02


def silhouettes(
    town: Town, boxes: list[Box], cam2town: np.ndarray, intrinsics: np.ndarray, instances: np.ndarray, time: float
) -> tuple[np.ndarray, np.ndarray]:
    """Count pixels of each object, on a grid of every second pixel.

    Args:
        town: the world.
        boxes: ``town.boxes(time)``.
        cam2town: ``(4, 4)`` pose of the camera.
        intrinsics: ``(3, 3)``.
        instances: ``(H, W)`` index of the object that each pixel shows, or -1.
        time: when, seconds.

    Returns:
        ``(n,)`` pixels that show the object, and ``(n,)`` pixels that would show it if nothing stood before it.
    """
    shown = instances[::STRIDE, ::STRIDE]
    lines, columns = np.mgrid[: instances.shape[0] : STRIDE, : instances.shape[1] : STRIDE]
    pixels = np.stack([columns, lines, np.ones_like(lines)], axis=-1)
    directions = pixels @ np.linalg.inv(intrinsics).T @ cam2town[:3, :3].T
    directions = directions / np.linalg.norm(directions, axis=-1, keepdims=True)
    origin, axis = cam2town[:3, 3], cam2town[:3, 2]
    widest = np.arccos((directions @ axis).min())

    visible = np.bincount(shown[shown >= 0], minlength=len(boxes))
    starts, rays, owners = [], [], []
    for index, box in enumerate(boxes):
        if not _in_cone(box, origin, axis, widest):
            continue
        entry = _entry(box, origin, directions)
        hidden = np.isfinite(entry) & (shown != index)
        rays.append(directions[hidden])
        starts.append(origin + directions[hidden] * np.maximum(entry[hidden] - _MARGIN, 0.0)[:, None])
        owners.append(np.full(hidden.sum(), index))
    if not rays:
        return visible, visible
    rays, starts, owners = (np.concatenate(part) for part in (rays, starts, owners))
    _, _, struck, _ = town.cast(starts, rays, time)
    return visible, visible + np.bincount(owners[struck == owners], minlength=len(boxes))


def _in_cone(box: Box, apex: np.ndarray, axis: np.ndarray, half_angle: float) -> bool:
    """Return whether the sphere around a box reaches into a cone."""
    toward = box.center - apex
    distance, radius = np.linalg.norm(toward), np.linalg.norm(box.size) / 2
    if distance <= radius:
        return True
    return bool(np.arccos(np.clip(toward @ axis / distance, -1.0, 1.0)) < half_angle + np.arcsin(radius / distance))


def _entry(box: Box, origin: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Return where rays enter the box, meters; ``inf`` where they miss it.

    Args:
        box: of an object.
        origin: ``(3,)`` of all rays.
        directions: ``(..., 3)`` of unit length.
    """
    town2box = np.linalg.inv(box2world(box))
    width, length, height = box.size
    half = np.array([length, width, height]) / 2
    start = transform(town2box, origin)
    along = directions @ town2box[:3, :3].T
    with np.errstate(divide='ignore'):
        first, second = (-half - start) / along, (half - start) / along
    near = np.minimum(first, second).max(axis=-1)
    far = np.maximum(first, second).min(axis=-1)
    return np.where((far > 0) & (near <= far), np.maximum(near, 0.0), np.inf)
