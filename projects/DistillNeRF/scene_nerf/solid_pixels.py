"""Which pixels of keyframe images are called solid: what a field takes for the sky there is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor
from typing_extensions import Self

from .drive import DriveImage


@dataclass(frozen=True)
class SolidPixels:
    """One bit per pixel of some of the images that were trained on.

    Attributes:
        images: ``(k,)`` int64 numbers of these images.
        bits: ``(ceil(k / 8), h, w)`` uint8, those of eight images in a byte, the first one in the highest bit.
    """

    images: Tensor
    bits: Tensor

    @classmethod
    def of(cls, images: Sequence[DriveImage], labels: Tensor | None) -> Self:
        """Note what labels call solid in keyframe images, as these are exported.

        Args:
            images: the training images.
            labels: ``(n, h, w)`` below 0 where they are solid (:func:`.sky_labels.label_sky`); None: nothing is told.
        """
        numbers = [number for number, image in enumerate(images) if image.frame is not None]
        if labels is None or not numbers:
            return cls(torch.zeros(0, dtype=torch.int64), torch.zeros(0, 0, 0, dtype=torch.uint8))
        solid = labels[numbers].cpu().numpy() < 0
        return cls(torch.tensor(numbers), torch.from_numpy(np.packbits(solid, axis=0)))

    def mask(self, number: int, height: int, width: int) -> Tensor | None:
        """Return where a training image is solid, ``(height, width)`` bool on the CPU; None if that is not noted.

        In another size than that of the labels, each pixel takes what is at its middle.
        """
        places = (self.images == number).nonzero().flatten().tolist()
        if not places:
            return None
        byte, bit = divmod(places[0], 8)
        solid = ((self.bits[byte] >> (7 - bit)) & 1).cpu().numpy()
        return torch.from_numpy(cv2.resize(solid, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)).bool()
