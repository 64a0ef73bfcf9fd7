"""The image files of a conversion: all headers, and the pixels of a few."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ...utils.errors import InputError, warn
from ..exposure import warn_of_exposure
from ..image_files import UPRIGHT, Header, read_header, read_image
from ..infos import Info
from .common import DOWNLOAD_AGAIN

# Images of every camera, spread evenly over a split, whose brightness is looked at.
LOOKED_AT = 4


def check_pictures(root: Path, infos: Sequence[Info], where: str | Path, workers: int = 1) -> None:
    """Compare every image file with the size in its record; look at the brightness of a few.

    Orientation tags are passed over by every reader; a warning counts the images that have one.

    Args:
        root: folder that the paths of the records are relative to.
        infos: records of a split.
        where: name of the split, for the warnings.
        workers: threads.

    Raises:
        InputError: an image that is missing or damaged, of another size than its record, or with wrong values.
    """
    images = [image for info in infos for image in info['images'].values()]
    turned = []
    with ThreadPoolExecutor(max(1, workers)) as pool:
        headers = pool.map(lambda image: _checked_header(root, image), images)
        for image, header in zip(images, tqdm(headers, total=len(images), desc='images'), strict=True):
            if header.orientation != UPRIGHT:
                turned.append(image['img_path'])
    if turned:
        warn(
            f'{where}: {len(turned)} of {len(images)} images have an orientation tag (EXIF), first {root / turned[0]}; '
            'their pixels are taken as they are stored, for which calibrations hold: turn the files if yours do not'
        )
    cameras = dict.fromkeys(camera for info in infos for camera in info['images'])
    few = np.unique(np.linspace(0, len(infos) - 1, LOOKED_AT).round().astype(int))
    chosen = [infos[i]['images'][camera] for i in few for camera in cameras if camera in infos[i]['images']]
    paths = [root / image['img_path'] for image in chosen]
    warn_of_exposure(((path, read_image(path)) for path in paths), where)


def _checked_header(root: Path, image: Info) -> Header:
    path, recorded = root / image['img_path'], (image['height'], image['width'])
    header = read_header(path, DOWNLOAD_AGAIN)
    if (header.height, header.width) != recorded:
        raise InputError(
            f'{path}: the image is {header.width}x{header.height}, its record says {recorded[1]}x{recorded[0]}; '
            f'{DOWNLOAD_AGAIN}'
        )
    if header.deep:
        read_image(path)  # whether its values can be used
    return header
