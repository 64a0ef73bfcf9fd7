"""Which views are targets of a sample: those of its own keyframe, and of keyframes before and after it."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

import numpy as np

from .infos import Info

# Frame offset of the current keyframe.
CURRENT = 0
# (frame offset, camera).
Key = tuple[int, str]
# In the place of the position of a keyframe that does not exist.
NONE = -1


class NeighborTargets:
    """Targets that are the keyframes some places before or after a sample in its scene, and its own.

    Args:
        infos: the records of all keyframes.
        offsets: how many keyframes later; negative: earlier.
        one_each: for each camera one of the previous and the next keyframe, chosen at random, not all of them.
    """

    def __init__(self, infos: Sequence[Info], offsets: Sequence[int], one_each: bool = False) -> None:
        self.offsets = tuple(offsets)
        self._one_each = one_each
        positions = {info['token']: position for position, info in enumerate(infos)}
        self._neighbors = {
            offset: np.array([neighbor(infos, positions, position, offset) for position in range(len(infos))])
            for offset in self.offsets
        }

    def others(self, position: int) -> dict[int, int]:
        """Return the positions of the other keyframes that can be targets of a sample, by frame offset."""
        found = {offset: int(neighbors[position]) for offset, neighbors in self._neighbors.items()}
        return {offset: neighbor for offset, neighbor in found.items() if neighbor != NONE}

    def keys(self, position: int, cameras: Sequence[str]) -> list[Key]:
        """Return the targets of a sample in their order, those that do not exist, too."""
        return one_neighbor_each(cameras) if self._one_each else whole_frames(cameras, self.offsets)


def neighbor(infos: Sequence[Info], positions: Mapping[str, int], position: int, offset: int) -> int:
    """Return the position of the keyframe ``offset`` after that at a position; :data:`NONE` if there is none.

    Keyframes follow each other as their records are linked (``prev``, ``next``), wherever they are in the list.
    """
    for _ in range(abs(offset)):
        token = infos[position]['next' if offset > 0 else 'prev']
        if token is None:
            return NONE
        position = positions[token]
    return position


def whole_frames(cameras: Sequence[str], offsets: Sequence[int]) -> list[Key]:
    """List all cameras of one frame after the other, and of the current frame at the end."""
    return [(offset, camera) for offset in (*offsets, CURRENT) for camera in cameras]


def one_neighbor_each(cameras: Sequence[str]) -> list[Key]:
    """Choose the previous or the next frame at random for every camera; the current frame comes at the end."""
    return [(random.choice((-1, 1)), camera) for camera in cameras] + whole_frames(cameras, ())


def one_new_view_each(keys: list[Key], shifted: list[tuple[str, str]]) -> tuple[list[Key], list[tuple[str, str]]]:
    """Keep, of the views of a camera from another frame and from a shifted place, one at random.

    Args:
        keys: of the targets; where the other frame does not exist, the current one is repeated.
        shifted: camera and name of the shifted views, at most one per camera.

    Returns:
        the targets and the shifted views that are kept. A repeated view is kept for no camera that has a shifted one.
    """
    cameras = list(dict.fromkeys(camera for _, camera in keys))
    new, current = keys[: -len(cameras)], keys[-len(cameras) :]
    with_shifted = {camera for camera, _ in shifted}
    there = {camera for offset, camera in new if offset != CURRENT}
    taken = {camera for camera in cameras if camera in with_shifted and (camera not in there or random.random() < 0.5)}
    kept = [key for key in new if key[1] not in taken]
    return kept + current, [choice for choice in shifted if choice[0] in taken]


def existing(key: Key, others: Mapping[int, object], token: str, notes: list[str]) -> Key:
    """Return the key of a view, or that of the current frame, with a note, if the other frame does not exist.

    Args:
        key: of the view.
        others: the frames that exist beside the current one, by frame offset.
        token: of the sample.
        notes: get the note.
    """
    offset, camera = key
    if offset == CURRENT or offset in others:
        return key
    notes.append(f'{camera}: frame {offset:+d} of {token} does not exist: the current frame is repeated')
    return CURRENT, camera
