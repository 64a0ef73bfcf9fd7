"""A field of a whole drive at one of its times, rendered for the viewer."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...geometry.cameras import Cameras
from ...geometry.tensors import TensorFields
from ...semantics.text_encoders import Queries
from ...utils.errors import InputError
from ..colors import depth_to_colors
from ..panel_layout import to_uint8
from .colorizer import DEPTH, RGB
from .session import ROWS, Picture
from .viewpoints import Viewpoint

# What can be hidden, as the switches are labeled.
STATIC, MOVING, SKY, UNSEEN = 'static things', 'moving things', 'sky', 'unseen places'
# Some 50 ms of one core.
RAYS_PER_STRIP = 2048
# A pixel is sky where more than half of what is seen is.
MOSTLY = 0.5


@dataclass(frozen=True)
class FieldPixels(TensorFields):
    """What a field shows of a view.

    Attributes:
        rgb: ``(3, h, w)`` in [0, 1].
        depth: ``(h, w)`` z in meters, NaN where no surface is.
        sky: ``(h, w)`` share of the sky.
    """

    rgb: Tensor
    depth: Tensor
    sky: Tensor


@dataclass(frozen=True)
class FieldScene:
    """A field at one time, with the cameras of the drive then.

    Attributes:
        title: a short title.
        cameras: ``(V,)`` cameras.
        names: names of the cameras.
        images: ``(V, H, W, 3)`` uint8 RGB.
        front: the camera that looked most to the front when the drive began.
        parts: what the field tells apart, of :data:`STATIC`, :data:`MOVING`, :data:`SKY`
            and :data:`UNSEEN`, what no image of the drive saw.
        render: renders a camera, a batch of one, without the parts that are named.
    """

    title: str
    cameras: Cameras
    names: tuple[str, ...]
    images: np.ndarray
    front: Viewpoint
    parts: tuple[str, ...]
    render: Callable[[Cameras, frozenset[str]], FieldPixels]


class FieldColorizer:
    """Name the modes of a field: RGB and depth."""

    modes = (RGB, DEPTH)
    default_mode = RGB

    def unavailable_reason(self, mode: str) -> str | None:
        """Return ``None``: a field can be shown in all its modes."""
        return None

    def query(self, words: str) -> Queries:
        """Refuse words.

        Raises:
            InputError: always.
        """
        raise InputError(f'{words}: a field has no features; choose RGB or depth')


class FieldSession:
    """Render pictures of a field at one time from any viewpoint.

    Attributes:
        viewed: the field then.
        colorizer: its modes.
        hidden: the parts that are not shown.
    """

    def __init__(self, viewed: FieldScene, hidden: frozenset[str] = frozenset()) -> None:
        self.viewed = viewed
        self.colorizer = FieldColorizer()
        self.hidden = hidden

    def pictures(
        self, viewpoint: Viewpoint, mode: str, query: Queries | None = None, rows: Sequence[int] = ROWS
    ) -> Generator[Picture | None, None, None]:
        """Yield finer and finer pictures, and ``None`` after each tile. Call it without gradients."""
        hidden = self.hidden
        for count in rows:
            camera = viewpoint.cameras(count, 1, torch.zeros(()))
            parts = []
            for strip in strips(camera, RAYS_PER_STRIP):
                parts.append(self.viewed.render(strip, hidden))
                yield None
            whole = FieldPixels(
                *(torch.cat([getattr(part, name) for part in parts], -2) for name in ('rgb', 'depth', 'sky'))
            )
            yield Picture(colored(whole, mode), camera.height, camera.width)


def colored(pixels: FieldPixels, mode: str) -> np.ndarray:
    """Draw a view in RGB or by depth, ``(h, w, 3)`` uint8."""
    if mode == RGB:
        return to_uint8(pixels.rgb)
    return depth_to_colors(pixels.depth.numpy(), pixels.sky.numpy() > MOSTLY)


def strips(camera: Cameras, rays: int) -> Iterator[Cameras]:
    """Cut an image into strips of about as many pixels, from top to bottom; they have the rays of the whole."""
    height = math.ceil(rays / camera.width)
    for top in range(0, camera.height, height):
        intrinsics = camera.intrinsics.clone()
        intrinsics[..., 1, 2] -= top
        yield dataclasses.replace(camera, intrinsics=intrinsics, height=min(height, camera.height - top))
