"""How much of what a dataset was asked for is available; what is missing in part is counted in one warning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..utils.errors import InputError, warn
from .infos import Info, lidar_measurements

LIDAR, OTHER_FRAMES, OCCUPANCY, PAST = 'LiDAR', 'other frames', 'occupancy labels', 'past keyframes'


@dataclass(frozen=True)
class Availability:
    """How many of ``total`` samples or files are ``there``."""

    there: int
    total: int

    @property
    def missing(self) -> int:
        """Return how many are not there."""
        return self.total - self.there


def lidar_availability(infos: Sequence[Info], sweeps: int, where: str) -> Availability:
    """Count the samples that have LiDAR, their own or that of other frames; warn of those without.

    Args:
        infos: the samples.
        sweeps: LiDAR measurements per sample that are asked for.
        where: the info file, for messages.

    Raises:
        InputError: more than one measurement is asked for, but no sample lists any beside its own.
    """
    total = len(infos)
    own = sum(bool(info['lidar_points']) for info in infos)
    listed = [len(info.get('lidar_sweeps') or []) for info in infos]
    there = sum(bool(lidar_measurements(info, sweeps)) for info in infos)
    if own < total:
        helped = f' ({there - own} of them take that of other frames)' if there > own else ''
        warn(f'{where}: {total - own} of {total} samples have no LiDAR of their own{helped}')
    if sweeps > 1 and there and not any(listed):
        raise InputError(
            f'{where}: lidar_sweeps is {sweeps}, but no sample lists LiDAR beside its own; set lidar_sweeps=1 in the '
            'dataset config, or convert data that have sweeps again with tools/create_data.py'
        )
    if sweeps > 1 and (short := [count for count in listed if count < sweeps - 1]):
        none = sum(not count for count in short)
        warn(
            f'{where}: {len(short)} of {total} samples list fewer than the {sweeps - 1} sweeps of '
            f'lidar_sweeps={sweeps}, {none} of them none'
        )
    return Availability(there, total)


def require_boxes(infos: Sequence[Info], where: str) -> None:
    """Check that some sample has a box to train on (``boxes`` of :func:`..geometry.boxes.read_boxes`).

    Raises:
        InputError: no sample has one.
    """
    if not any(len(info['boxes'][0]) for info in infos):
        raise InputError(
            f'{where}: none of its {len(infos)} samples has a box of a known category, which model.det_head_3d is '
            'trained on; leave it out, or convert data that have boxes (nuScenes, MiniTown)'
        )


def describe_missing(availability: Mapping[str, Availability]) -> str:
    """Say how many of each are missing, as in ``teacher depth 3 of 12, teacher sky_mask 12 of 12``."""
    return ', '.join(f'{name} {part.missing} of {part.total}' for name, part in availability.items())


def lidar_note(info: Info, sweeps: int) -> str:
    """Say what takes the place of a keyframe's own LiDAR."""
    others = [
        # Sweeps need not say when they were measured.
        f'{sweep["timestamp"] - info["timestamp"]:+.2f}' if 'timestamp' in sweep else '?'
        for sweep in lidar_measurements(info, sweeps)
    ]
    instead = f', that of {", ".join(others)} s is used' if others else ''
    return f'{info["token"]}: has no LiDAR{instead}'
