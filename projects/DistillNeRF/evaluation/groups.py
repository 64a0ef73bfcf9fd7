"""Which target views answer which question."""

from __future__ import annotations

from ..geometry.views import Views

FRAME_NAMES = {0: '', 1: 'next', -1: 'previous'}


def view_groups(input_views: Views, target_views: Views) -> dict[str, list[int]]:
    """Positions of the target views of each group.

    ``''``: views that are also inputs (reconstruction); ``virtual``: the same instant from a camera that is no
    input; ``next``, ``previous``, ``frame+2``, ...: other instants.
    """
    seen = set(zip(input_views.names, input_views.frames, strict=True))
    groups: dict[str, list[int]] = {}
    for position, view in enumerate(zip(target_views.names, target_views.frames, strict=True)):
        frame = view[1]
        name = FRAME_NAMES.get(frame, f'frame{frame:+d}')
        if frame == 0 and view not in seen:
            name = 'virtual'
        groups.setdefault(name, []).append(position)
    return groups


def key(*parts: str) -> str:
    """The parts that are not empty, joined by ``/``: ``key('next', 'psnr') == 'next/psnr'``."""
    return '/'.join(part for part in parts if part)
