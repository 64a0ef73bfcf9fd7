"""Images to model inputs, and which pixel lands where.

Positions are continuous: pixel (0, 0) covers [0, 1) x [0, 1), its center is at .5. An image ``(H, W)`` lies in the
input from ``origin`` over ``extent``: what is at y in the image is at ``origin + y / H * extent`` in the input. Around
it the outermost pixels are repeated.

Maps that come out cover the image, as students take them: cell i of n is at ``(i + .5) / n`` of the image
(``align_corners=False``). A transformer with patches of p pixels every s pixels sees cell i from ``i * s`` to
``i * s + p`` of its input, around ``i * s + p / 2``. So the image lies in the input from ``(p - s) / 2`` over ``n * s``
(:func:`patch_framing`), also where that is half a pixel.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..utils.errors import InputError

# Filters of Pillow by the numbers that preprocessor_config.json uses.
NEAREST, BILINEAR, BICUBIC = 0, 2, 3
# Name -> (mean, std) of RGB in [0, 1].
NORMALIZATIONS = {
    'unit': ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    'byte': ((0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255)),
    'half': ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    'imagenet': ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    'clip': ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
}


@dataclass(frozen=True)
class Framing:
    """Where an image lies in a model input.

    Attributes:
        size: (height, width) of the input, pixels.
        origin: (y, x) of the image's upper left corner in the input, pixels.
        extent: (height, width) of the image in the input, pixels.
    """

    size: tuple[int, int]
    origin: tuple[float, float]
    extent: tuple[float, float]


def whole_framing(size: Sequence[int]) -> Framing:
    """Return the framing of an image that fills an input of ``size`` (height, width)."""
    height, width = size
    return Framing((height, width), (0.0, 0.0), (float(height), float(width)))


def patch_framing(cells: Sequence[int], patch: int, stride: int) -> Framing:
    """Return the framing of which patches of ``patch`` pixels every ``stride`` make ``cells`` (rows, columns)."""
    rows, columns = cells
    margin = (patch - stride) / 2
    size = (rows - 1) * stride + patch, (columns - 1) * stride + patch
    return Framing(size, (margin, margin), (float(rows * stride), float(columns * stride)))


def place(image: np.ndarray, framing: Framing, resample: int = BICUBIC) -> np.ndarray:
    """Resize an image into a model input.

    Args:
        image: ``(H, W, 3)`` RGB, uint8 or float.
        framing: where it lies in the input.
        resample: filter of Pillow, wider where the image is made smaller.

    Returns:
        ``(h, w, 3)`` uint8 or float32.

    Raises:
        ValueError: another shape or dtype.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype.kind not in 'uf' or 0 in image.shape:
        raise ValueError(f'an image is (H, W, 3) of uint8 or floats, not {image.dtype} {image.shape}')
    if image.dtype.kind == 'u' and image.dtype != np.uint8:
        raise ValueError(f'an image is uint8 or float, not {image.dtype}')
    image, box = _with_margin(image, framing)
    if (box, framing.size) == ((0.0, 0.0, image.shape[1], image.shape[0]), image.shape[:2]):
        return np.ascontiguousarray(image, dtype=np.uint8 if image.dtype == np.uint8 else np.float32)
    from PIL import Image

    height, width = framing.size
    if image.dtype == np.uint8:
        return np.array(Image.fromarray(image).resize((width, height), resample, box))
    channels = [Image.fromarray(np.ascontiguousarray(channel, np.float32)) for channel in np.moveaxis(image, -1, 0)]
    return np.stack([np.asarray(channel.resize((width, height), resample, box)) for channel in channels], axis=-1)


def _with_margin(image: np.ndarray, framing: Framing) -> tuple[np.ndarray, tuple[float, float, float, float]]:
    """Repeat the borders of an image as far as the input reaches; return it and the part that the input shows.

    The part is (left, top, right, bottom), as Pillow takes it.
    """
    starts, ends, margins = [], [], []
    for axis in (0, 1):
        scale = image.shape[axis] / framing.extent[axis]
        start = -framing.origin[axis] * scale
        end = start + framing.size[axis] * scale
        before, after = max(0, math.ceil(-start)), max(0, math.ceil(end - image.shape[axis] - 1e-6))
        starts.append(start + before)
        ends.append(min(end + before, image.shape[axis] + before + after))
        margins.append((before, after))
    if any(any(margin) for margin in margins):
        image = np.pad(image, (*margins, (0, 0)), mode='edge')
    return image, (starts[1], starts[0], ends[1], ends[0])


@dataclass(frozen=True)
class Normalization:
    """What a model subtracts from RGB in [0, 1], and divides it by.

    Attributes:
        mean, std: of each channel.
        bgr: whether the model takes blue first; mean and std stay in the order red, green, blue.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    bgr: bool = False

    def __call__(self, pixels: Tensor) -> Tensor:
        """Convert ``(N, h, w, 3)`` RGB, uint8 or float in [0, 1], to model inputs ``(N, 3, h, w)`` float32."""
        images = pixels.movedim(-1, 1)
        images = images.to(torch.float32) / 255 if images.dtype == torch.uint8 else images.to(torch.float32)
        mean, std = (images.new_tensor(values)[:, None, None] for values in (self.mean, self.std))
        images = (images - mean) / std
        return images.flip(1) if self.bgr else images


def named_normalization(name: str, bgr: bool = False) -> Normalization:
    """Return a normalization by its name (:data:`NORMALIZATIONS`)."""
    return Normalization(*NORMALIZATIONS[name], bgr)


def folder_normalization(settings: Mapping[str, Any], where: str, default: str) -> Normalization:
    """Return the normalization of ``preprocessor_config.json``.

    Args:
        settings: its content; nothing where there is no such file.
        where: of the model, for messages.
        default: name of the normalization where there is no file.

    Raises:
        InputError: settings that are none.
    """
    if not settings:
        return named_normalization(default)
    try:
        scale = float(settings.get('rescale_factor', 1 / 255)) * 255 if settings.get('do_rescale', True) else 255.0
        normalize = settings.get('do_normalize', True)
        mean, std = (settings.get(key) if normalize else None for key in ('image_mean', 'image_std'))
        means = [float(value) / scale for value in (mean or (0.0, 0.0, 0.0))]
        stds = [float(value) / scale for value in (std or (1.0, 1.0, 1.0))]
    except (TypeError, ValueError) as error:
        raise InputError(
            f'{where}: its preprocessor_config.json is damaged ({error}); fetch the model again'
        ) from error
    if len(means) != 3 or len(stds) != 3 or 0 in stds:
        raise InputError(f'{where}: its preprocessor_config.json normalizes no RGB; fetch the model again')
    return Normalization((means[0], means[1], means[2]), (stds[0], stds[1], stds[2]))
