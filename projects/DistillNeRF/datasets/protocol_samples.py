"""The samples that a protocol chooses in a dataset, and their targets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..evaluation.protocols import Frame, Protocol, Sample
from ..utils.errors import InputError, warn
from .dataset_options import most_frontal
from .infos import Info
from .protocol_frames import BETWEEN
from .target_frames import CURRENT, Key

Units = list[list[int]]


@dataclass(frozen=True)
class Planned:
    """A sample of a protocol in a dataset.

    Attributes:
        position: of its input among the records.
        offsets: of its targets, in records after the input.
        colors, depths: group -> its units, each the positions of target views that are scored together.
    """

    position: int
    offsets: tuple[int, ...]
    colors: dict[str, Units]
    depths: dict[str, Units]

    @property
    def scored(self) -> dict[str, dict[str, Units]]:
        """Return what the sample says of its groups (``protocol`` of its metainfo)."""
        return {'colors': self.colors, 'depths': self.depths}


@dataclass(frozen=True)
class Plan:
    """What a protocol chose.

    Attributes:
        samples: in order of scene and time.
        skipped: what could not be a sample, in words -> how many.
        period: seconds between frames, as usual in the data.
    """

    samples: list[Planned]
    skipped: dict[str, int] = field(default_factory=dict)
    period: float = float('nan')


def plan_samples(protocol: Protocol, infos: Sequence[Info], cameras: Sequence[str], where: str) -> Plan:
    """Let a protocol choose samples.

    Args:
        protocol: it.
        infos: records of all frames (:func:`frames_of`).
        cameras: of each frame.
        where: the info file, for messages.

    Raises:
        InputError: no sample is left.
    """
    scenes: dict[str, list[int]] = {}
    for position, info in enumerate(infos):
        scenes.setdefault(info['scene'], []).append(position)
    samples: list[Planned] = []
    skipped: Counter[str] = Counter()
    steps: list[float] = []
    for positions in scenes.values():
        drive = [_frame(infos[position]) for position in positions]
        steps += np.diff([frame.time for frame in drive]).tolist()
        choice = protocol.choose(drive)
        samples += [_planned(sample, positions, len(cameras), protocol.per_image) for sample in choice.samples]
        skipped.update(choice.skipped)
    if len({sample.position for sample in samples}) < len(samples):
        raise ValueError(f'protocol {protocol.name} reconstructs a frame twice')
    left_out = {what: count for what, count in skipped.items() if count}
    told = ', '.join(f'{count} {what}' for what, count in left_out.items())
    if not samples:
        raise InputError(
            f'{where}: protocol {protocol.name} has no sample in its {len(scenes)} scenes'
            f'{f" ({told})" if told else ""}; {protocol.needs}'
        )
    if told:
        warn(f'{where}: protocol {protocol.name} leaves out {told}')
    return Plan(samples, left_out, float(np.median(steps)) if steps else float('nan'))


def _frame(info: Info) -> Frame:
    place = np.asarray(info['lidar2global'], np.float64)[:3, 3]
    return Frame(float(info['timestamp']), place, BETWEEN not in info)


def _planned(sample: Sample, positions: Sequence[int], cameras: int, per_image: bool) -> Planned:
    """Bring the sample of a scene, whose records are at ``positions``, to the records and views of a dataset."""

    def units(frames: Sequence[int], apart: bool) -> Units:
        firsts = [sample.targets.index(frame) * cameras for frame in frames]
        whole = [list(range(first, first + cameras)) for first in firsts]
        return [[position] for unit in whole for position in unit] if apart else whole

    return Planned(
        positions[sample.input],
        tuple(positions[target] - positions[sample.input] for target in sample.targets),
        {name: units(frames, per_image) for name, frames in sample.colors.items()},
        {name: units(frames, False) for name, frames in sample.depths.items()},
    )


def protocol_cameras(protocol: Protocol, cameras: Sequence[str], info: Info) -> tuple[str, ...]:
    """Return those cameras that a protocol uses: all, or as many as it says of those that look most to the front.

    Args:
        protocol: it.
        cameras: to choose from.
        info: record of any frame, which has an image of each.
    """
    if protocol.cameras is None:
        return tuple(cameras)
    return most_frontal(cameras, info, min(protocol.cameras, len(cameras)))


class ProtocolTargets:
    """The samples of a protocol in a dataset, and their targets.

    Args:
        protocol: it.
        infos: records of all frames (:func:`.protocol_frames.frames_of`).
        cameras: of each frame.
        where: the info file, for messages.

    Attributes:
        plan: what the protocol chose.

    Raises:
        InputError: no sample is left.
    """

    def __init__(self, protocol: Protocol, infos: Sequence[Info], cameras: Sequence[str], where: str) -> None:
        self.plan = plan_samples(protocol, infos, cameras, where)
        self._cameras = len(cameras)
        self._planned = {planned.position: planned for planned in self.plan.samples}

    @property
    def positions(self) -> list[int]:
        """Return the positions of the samples among the records."""
        return list(self._planned)

    def at(self, position: int) -> Planned:
        """Return the sample whose input is at a position."""
        return self._planned[position]

    def others(self, position: int) -> dict[int, int]:
        """Return the positions of the targets of a sample but its input, by frame offset."""
        return {offset: position + offset for offset in self.at(position).offsets if offset != CURRENT}

    def keys(self, position: int, cameras: Sequence[str]) -> list[Key]:
        """Return the targets of a sample in their order."""
        return [(offset, camera) for offset in self.at(position).offsets for camera in cameras]

    def scored_depths(self, positions: Iterable[int]) -> set[int]:
        """Return the positions of the frames whose depth is scored in some samples."""
        planned = [self.at(position) for position in positions]
        return {
            one.position + one.offsets[unit[0] // self._cameras]
            for one in planned
            for units in one.depths.values()
            for unit in units
        }
