"""Read images the way every picture comes to the network.

There is one reader of sizes and one of pixels, and both take an image as it is stored: calibrations hold for stored
pixels, and viewers alone turn a picture as its orientation tag says.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from ..utils.errors import InputError, warn
from ..utils.files import require_file

RESTORE = 'restore the image'
# Suffixes of images that are looked for in folders.
IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png')
UPRIGHT = 1
_ORIENTATION_TAG = 0x0112
_JPEG, _PNG, _TIFF, _HEIF = b'\xff\xd8', b'\x89PNG\r\n\x1a\n', (b'II*\0', b'MM\0*'), b'ftyp'
# In the scans of a JPEG a byte 0xff is data if 0 follows, a restart mark with 0xd0 to 0xd7, or a filler.
_JPEG_MARK = re.compile(rb'\xff[\x01-\xcf\xd8-\xfe]')
_JPEG_END, _JPEG_SCAN = 0xD9, 0xDA
# Images of 16 bits must reach this: below lies what sensors of 10, 12 or 14 bits give, stored without scaling.
FULL_RANGE = 2**14


@dataclass(frozen=True)
class Header:
    """Properties of an image file, without its pixels.

    Attributes:
        height, width: size of the stored pixels.
        orientation: tag of EXIF or TIFF; :data:`UPRIGHT` where there is none. The pixels are never turned.
        deep: whether it may hold more than 8 bits per channel.
    """

    height: int
    width: int
    orientation: int
    deep: bool


def read_header(path: str | Path, hint: str = RESTORE) -> Header:
    """Read the header of an image file, without its pixels.

    Raises:
        InputError: a missing or unreadable file, or a turned TIFF.
    """
    path = require_file(path, hint)
    try:
        with Image.open(path) as image:
            width, height = image.size
            deep = _is_deep(image, path)
            orientation = _orientation(image)
    except UnidentifiedImageError as error:
        _decoded(path.read_bytes(), path)  # may say better what is wrong with it
        raise InputError(f'{path}: not an image of a known format, such as JPEG or PNG; {hint}') from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f'{path}: not a readable image ({error}); {hint}') from error
    if image.format == 'TIFF' and orientation != UPRIGHT:
        # Every reader turns these pixels, so that none has them as they are stored.
        raise InputError(
            f'{path}: a TIFF with orientation {orientation}; store it as the calibrated camera sees it, without the tag'
        )
    return Header(height, width, orientation, deep)


def read_image(path: str | Path) -> np.ndarray:
    """Read an image file, as it is stored: no orientation tag turns it.

    Gray images have three equal channels; transparency is left out. 16 bits become 8 by the factor 255 / 65535.

    Returns:
        ``(H, W, 3)`` uint8, channels in OpenCV's order blue, green, red.

    Raises:
        InputError: a missing, truncated or unreadable file, or pixels that are not 0 (black) to 255 or 65535 (white).
    """
    content = require_file(path, RESTORE).read_bytes()
    if not _is_whole(content):
        raise InputError(f'{path}: the image is cut short; {RESTORE}')
    image = _decoded(content, path)
    if content[:4] in _TIFF:
        read_header(path)
    return image


def _decoded(content: bytes, path: str | Path) -> np.ndarray:
    """Decode the content of an image file (:func:`read_image`)."""
    # Of AVIF, OpenCV knows the number of bits itself, and scales.
    depth = 0 if content[4:8] == _HEIF else cv2.IMREAD_ANYDEPTH
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION | depth)
    except cv2.error as error:
        raise InputError(f'{path}: not a readable image ({error.err}); {RESTORE}') from error
    if image is None:
        raise InputError(f'{path}: not a readable image; {RESTORE}')
    return image if image.dtype == np.uint8 else _eight_bits(image, path)


def _eight_bits(image: np.ndarray, path: str | Path) -> np.ndarray:
    """Convert an image of 16 bits to 8.

    The factor does not depend on what the image shows: each image of a set would have an exposure of its own.
    """
    if image.dtype != np.uint16:
        raise InputError(
            f'{path}: its pixels are {image.dtype}; store all images with 8 bits per channel, 0 black and 255 white'
        )
    largest = int(image.max())
    if largest < FULL_RANGE:
        bits = max(largest.bit_length(), 8)
        divisor = 2 ** (bits - 8)
        raise InputError(
            f'{path}: its 16 bits reach {largest} of 65535, as unscaled values of {bits} bits do; store all images '
            f'with 8 bits per channel (values of {bits} bits divided by {divisor})'
        )
    return cv2.convertScaleAbs(image, alpha=255 / 65535)


def _is_whole(content: bytes) -> bool:
    """Tell whether a JPEG or a PNG has its end; what follows the end does not matter. Other formats: True.

    Not all versions of OpenCV notice: some fill the missing part of a JPEG with gray. So this follows the markers (of a
    JPEG) or chunks (of a PNG) as a decoder does, without decoding: the end of a thumbnail does not count.
    """
    if content[:2] == _JPEG:
        return _ends_as_jpeg(content)
    return content[:8] != _PNG or _ends_as_png(content)


def _ends_as_jpeg(content: bytes) -> bool:
    position, in_scan = 2, False
    while (mark := _JPEG_MARK.search(content, position)) is not None:
        if not in_scan and content[position : mark.start()].strip(b'\xff'):
            return True  # no marks as they should be: what it is, the decoder must say
        code, position = content[mark.end() - 1], mark.end()
        if code == _JPEG_END:
            return True
        if position + 2 > len(content):
            return False
        position += int.from_bytes(content[position : position + 2], 'big')
        in_scan = code == _JPEG_SCAN
    return False


def _ends_as_png(content: bytes) -> bool:
    position = len(_PNG)
    while position + 12 <= len(content):
        length, kind = struct.unpack_from('>I4s', content, position)
        position += 12 + length
        if kind == b'IEND':
            return True
    return False


def _orientation(image: Image.Image) -> int:
    """Return the tag that says how to turn an opened image."""
    if image.format == 'PNG' and 'exif' not in image.info:
        return UPRIGHT  # asked for it, Pillow would decode the pixels
    try:
        return image.getexif().get(_ORIENTATION_TAG, UPRIGHT) or UPRIGHT
    except (OSError, ValueError, SyntaxError, struct.error):
        return UPRIGHT  # damaged notes about the image; it is not turned anyhow


def _is_deep(image: Image.Image, path: Path) -> bool:
    if image.format == 'PNG':
        with path.open('rb') as file:
            return file.read(25)[24] > 8
    return image.format not in ('JPEG', 'MPO', 'WEBP', 'AVIF', 'BMP', 'GIF')


def to_rgb(image: np.ndarray) -> np.ndarray:
    """Convert ``(..., H, W, 3)`` in OpenCV's order, 0 to 255, to ``(..., 3, H, W)`` float32 RGB in [0, 1]."""
    return to_unit(channels_first(image))


def channels_first(image: np.ndarray) -> np.ndarray:
    """Convert ``(..., H, W, 3)`` in OpenCV's order to ``(..., 3, H, W)`` RGB of the same dtype."""
    return np.ascontiguousarray(np.moveaxis(image[..., ::-1], -1, -3))


def to_unit(pixels: np.ndarray) -> np.ndarray:
    """Convert 0 to 255 to float32 in [0, 1]."""
    return pixels.astype(np.float32) / np.float32(255)


def resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize ``(H, W, 3)`` to ``(height, width, 3)``: OpenCV bilinear, as published."""
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)


# Of 255. At night lamps are brighter, and so is more than a hundredth of what a camera on a street sees.
BLACK, WHITE = 16, 250
# About how many rows and columns are enough for a check.
SUBSAMPLE_SIZE = 64
HINT = 'if that is not what was there, scale all images by one factor (values of 12 bits to 8: divide by 16)'


def subsample(image: np.ndarray) -> np.ndarray:
    """Return about 64 x 64 evenly spaced pixels of an image or map ``(H, W, ...)``."""
    height, width = image.shape[:2]
    return image[:: max(1, height // SUBSAMPLE_SIZE), :: max(1, width // SUBSAMPLE_SIZE)]


def exposure_doubt(image: np.ndarray) -> str | None:
    """Say what is strange about the brightness of an image ``(H, W, 3)`` uint8; ``None`` if nothing is."""
    few = subsample(image)
    if np.percentile(few.max(axis=-1), 99) < BLACK:
        return 'nearly black'
    if np.median(few.min(axis=-1)) >= WHITE:
        return 'more than half white'
    return None


def warn_of_exposure(images: Iterable[tuple[str | Path, np.ndarray]], where: str | Path) -> None:
    """Warn of images with a strange brightness: once for each kind, with their number and the first of them.

    Args:
        images: file and pixels ``(H, W, 3)`` uint8 of each image.
        where: what the images belong to, for messages.
    """
    doubts: dict[str, list[str]] = {}
    total = 0
    for path, image in images:
        total += 1
        if doubt := exposure_doubt(image):
            doubts.setdefault(doubt, []).append(str(path))
    for doubt, paths in doubts.items():
        warn(f'{where}: {len(paths)} of {total} images that were looked at are {doubt}, first {paths[0]}; {HINT}')
