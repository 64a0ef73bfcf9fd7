"""Feature maps of a foundation model that a field learns, and how their sizes change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..pipelines.maps import read_map
from ..semantics.classes import CHANNELS
from ..utils.errors import InputError
from .drive import DriveImage

HINT = 'restore the features, or train with scene_nerf.features=None'


@dataclass(frozen=True)
class FeatureMaps:
    """The maps of the images of a drive.

    Attributes:
        folder: their root.
        images: those that are named a map: keyframes.
        size: (height, width) of all maps.
    """

    folder: str
    images: tuple[DriveImage, ...]
    size: tuple[int, int]

    @classmethod
    def check(cls, folder: str, images: Sequence[DriveImage]) -> FeatureMaps:
        """Read the maps of images once, so that none stops what is already trained.

        Raises:
            InputError: one is missing or damaged, or has other channels or another size than it must.
        """
        named = tuple(image for image in images if image.features is not None)
        if not named:
            raise InputError(
                f'scene_nerf.features is {folder}, but the info files name no features of the images that are trained '
                'on; convert the data again with tools/create_data.py, or give None'
            )
        missing = [path for path in (Path(folder) / str(image.features) for image in named) if not path.is_file()]
        if missing:
            raise InputError(
                f'{missing[0]}: no such file (and {len(missing) - 1} more of {len(named)} feature maps are missing); '
                f'scene_nerf.features must be laid out as in docs/DATA.md; {HINT}'
            )
        maps = cls(folder, named, (0, 0))
        size = maps.read(named[0]).shape[:2]
        for image in named[1:]:
            if (found := maps.read(image).shape[:2]) != size:
                raise InputError(
                    f'{maps.path(image)}: has {found[0]} x {found[1]} pixels, {maps.path(named[0])} {size[0]} x '
                    f'{size[1]}; extract all features of a scene in one size'
                )
        return cls(folder, named, (size[0], size[1]))

    def path(self, image: DriveImage) -> Path:
        """Return the file of an image."""
        return Path(self.folder) / str(image.features)

    def read(self, image: DriveImage) -> np.ndarray:
        """Read the map ``(h, w, CHANNELS)`` float32 of an image."""
        return read_features(self.path(image))


def read_features(path: Path) -> np.ndarray:
    """Read a map ``(h, w, CHANNELS)`` float32.

    Raises:
        InputError: it is missing or damaged, has other channels, or is NaN somewhere or beyond half precision.
    """
    features = read_map(path, 3, HINT)
    assert features is not None
    if features.shape[2] != CHANNELS:
        raise InputError(
            f'{path}: has {features.shape[2]} channels ({" x ".join(map(str, features.shape))}); give (height, width, '
            f'{CHANNELS}), or train with scene_nerf.features=None'
        )
    # What is exported is float16.
    if not (np.abs(features) <= np.finfo(np.float16).max).all():
        raise InputError(f'{path}: holds NaN, or numbers beyond half precision (65504); {HINT}')
    return features


def resize_features(features: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize a map ``(C, h, w)``: bilinearly, as students do, or by means of areas where it gets smaller.

    NaN, which is unknown, counts in no mean; unknown is what is made of unknown pixels alone.
    """
    if tuple(features.shape[1:]) == tuple(size):
        return features
    smaller = size[0] <= features.shape[1] and size[1] <= features.shape[2]
    known = features.isfinite().all(0, keepdim=True)
    stacked = torch.cat([features.nan_to_num(), known.to(features.dtype)])[None]
    if smaller:
        resized = F.interpolate(stacked, size=size, mode='area')[0]
    else:
        resized = F.interpolate(stacked, size=size, mode='bilinear', align_corners=False)[0]
    mean, share = resized[:-1], resized[-1:]
    return torch.where(share > 0, mean / share.clamp_min(1e-6), torch.nan)
