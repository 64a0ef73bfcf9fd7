"""Which pixels of a drive show the sky: what LiDAR tells for certain, and what looks like either elsewhere.

No labels are needed, but masks are believed where there are some. A pixel that a point falls on is solid, whatever
stands in front of that point. What is above the highest point of a column of an image is sky, if the LiDAR had beams
higher up there (:func:`.depth_layers.open_sky`). What remains, such as upper storeys, is told by its color: how often
the certain pixels of either kind have it. Where the wall below has a color of the sky (:mod:`.wall_colors`), or color
speaks against what lies around, what other places show in the same direction tells (:mod:`.sky_directions`), or nothing
is told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numba import njit
from scipy.ndimage import gaussian_filter, maximum_filter
from torch import Tensor
from typing_extensions import Self

from ..geometry.cameras import Cameras
from ..geometry.poses import inverse_pose
from ..utils.threads import map_threads
from .beams import Beams
from .depth_layers import open_sky
from .sky_directions import Directions, contradicted, tell_by_direction
from .surfaces import group_by_voxel
from .wall_colors import WallColors

# Levels of each color that are told apart, and how far, in these, colors are alike (standard deviation).
LEVELS, ALIKE = 64, 2.0
# A color of a smaller share among the certain pixels says little.
RARE = 1e-5
# What LiDAR takes for the sky is in doubt if its color has less than this certainty.
AGAINST = -30
# Fewer certain pixels of sky in a drive say nothing of its color.
FEWEST = 200
# Pixels lower than this, degrees above the horizon, are not like those that may be sky.
LOWEST = -3.0
# Of things that are farther away than LiDAR sees, most are lower than the first above it, nearly all than the second,
# meters.
FAR_HEIGHT, HIGHEST = 15.0, 25.0
# Points nearer to a camera are not drawn, z in meters.
NEAREST = 1.0
# Ends of beams are sorted into blocks of so many meters.
BLOCK = 8.0
# Elevation where no beam ended.
NONE = -90.0
# Of an int8 that stands for certainty.
CERTAIN, SURE, LIKELY = 127, 100, 64
# Floods from what is known.
SOLID, SKY = 1, 2


def label_sky(
    cameras: Sequence[Cameras],
    pixels: Tensor,
    beams: Beams | None,
    masks: Sequence[np.ndarray | None] | None = None,
) -> Tensor:
    """Tell sky from solid things.

    Args:
        cameras: of the images, for their size; upright.
        pixels: ``(n, h, w, 3)`` uint8 the images.
        beams: those that end on what stands still; None without LiDAR.
        masks: of the images, of any size, more than .5 where the sky is; these are believed. None where there is none.

    Returns:
        ``(n, h, w)`` int8 from -127, certainly solid, by 0, unknown, to 127, certainly sky. Where nothing is certain
        of either kind, colors tell nothing.
    """
    images, masks = pixels.numpy(), [None] * len(pixels) if masks is None else masks
    labels, points, solid_counts, low = _certain(cameras, images, beams, masks)
    directions = Directions.of(cameras)
    if low.any():
        labels[low & contradicted(labels, images, directions)] = 0

    open_images = [number for number, mask in enumerate(masks) if mask is None]
    if _tell_by_colors(labels, points, images, solid_counts, open_images):
        if beams is not None:
            walls = WallColors.of(cameras, images, points, beams)

            def drop_walls(number: int) -> None:
                by_color_alone = (labels[number] > 0) & (labels[number] < CERTAIN)
                labels[number][walls.tell(cameras[number], images[number], by_color_alone)] = 0

            map_threads(drop_walls, open_images)
        for label in labels:
            label[_islands(label)] = 0
        tell_by_direction(labels, points, images, directions, LIKELY, SURE)
    return torch.from_numpy(labels)


def _certain(
    cameras: Sequence[Cameras], images: np.ndarray, beams: Beams | None, masks: Sequence[np.ndarray | None]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return what masks and LiDAR tell, without colors.

    Returns:
        labels ``(n, h, w)`` int8, certain ones alone; ``(n, h, w)`` bool the pixels that a LiDAR point falls on; the
        counts of colors of what is solid and not far below the horizon; and ``(n, h, w)`` bool what LiDAR takes for the
        sky although a tall thing may be there that is farther than it reaches.
    """
    labels = np.zeros(images.shape[:3], np.int8)
    points, low = np.zeros(images.shape[:3], bool), np.zeros(images.shape[:3], bool)
    lidar = None if beams is None else _Lidar.of(beams)

    def tell(number: int) -> np.ndarray:
        """Fill in what is known of one image; return which of its pixels are solid and not far below the horizon."""
        camera, mask = cameras[number], masks[number]
        degrees = _ray_degrees(camera)
        if mask is not None:
            sky = _resized(mask, camera.height, camera.width) > 0.5
            solid = hit = ~sky
        elif lidar is not None:
            sky, solid, hit = lidar.certain(camera, degrees)
            points[number], low[number] = hit, degrees < lidar.elevation_of(HIGHEST)
        else:
            return points[number]
        labels[number][hit], labels[number][sky] = -CERTAIN, CERTAIN
        return solid & (degrees > LOWEST)

    counts = _count_colors(zip(images, map_threads(tell, range(len(images))), strict=True))
    return labels, points, counts, low


def _tell_by_colors(
    labels: np.ndarray, points: np.ndarray, images: np.ndarray, solid_counts: np.ndarray, chosen: Sequence[int]
) -> bool:
    """Tell more of the chosen images by how often the certain pixels of all have a color; in place.

    Args:
        labels: ``(n, h, w)`` int8 what masks and LiDAR tell.
        points: ``(n, h, w)`` bool the pixels that a point falls on.
        images: ``(n, h, w, 3)`` uint8 the colors.
        solid_counts: ``(LEVELS**3,)`` of the colors of what is solid.
        chosen: numbers of images.

    Returns:
        whether enough is certain of either kind.
    """

    def certainties() -> np.ndarray:
        return _by_color(_count_colors(zip(images, labels > 0, strict=True)), solid_counts)

    if min((labels > 0).sum(), solid_counts.sum()) < FEWEST:
        return False
    for change in (_drop_doubtful, _tell_by_color):
        by_color = certainties()

        def change_one(number: int, change: Callable = change, by_color: np.ndarray = by_color) -> None:
            change(labels[number], points[number], by_color[_codes(images[number])], images[number])

        map_threads(change_one, chosen)
    return True


def _drop_doubtful(labels: np.ndarray, points: np.ndarray, by_color: np.ndarray, image: np.ndarray) -> None:
    """Forget where LiDAR takes for the sky what is not: dark roofs, and houses beyond its reach, return no beam.

    Such pixels ``(h, w)`` have the color of solid things, and a flood from LiDAR points is there before one from the
    sky: clouds of that color are surrounded by the sky. Arguments are those of :func:`_tell_by_color`.
    """
    against = (labels > 0) & (by_color < AGAINST)
    if against.any():
        labels[against & (_first_flood((labels > 0) & ~against, points, image) == SOLID)] = 0


def _tell_by_color(labels: np.ndarray, points: np.ndarray, by_color: np.ndarray, image: np.ndarray) -> None:
    """Fill what LiDAR leaves open in the labels ``(h, w)`` of an image, in place.

    Args:
        labels: what LiDAR tells.
        points: ``(h, w)`` bool the pixels that a point falls on.
        by_color: ``(h, w)`` what their colors tell.
        image: ``(h, w, 3)`` the colors.
    """
    unknown = labels == 0
    labels[unknown] = by_color[unknown]
    # Windows mirror the sky, and houses are blue: below something solid, what looks like the sky is likely solid, and
    # what surely has its color may be either.
    covered = unknown & (by_color > 0) & np.logical_or.accumulate(labels < -SURE, axis=0)
    labels[covered] = 0
    # A point falls on a pixel, but may lie beyond its middle: beside the sky, what looks like it tells nothing.
    labels[points & maximum_filter(labels > SURE, 3) & (by_color > SURE)] = 0
    flood = _first_flood(labels > SURE, points, image)
    labels[(labels < 0) & ~points & (flood == SKY)] = 0
    labels[(labels > 0) & (labels <= SURE) & (flood == SOLID)] = 0
    labels[covered & (by_color <= SURE)] = -LIKELY


def _islands(labels: np.ndarray) -> np.ndarray:
    """Tell which pixels ``(h, w)`` that seem to be sky are connected neither with certain sky nor with the top.

    White walls between windows are, and the sky between leaves, so they tell nothing.
    """
    _, parts = cv2.connectedComponents((labels > 0).astype(np.uint8), connectivity=4)
    connected = np.zeros(parts.max() + 1, bool)
    connected[parts[labels == CERTAIN]] = connected[parts[0]] = True
    return (labels > 0) & ~connected[parts]


@dataclass(frozen=True)
class _Lidar:
    """What LiDAR hit, block by block: an image shows a few of these.

    Attributes:
        ends: ``(n, 3)`` ends of beams.
        elevations: ``(n,)`` of the beams, degrees.
        firsts: ``(k + 1,)`` where the ends of each block begin.
        centers, radii: ``(k, 3)`` and ``(k,)`` spheres around the ends of each block, meters.
        ceiling: elevation of the highest beams.
        reach: length of the longest, meters.
    """

    ends: np.ndarray
    elevations: np.ndarray
    firsts: np.ndarray
    centers: np.ndarray
    radii: np.ndarray
    ceiling: float
    reach: float

    @classmethod
    def of(cls, beams: Beams) -> Self:
        """Sort the ends of beams into blocks."""
        elevations = _degrees(torch.from_numpy(beams.ends - beams.origins)).numpy()
        ceiling, reach = np.percentile(elevations, 99.9), np.percentile(beams.lengths, 99.9)
        blocks = group_by_voxel(beams.ends, BLOCK)
        order = np.argsort(blocks, kind='stable')
        ends, counts = beams.ends[order], np.bincount(blocks)
        firsts = np.concatenate([[0], np.cumsum(counts)])
        low, high = (bound.reduceat(ends, firsts[:-1]) for bound in (np.minimum, np.maximum))
        radii = np.linalg.norm(high - low, axis=1) / 2
        return cls(ends, elevations[order], firsts, (low + high) / 2, radii, float(ceiling), float(reach))

    def certain(self, camera: Cameras, degrees: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Tell in ``(h, w)`` what is sky, what is solid or a pixel beside that, and what was hit.

        Args:
            camera: of the image.
            degrees: ``(h, w)`` its rays above the horizon.
        """
        highest = self._highest_beams(camera)
        around = maximum_filter(highest, 3)
        sky = open_sky(around > NONE, around, degrees, self.ceiling, self.elevation_of(FAR_HEIGHT))
        return sky, around > NONE, highest > NONE

    def elevation_of(self, height: float) -> float:
        """Return how high something appears that is so much higher than LiDAR, and as far away as this sees."""
        return float(np.degrees(np.arctan(height / self.reach)))

    def _highest_beams(self, camera: Cameras) -> np.ndarray:
        """Return the elevation ``(h, w)`` of the highest beam that ended in each pixel."""
        world2cam = inverse_pose(camera.cam2world[0].double().numpy())[:3]
        matrix = camera.intrinsics[0].double().numpy()
        chosen = _in_view(self.centers, self.radii, world2cam, matrix, camera.height, camera.width)
        highest = np.full((camera.height, camera.width), NONE)
        parts = self.firsts[:-1][chosen], self.firsts[1:][chosen]
        _draw_highest(self.ends, self.elevations, *parts, world2cam, matrix @ world2cam, highest)
        return highest


def _first_flood(sky: np.ndarray, points: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Tell of each pixel ``(h, w)`` of an image whether a flood from the sky or one from LiDAR points is there first.

    Floods rise across small differences of color first (watershed): clouds that look like houses are of the sky. Where
    there is nothing to begin a flood with, all is 0.
    """
    if not (points.any() and sky.any()):
        return np.zeros(sky.shape, np.int32)
    return cv2.watershed(np.ascontiguousarray(image), np.where(sky, SKY, SOLID * points).astype(np.int32))


def _in_view(
    centers: np.ndarray, radii: np.ndarray, world2cam: np.ndarray, intrinsics: np.ndarray, height: int, width: int
) -> np.ndarray:
    """Tell which spheres ``(k,)`` reach into the image of a camera."""
    corners = np.array([[u, v, 1] for u, v in ((0, 0), (width, 0), (width, height), (0, height))]) - [0.5, 0.5, 0]
    rays = corners @ np.linalg.inv(intrinsics).T
    planes = np.cross(rays, np.roll(rays, -1, axis=0))
    planes /= np.linalg.norm(planes, axis=1, keepdims=True)
    inside = centers @ world2cam[:, :3].T + world2cam[:, 3]
    return (inside @ planes.T > -radii[:, None] - 1e-3).all(1) & (inside[:, 2] > NEAREST - radii - 1e-3)


@njit(cache=True, nogil=True)
def _draw_highest(  # pragma: no cover - compiled
    ends, elevations, firsts, lasts, world2cam, world2image, highest
):
    """Raise each pixel ``(h, w)`` to the elevation of the highest point on it, of some parts of points ``(n, 3)``."""
    depth, one, two, three = world2cam[2], world2image[0], world2image[1], world2image[2]
    for part in range(len(firsts)):
        for n in range(firsts[part], lasts[part]):
            x, y, z = ends[n]
            if depth[0] * x + depth[1] * y + depth[2] * z + depth[3] <= NEAREST:
                continue
            scale = three[0] * x + three[1] * y + three[2] * z + three[3]
            column = (one[0] * x + one[1] * y + one[2] * z + one[3]) / scale + 0.5
            row = (two[0] * x + two[1] * y + two[2] * z + two[3]) / scale + 0.5
            if 0 <= column < highest.shape[1] and 0 <= row < highest.shape[0]:
                place = int(row), int(column)
                highest[place] = max(highest[place], elevations[n])


def _by_color(sky_counts: np.ndarray, solid_counts: np.ndarray) -> np.ndarray:
    """Return the certainty ``(LEVELS**3,)`` that a color is of the sky, from how often either kind has it."""
    shares = (
        (counts / counts.sum()).reshape(LEVELS, LEVELS, LEVELS) if counts.any() else np.zeros((LEVELS,) * 3)
        for counts in (sky_counts, solid_counts)
    )
    sky, solid = (gaussian_filter(share, ALIKE, mode='constant') for share in shares)
    return np.rint(CERTAIN * (sky - solid) / (sky + solid + RARE)).astype(np.int8).ravel()


def _count_colors(chosen: Iterable[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Count colors ``(LEVELS**3,)`` of the pixels of images ``(h, w, 3)`` that masks ``(h, w)`` choose."""
    counts = np.zeros(LEVELS**3)
    for image, mask in chosen:
        counts += np.bincount(_codes(image[mask]), minlength=LEVELS**3)
    return counts


def _codes(pixels: np.ndarray) -> np.ndarray:
    """Return the number of the color of each pixel."""
    red, green, blue = np.moveaxis(pixels.astype(np.int32) * LEVELS // 256, -1, 0)
    return (red * LEVELS + green) * LEVELS + blue


def _resized(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return a mask in another size: each pixel takes what is at its middle."""
    rows, columns = (
        ((np.arange(n) + 0.5) * size / n).astype(int) for n, size in zip((height, width), mask.shape, strict=True)
    )
    return mask[rows][:, columns]


def _ray_degrees(camera: Cameras) -> np.ndarray:
    _, directions = camera.rays(camera.height, camera.width)
    return _degrees(directions.reshape(camera.height, camera.width, 3)).numpy()


def _degrees(directions: Tensor) -> Tensor:
    """Return how high directions ``(..., 3)`` point, degrees above the horizon."""
    return torch.rad2deg(torch.atan2(directions[..., 2], directions[..., :2].norm(dim=-1)))
