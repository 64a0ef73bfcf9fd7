"""All LiDAR beams of a drive, in the scene frame."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
from typing_extensions import Self

from ..utils.errors import InputError, warn
from .drive import Drive, DriveSweep


@dataclass(frozen=True)
class Beams:
    """Beams in order of time.

    Attributes:
        origins: ``(n, 3)`` float32, where they begin, meters in the scene.
        ends: ``(n, 3)`` float32, where they came back from.
        sweeps: ``(n,)`` int32 ascending, position of their sweep in ``times``.
        times: ``(s,)`` float64, seconds; time stamps of the sweeps.
        delays: ``(n,)`` float32, seconds relative to ``times[sweeps]``; None becomes zeros.
    """

    origins: np.ndarray
    ends: np.ndarray
    sweeps: np.ndarray
    times: np.ndarray
    delays: np.ndarray = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if self.delays is None:
            object.__setattr__(self, 'delays', np.zeros(len(self.ends), np.float32))

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, chosen: np.ndarray) -> Self:
        """Return some beams; of the same sweeps."""
        parts = ('origins', 'ends', 'sweeps', 'delays')
        return replace(self, **{part: getattr(self, part)[chosen] for part in parts})

    @property
    def lengths(self) -> np.ndarray:
        """Return the meters ``(n,)`` that the beams went."""
        return np.linalg.norm(self.ends - self.origins, axis=1)

    @property
    def point_times(self) -> np.ndarray:
        """Return the time of each beam, ``(n,)`` float64 seconds."""
        return self.times[self.sweeps] + self.delays

    def of_sweep(self, sweep: int) -> slice:
        """Return which beams are of a sweep."""
        begin, end = np.searchsorted(self.sweeps, np.array([sweep, sweep + 1], self.sweeps.dtype))
        return slice(int(begin), int(end))


def collect_beams(drive: Drive, exclude_frames: Collection[int] = (), shortest: float = 0.0) -> Beams:
    """Read the beams of all sweeps of a drive.

    Args:
        drive: the drive.
        exclude_frames: keyframes whose sweep is not read.
        shortest: meters; shorter beams are left out, as they ended on the own car.

    Raises:
        InputError: no sweep, none but excluded ones, or nothing in them; files as in
            :meth:`.drive.DriveSweep.timed_beams`.
    """
    if not drive.sweeps:
        raise InputError(
            f'scene {drive.scene}: has no LiDAR; give info files with LiDAR, or use a teacher that learns from images'
        )
    sweeps = drive.sweeps_without(exclude_frames)
    if not sweeps:
        raise InputError(f'scene {drive.scene}: all its LiDAR sweeps are excluded; exclude fewer frames')
    origins, ends, delays = zip(*(sweep.timed_beams() for sweep in sweeps), strict=True)
    _warn_of_nan(drive.scene, sweeps, [len(part) for part in ends])
    beams = Beams(
        np.concatenate(origins),
        np.concatenate(ends),
        np.repeat(np.arange(len(sweeps), dtype=np.int32), [len(part) for part in ends]),
        np.array([sweep.timestamp for sweep in sweeps], np.float64),
        np.concatenate(delays),
    )
    beams = beams[beams.lengths > shortest]
    if not len(beams):
        raise InputError(
            f'scene {drive.scene}: no point in its LiDAR sweeps is farther away than {shortest:g} m, as in '
            f'{sweeps[0].path}; restore the LiDAR files or convert the data again with tools/create_data.py'
        )
    return beams


def _warn_of_nan(scene: str, sweeps: Sequence[DriveSweep], counts: Sequence[int]) -> None:
    """Tell how many points of sweeps were left out, as these have only so many beams."""
    lost = {sweep.path: sweep.num_points - count for sweep, count in zip(sweeps, counts, strict=True)}
    if total := sum(lost.values()):
        first = next(path for path, number in lost.items() if number)
        points = sum(sweep.num_points for sweep in sweeps)
        warn(f'scene {scene}: {total:,} of {points:,} LiDAR points are NaN or infinite, as in {first}: left out')
