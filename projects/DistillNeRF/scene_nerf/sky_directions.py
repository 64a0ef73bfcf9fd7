"""What a drive shows in one direction from several places: the sky looks the same, things that are near do not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from typing_extensions import Self

from ..geometry.cameras import Cameras
from ..utils.threads import map_threads

# Directions are told apart by so many degrees, of azimuth and of elevation; only those above the horizon.
DEGREES = 0.5
# Images from places nearer to each other than this count as one, meters.
APART = 1.0
# The color of the sky in a direction is known if it was told at so many places.
TOLD = 2
# A pixel within NEAR of it, out of 255 and in all channels, shows the sky; one beyond FAR does not.
NEAR, FAR = 12.0, 24.0
# Where it is not known, what has one color (standard deviation) from so many places is the sky.
STEADY, PLACES = 4.0, 8
# So many places may contradict what LiDAR takes for the sky.
CONTRADICTING = 3


@dataclass(frozen=True)
class Directions:
    """Where the pixels of a drive look, and from where.

    Attributes:
        bins: of each image, ``(h, w)`` the direction of each pixel; 0 is below the horizon.
        places: ``(n,)`` the number of the place of each image.
    """

    bins: list[np.ndarray]
    places: np.ndarray

    @classmethod
    def of(cls, cameras: Sequence[Cameras]) -> Self:
        """Sort the pixels of the cameras of all images."""
        positions = np.stack([camera.cam2world[0, :3, 3].numpy() for camera in cameras])
        return cls(map_threads(_bins, cameras), _places(positions))


def contradicted(labels: np.ndarray, images: np.ndarray, directions: Directions) -> np.ndarray:
    """Tell where what is called sky has another color than the sky of its direction has from several places.

    Args:
        labels: ``(n, h, w)`` int8 what is known: positive is sky.
        images: ``(n, h, w, 3)`` uint8 the colors.
        directions: of their pixels.

    Returns:
        ``(n, h, w)`` bool.
    """
    told = DirectionColors.of(images, directions.bins, directions.places, lambda number: labels[number] > 0)
    found = np.zeros(labels.shape, bool)

    def find(number: int) -> None:
        where = directions.bins[number]
        known = told.places[where] >= CONTRADICTING
        found[number] = (labels[number] > 0) & known & (told.distance(images[number], where) > NEAR)

    map_threads(find, range(len(images)))
    return found


def tell_by_direction(
    labels: np.ndarray,
    points: np.ndarray,
    images: np.ndarray,
    directions: Directions,
    likely: int,
    sure: int,
) -> None:
    """Tell more of what looks like both kinds, in place: at other times its direction may be free.

    Of a drive that stands, images of one place tell nothing.

    Args:
        labels: ``(n, h, w)`` int8 what is known: positive is sky, negative is solid, 0 is neither.
        points: ``(n, h, w)`` bool pixels that a LiDAR point falls on; they stay as they are.
        images: ``(n, h, w, 3)`` uint8 the colors.
        directions: of their pixels.
        likely: certainty of what this tells; labels of at most this certainty may change.
        sure: certainty from which on a label is beyond doubt.
    """
    bins, places = directions.bins, directions.places
    told = DirectionColors.of(images, bins, places, lambda number: labels[number] > 0)
    left = np.zeros(labels.shape, bool)

    def tell(number: int) -> None:
        label, where = labels[number], bins[number]
        known, off = told.places[where] >= TOLD, told.distance(images[number], where)
        near, far = known & (off < NEAR), known & (off > FAR)
        free = (label <= 0) & (label >= -likely) & ~points[number] & (where > 0)
        solid = (label == 0) & far & ~points[number]
        label[(label > 0) & (label <= sure) & far] = 0
        label[free & near], label[solid] = likely, -likely
        left[number] = free & (label == 0)

    map_threads(tell, range(len(images)))
    seen = DirectionColors.of(images, bins, places, lambda number: labels[number] > -sure)

    def tell_steady(number: int) -> None:
        where = bins[number]
        steady = (seen.places[where] >= PLACES) & (seen.spread[where] < STEADY)
        labels[number][left[number] & steady & (seen.distance(images[number], where) < 2 * STEADY)] = likely

    map_threads(tell_steady, range(len(images)))


@dataclass(frozen=True)
class DirectionColors:
    """The colors of directions: means of places, so that where a car waits counts once.

    Attributes:
        places: ``(b,)`` at how many a direction was seen; none at all of bin 0, which is below the horizon.
        mean: ``(b, 3)`` color.
        spread: ``(b,)`` standard deviation of the channel that varies most.
    """

    places: np.ndarray
    mean: np.ndarray
    spread: np.ndarray

    @classmethod
    def of(
        cls,
        images: np.ndarray,
        bins: Sequence[np.ndarray],
        places: np.ndarray,
        chosen: Callable[[int], np.ndarray],
    ) -> Self:
        """Gather the pixels of images that ``chosen(number)`` tells, ``(h, w)`` bool."""
        size = _num_bins()
        count, total, squares = np.zeros(size, int), np.zeros((size, 3)), np.zeros((size, 3))
        for place in range(places.max(initial=-1) + 1):
            here = [(number, chosen(number) & (bins[number] > 0)) for number in np.flatnonzero(places == place)]
            where = np.concatenate([bins[number][used] for number, used in here])
            colors = np.concatenate([images[number][used] for number, used in here])
            pixels = np.bincount(where, minlength=size)
            sums = np.stack([np.bincount(where, channel, size) for channel in colors.T], 1)
            mean = sums / np.maximum(pixels, 1)[:, None]
            count += pixels > 0
            total += mean
            squares += mean**2
        divisor = np.maximum(count, 1)[:, None]
        mean = total / divisor
        return cls(count, mean, np.sqrt(np.maximum(squares / divisor - mean**2, 0)).max(1))

    def distance(self, image: np.ndarray, bins: np.ndarray) -> np.ndarray:
        """Return how far the colors ``(h, w, 3)`` of an image are from those of their directions ``(h, w)``."""
        off = np.zeros(bins.shape)
        for channel, mean in enumerate(self.mean.T):
            np.maximum(off, np.abs(image[..., channel] - mean[bins]), out=off)
        return off


def _num_bins() -> int:
    return 1 + round(90 / DEGREES) * round(360 / DEGREES)


def _bins(camera: Cameras) -> np.ndarray:
    """Return the bin ``(h, w)`` of each pixel's direction; 0 is below the horizon."""
    _, directions = camera.rays(camera.height, camera.width)
    x, y, z = directions.reshape(camera.height, camera.width, 3).unbind(-1)
    rows, columns = round(90 / DEGREES), round(360 / DEGREES)
    row = (z.atan2(x.hypot(y)).rad2deg() / DEGREES).clamp(max=rows - 1).floor().int()
    column = (y.atan2(x).rad2deg() / DEGREES).floor().int() % columns
    return (1 + row * columns + column).where(z > 0, 0).numpy()


def _places(positions: np.ndarray) -> np.ndarray:
    """Number the places ``(n,)`` of positions ``(n, 3)``."""
    found: list[np.ndarray] = []
    numbers = np.zeros(len(positions), int)
    for index, position in enumerate(positions):
        distances = np.linalg.norm(np.array(found).reshape(-1, 3) - position, axis=1)
        if (distances >= APART).all():
            numbers[index] = len(found)
            found.append(position)
        else:
            numbers[index] = distances.argmin()
    return numbers
