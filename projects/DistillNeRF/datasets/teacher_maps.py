"""Bring the teacher's maps to the size at which losses compare them, before they leave the process that loads."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from ..geometry.views import Views
from ..losses.depth import resize_depth, resize_mask


def at_render_size(views: Views, size: Sequence[int]) -> Views:
    """Return views whose teacher depth and sky mask have ``size`` (rows, columns), if they were larger before.

    The losses resize in the same way: depth bilinearly, the mask by nearest neighbor. Afterwards they find nothing to
    do, so on a CPU their values are the same, bit by bit.
    """
    depth = views.teacher_depth
    if depth is None or any(stored <= wanted for stored, wanted in zip(depth.shape[-2:], size, strict=True)):
        return views
    sky = None if views.sky_mask is None else resize_mask(views.sky_mask, *size)
    return dataclasses.replace(views, teacher_depth=resize_depth(depth, size, nearest=False), sky_mask=sky)
