"""What looks like the wall below it: upper storeys that no beam reaches have the colors of those that beams hit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit
from scipy.ndimage import minimum_filter
from typing_extensions import Self

from ..geometry.cameras import Cameras
from ..utils.threads import map_threads
from .beams import Beams

# Side of the squares of ground that walls are found in, and how many of these, along a side, share their colors.
SQUARE, SHARED = 0.5, 4
# A wall was hit this high above the lowest point within AROUND, and in so many places more than half as high, meters.
HEIGHT, AROUND, HITS = 3.0, 5.0, 3
# From a camera walls are looked for in between, meters.
FIRST, LAST = 2.0, 70.0
# At most so many pixels of a piece of wall are remembered.
REMEMBERED = 256
# A color is that of a wall if so many of its pixels, and such a share, have it within ALIKE in all channels, of 255.
LEAST, SHARE, ALIKE = 4, 0.02, 4


@dataclass(frozen=True)
class WallColors:
    """Walls on the ground and the colors of what LiDAR hit there, by pieces of ``SHARED`` squares.

    Attributes:
        corner: ``(2,)`` where the squares begin, meters.
        walls: ``(x, y)`` bool which squares have a wall.
        firsts: ``(x' * y' + 1,)`` where the colors of each piece begin.
        colors: ``(m, 3)`` uint8.
    """

    corner: np.ndarray
    walls: np.ndarray
    firsts: np.ndarray
    colors: np.ndarray

    @classmethod
    def of(cls, cameras: Sequence[Cameras], images: np.ndarray, points: np.ndarray, beams: Beams) -> Self:
        """Find walls, and their colors in the images.

        Args:
            cameras: of the images; upright.
            images: ``(n, h, w, 3)`` uint8 their colors.
            points: ``(n, h, w)`` bool the pixels that a LiDAR point falls on.
            beams: those that end on what stands still.
        """
        corner, walls = find_walls(beams.ends)
        rows, columns = _pieces(walls.shape)
        empty = cls(corner, walls, np.zeros(rows * columns + 1, np.int64), np.zeros((0, 3), np.uint8))
        found = map_threads(lambda number: empty._walls_behind(cameras[number], points[number]), range(len(cameras)))
        pieces = np.concatenate([piece for _, piece in found])
        colors = np.concatenate([image[chosen] for image, (chosen, _) in zip(images, found, strict=True)])
        kept = _evenly(pieces, REMEMBERED)
        counts = np.bincount(pieces[kept], minlength=rows * columns)
        return cls(corner, walls, np.concatenate([[0], np.cumsum(counts)]), colors[kept])

    def tell(self, camera: Cameras, image: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        """Tell which of the chosen pixels ``(h, w)`` of an image ``(h, w, 3)`` have a color of the wall below them."""
        alike = np.zeros(chosen.shape, bool)
        behind, pieces = self._walls_behind(camera, chosen)
        alike[behind] = _have_color(pieces, image[behind], _pieces(self.walls.shape)[1], self.firsts, self.colors)
        return alike

    def _walls_behind(self, camera: Cameras, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return which of the chosen pixels ``(h, w)`` look at or over a wall, and the piece of each, in their order.

        Those below the horizon do not count: they may show what stands in front.
        """
        origins, directions = camera.rays(camera.height, camera.width)
        origin = origins.reshape(-1, 3)[0].double().numpy()
        ways = directions.reshape(*chosen.shape, 3).double().numpy()
        behind = chosen & (ways[..., 2] > 0)
        begin = (origin[:2] - self.corner) / SQUARE
        pieces = _first_walls(begin, ways[behind][:, :2], self.walls, FIRST / SQUARE, LAST / SQUARE)
        behind[behind] = pieces >= 0
        return behind, pieces[pieces >= 0]


def find_walls(ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the squares of ground on which something is tall, among the ends ``(n, 3)`` of beams.

    Returns:
        ``(2,)`` the corner where the squares begin, and ``(x, y)`` bool whether a wall stands there.
    """
    corner = ends[:, :2].min(0) - SQUARE
    squares = ((ends[:, :2] - corner) / SQUARE).astype(np.int64)
    size = squares.max(0) + 2
    index = squares[:, 0] * size[1] + squares[:, 1]
    lowest, highest = np.full(size.prod(), np.inf), np.full(size.prod(), -np.inf)
    np.minimum.at(lowest, index, ends[:, 2])
    np.maximum.at(highest, index, ends[:, 2])
    ground = minimum_filter(lowest.reshape(size), 1 + 2 * round(AROUND / SQUARE), mode='nearest').ravel()
    high = np.bincount(index[ends[:, 2] > ground[index] + HEIGHT / 2], minlength=len(ground))
    # Where nothing was hit at all, highest is lower than any ground.
    return corner, ((highest > ground + HEIGHT) & (high >= HITS)).reshape(size)


def _pieces(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return how many pieces of wall there are along both sides, with one more around all."""
    return shape[0] // SHARED + 3, shape[1] // SHARED + 3


def _evenly(groups: np.ndarray, most: int) -> np.ndarray:
    """Choose, of each group ``(n,)``, at most so many members, evenly; return their indices, group by group."""
    order = np.argsort(groups, kind='stable')
    counts = np.bincount(groups, minlength=1)
    ranks = np.arange(len(groups)) - np.repeat(np.cumsum(counts) - counts, counts)
    share = np.minimum(most / np.maximum(np.repeat(counts, counts), 1), 1)
    return order[np.floor((ranks + 1) * share) > np.floor(ranks * share)]


@njit(cache=True, nogil=True)
def _first_walls(begin, ways, walls, first, last):  # pragma: no cover - compiled
    """Return the piece of the first wall in each direction ``(m, 2)`` on the ground, -1 without; lengths in squares."""
    found = np.full(len(ways), -1, np.int64)
    columns = walls.shape[1] // SHARED + 3
    for n in range(len(ways)):
        length = (ways[n, 0] ** 2 + ways[n, 1] ** 2) ** 0.5
        if length == 0:
            continue
        x, y, distance = ways[n, 0] / length, ways[n, 1] / length, first
        while distance < last:
            row, column = int(np.floor(begin[0] + distance * x)), int(np.floor(begin[1] + distance * y))
            inside = 0 <= row < walls.shape[0] and 0 <= column < walls.shape[1]
            if inside and walls[row, column]:
                found[n] = (row // SHARED + 1) * columns + column // SHARED + 1
                break
            distance += 0.5
    return found


@njit(cache=True, nogil=True)
def _have_color(pieces, pixels, columns, firsts, colors):  # pragma: no cover - compiled
    """Tell which pixels ``(m, 3)`` have a color of their piece of wall ``(m,)``, or of the eight around."""
    alike = np.zeros(len(pieces), np.bool_)
    for n in range(len(pieces)):
        same, number = 0, 0
        for row in range(-1, 2):
            # Three pieces beside each other are one after the other.
            piece = pieces[n] + row * columns
            start, stop = firsts[piece - 1], firsts[piece + 2]
            number += stop - start
            for k in range(start, stop):
                off = 0
                for channel in range(3):
                    # Of unsigned numbers, numba's differences are never below zero.
                    off = max(off, abs(np.int64(colors[k, channel]) - np.int64(pixels[n, channel])))
                same += off <= ALIKE
        alike[n] = same >= LEAST and same >= SHARE * number
    return alike
