"""The keyframe before that of a sample: its images are inputs, too (``num_past``)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from ..utils.errors import InputError, warn
from .availability import Availability
from .infos import Info
from .target_frames import NONE, neighbor


def check_num_past(count: int) -> int:
    """Return the option ``num_past`` of a dataset.

    Raises:
        InputError: it is neither 0 nor 1.
    """
    if count not in (0, 1):
        raise InputError(f'num_past is {count!r}; give 1 for the keyframe before as a further input, or 0')
    return int(count)


class PastFrames:
    """The keyframes that come before others in their scenes, as the records are linked (``prev``).

    Args:
        infos: the records of all frames.
        in_records: offsets of frames count records, as those of protocols do, not keyframes.
    """

    def __init__(self, infos: Sequence[Info], in_records: bool) -> None:
        positions = {info['token']: position for position, info in enumerate(infos)}
        self._before = np.array([neighbor(infos, positions, position, -1) for position in range(len(infos))])
        self._in_records = in_records

    def of(self, position: int) -> tuple[int, int] | None:
        """Return frame offset and position of the keyframe before that at a position; None if there is none."""
        before = int(self._before[position])
        if before == NONE:
            return None
        return (before - position if self._in_records else -1), before

    def of_all(self, positions: Iterable[int]) -> list[int]:
        """Return the positions of the keyframes before those at some positions, as far as there are any, in order."""
        return sorted({found[1] for position in positions if (found := self.of(position)) is not None})

    def availability(self, positions: Sequence[int], where: str) -> Availability:
        """Count the samples at some positions that have a past; warn if none has.

        Args:
            positions: of the samples.
            where: the info file, for messages.
        """
        there = sum(self.of(position) is not None for position in positions)
        if not there:
            warn(f'{where}: num_past is 1, but no sample has a keyframe before it: all are reconstructed without')
        return Availability(there, len(positions))
