"""Views of the cameras of :mod:`tests.helpers.cameras`."""

from __future__ import annotations

import torch
from torch import Tensor

from projects.DistillNeRF.geometry.cameras import Cameras
from projects.DistillNeRF.geometry.views import Views
from tests.helpers.cameras import random_cameras


def make_views(
    cameras: Cameras,
    images: Tensor | float | None = None,
    names: tuple[str, ...] | None = None,
    frames: tuple[int, ...] | None = None,
    **maps: Tensor | None,
) -> Views:
    """Return views of ``cameras`` ``(V,)``.

    Args:
        cameras: also give the size of the images.
        images: ``(V, 3, H, W)``, one shade for all pixels, or ``None`` for random ones.
        names: of the cameras; ``None`` for C0, C1, ...
        frames: of the views; ``None`` for the current one.
        maps: further fields of :class:`Views`.
    """
    count, shape = len(cameras), (len(cameras), 3, cameras.height, cameras.width)
    if images is None:
        images = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    elif not isinstance(images, Tensor):
        images = torch.full(shape, images)
    names = names or tuple(f'C{i}' for i in range(count))
    return Views(images, cameras, names, frames or (0,) * count, **maps)


def random_views(count: int, seed: int, height: int = 18, width: int = 34) -> Views:
    """Return float64 views of cameras that look around from the middle of the world, with frozen depth features."""
    generator = torch.Generator().manual_seed(seed)
    cameras = random_cameras(count, height, width, generator)
    images = torch.rand(count, 3, height, width, dtype=torch.float64, generator=generator)
    features = torch.randn(count, 6, height // 2, width // 2, dtype=torch.float64, generator=generator)
    return make_views(cameras, images, depth_features=features)
