"""In which size a network of transformers sees an image: the whole of it, by the rules of its preprocessor."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ..utils.errors import InputError

GIVE_SIZE = 'say in which size it sees images, with --input-size HEIGHT WIDTH'


def preprocessor_size(settings: Mapping[str, Any], image: Sequence[int], where: str) -> tuple[int, int]:
    """Return the (height, width) to which a whole image is resized.

    Nothing is cut off or padded: a network that wants sides of a multiple gets the nearest such size, as the
    processors of Depth Anything and Mask2Former do, too.

    Args:
        settings: content of ``preprocessor_config.json``.
        image: (height, width).
        where: of the model, for messages.

    Raises:
        InputError: the rules are not known, or cut a part of the image out.
    """
    if not settings:
        raise InputError(f'{where}: has no preprocessor_config.json, which says what its input is; fetch it, too')
    if settings.get('do_center_crop'):
        raise InputError(f'{where}: its preprocessor cuts the middle of images out; {GIVE_SIZE}')
    size = _resized(settings, image, where) if settings.get('do_resize', True) else (image[0], image[1])
    step = settings.get('size_divisor') or settings.get('size_divisibility') or 0
    if type(step) is not int or step < 0:
        raise InputError(f'{where}: size_divisor of its preprocessor_config.json is {step!r}; {GIVE_SIZE}')
    height, width = (math.ceil(side / step) * step if step else side for side in size)
    return height, width


def _resized(settings: Mapping[str, Any], image: Sequence[int], where: str) -> tuple[int, int]:
    size, height, width = settings.get('size'), *image
    longest = settings.get('max_size')
    if type(size) is int:
        size = {'shortest_edge': size, 'longest_edge': longest} if longest else {'height': size, 'width': size}
    if not isinstance(size, Mapping) or not all(type(side) is int and side > 0 for side in size.values()):
        raise InputError(f'{where}: size of its preprocessor_config.json is {size!r}; {GIVE_SIZE}')
    if {'height', 'width'} <= set(size):
        if not settings.get('keep_aspect_ratio'):
            return size['height'], size['width']
        # As near to the size of the image as one of both sides allows.
        scale = min((size['height'] / height, size['width'] / width), key=lambda scale: abs(1 - scale))
        return _multiples((scale * height, scale * width), settings.get('ensure_multiple_of', 1))
    if 'shortest_edge' in size:
        scale = size['shortest_edge'] / min(height, width)
        if 'longest_edge' in size:
            scale = min(scale, size['longest_edge'] / max(height, width))
        return max(1, round(scale * height)), max(1, round(scale * width))
    raise InputError(f'{where}: size of its preprocessor_config.json is {dict(size)}; {GIVE_SIZE}')


def _multiples(size: tuple[float, float], step: int) -> tuple[int, int]:
    """Return the nearest multiples of a step, at least one of it."""
    height, width = (max(1, round(side / step)) * step for side in size)
    return height, width
