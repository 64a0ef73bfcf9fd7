"""Figures of a part of what is measured: of a camera, a scene, a range of distances, of what moves or stands still."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

import torch
from torch import Tensor

from ..geometry.views import Views

# By what figures can be taken apart (``tools/test.py --by``).
CAMERA, SCENE, DISTANCE, MOTION = KINDS = ('camera', 'scene', 'distance', 'motion')
# Meters (z) from, and up to but without.
RANGES = ((0, 10), (10, 20), (20, 40), (40, 80))


def part_key(figure: str, kind: str, value: str) -> str:
    """Return the name of a figure of a part: ``part_key('next/psnr', 'camera', 'B') == 'next/psnr@camera=B'``."""
    return f'{figure}@{kind}={value}'


def split_key(name: str) -> tuple[str, str, str]:
    """Return figure, kind and value of a name of :func:`part_key`; two empty texts for a figure of everything."""
    figure, _, part = name.partition('@')
    kind, _, value = part.partition('=')
    return figure, kind, value


def whole(figures: Mapping[str, float]) -> dict[str, float]:
    """Return the figures that are of everything."""
    return {name: value for name, value in figures.items() if '@' not in name}


def parts(figures: Mapping[str, float], kind: str | None = None) -> dict[str, float]:
    """Return the figures of parts; with ``kind`` those of that kind alone."""
    return {name: value for name, value in figures.items() if '@' in name and kind in (None, split_key(name)[1])}


def camera_positions(views: Views) -> dict[str, list[int]]:
    """Return the positions of the views of each camera."""
    found: dict[str, list[int]] = {}
    for position, name in enumerate(views.names):
        found.setdefault(name, []).append(position)
    return found


def camera_masks(views: Views, height: int, width: int) -> Iterator[tuple[str, str, Tensor]]:
    """Yield ``camera``, name and mask ``(V, height, width)`` of each camera."""
    for name, positions in camera_positions(views).items():
        mask = torch.zeros(len(views), height, width, dtype=torch.bool, device=views.images.device)
        mask[positions] = True
        yield CAMERA, name, mask


def motion_masks(views: Views, height: int, width: int) -> Iterator[tuple[str, str, Tensor]]:
    """Yield ``motion``, ``static`` or ``moving`` and the mask ``(V, height, width)``; nothing if it is not known.

    Pixels of which it is not known are in neither.
    """
    if views.moving is not None:
        moving = _at_size(views.moving, height, width)
        yield MOTION, 'static', moving == 0
        yield MOTION, 'moving', moving == 1


def distance_masks(depth: Tensor) -> Iterator[tuple[str, str, Tensor]]:
    """Yield ``distance``, range and mask ``(V, h, w)`` of the pixels whose z is in it, meters."""
    for low, high in RANGES:
        yield DISTANCE, f'{low}-{high}m', (depth >= low) & (depth < high)


def pixel_masks(
    kinds: Collection[str], views: Views, height: int, width: int, depth: Tensor | None = None
) -> Iterator[tuple[str, str, Tensor]]:
    """Yield kind, value and mask ``(V, height, width)`` of every part of some views.

    Args:
        kinds: some of :data:`KINDS`; scenes have no masks.
        views: the views.
        height, width: size of the masks.
        depth: ``(V, height, width)`` z in meters, for ranges of distances; None: none.
    """
    if CAMERA in kinds:
        yield from camera_masks(views, height, width)
    if DISTANCE in kinds and depth is not None:
        yield from distance_masks(depth)
    if MOTION in kinds:
        yield from motion_masks(views, height, width)


def _at_size(maps: Tensor, height: int, width: int) -> Tensor:
    """Return what maps ``(V, H, W)`` say at the middle of each pixel of a grid of ``height`` x ``width``."""
    rows, columns = (
        ((torch.arange(n, device=maps.device) + 0.5) * size / n).long()
        for n, size in zip((height, width), maps.shape[-2:], strict=True)
    )
    return maps[:, rows[:, None], columns]
