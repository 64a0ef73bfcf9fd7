"""Which frames of which cameras a sample has as targets (docs/NETWORK.md#frames)."""

from __future__ import annotations

import random
from collections.abc import Sequence

# Frame offset of the current keyframe.
CURRENT = 0
# (frame offset, camera).
Key = tuple[int, str]


def whole_frames(cameras: Sequence[str], offsets: Sequence[int]) -> list[Key]:
    """All cameras of one frame after the other, and the current frame at the end."""
    return [(offset, camera) for offset in (*offsets, CURRENT) for camera in cameras]


def one_neighbour_each(cameras: Sequence[str]) -> list[Key]:
    """For every camera the previous or the next frame at random, and the current frame at the end."""
    return [(random.choice((-1, 1)), camera) for camera in cameras] + whole_frames(cameras, ())
