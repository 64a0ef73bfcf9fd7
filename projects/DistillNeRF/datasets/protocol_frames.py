"""The frames that a protocol chooses from, keyframes and images between them, and the samples that it chooses."""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..evaluation.protocols import Frame, Protocol, Sample
from ..evaluation.protocols.base import spacing
from ..geometry.poses import inverse_pose
from ..utils.errors import InputError, warn
from .infos import Info

# Marks the records of frames between keyframes.
BETWEEN = 'between_keyframes'
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


def frames_of(infos: Sequence[Info], cameras: Sequence[str], between: bool, where: str) -> list[Info]:
    """Return the records of all frames, in order of scene and time.

    Args:
        infos: records of keyframes, in this order.
        cameras: that each frame must have an image of.
        between: insert records of the images between keyframes, too (``image_sweeps``).
        where: the info file, for messages.
    """
    if not between:
        return list(infos)
    frames: list[Info] = []
    dropped = 0
    for info in infos:
        found = list(_between(info, cameras))
        dropped += sum(frame is None for frame in found)
        frames += [frame for frame in found if frame is not None]
        frames.append(info)
    if dropped:
        warn(f'{where}: {dropped} instants between keyframes lack the image of a camera: they are no frames')
    return frames


def _between(info: Info, cameras: Sequence[str]) -> Iterator[Info | None]:
    """Yield a record per image that the first camera took since the keyframe before; None if another took none then.

    Cameras take their images at different moments of a frame; what counts is the time that an image would have if its
    camera were as far from the time of the keyframe as it is in the keyframe.
    """
    sweeps = info.get('image_sweeps', {})
    times = {
        camera: [
            image['timestamp'] + info['timestamp'] - info['images'][camera]['timestamp']
            for image in sweeps.get(camera, [])
        ]
        for camera in cameras
    }
    first = times[cameras[0]]
    # Half of this, and two images of a camera cannot be meant by one time.
    period = spacing([*first, info['timestamp']])
    used: set[tuple[str, int]] = set()
    for number, time in enumerate(first):
        images = {}
        for camera in cameras:
            nearest = _nearest(times[camera], time)
            if nearest is None or abs(times[camera][nearest] - time) >= period / 2 or (camera, nearest) in used:
                break
            used.add((camera, nearest))
            images[camera] = sweeps[camera][nearest]
        yield _record(info, images, time, number) if len(images) == len(cameras) else None


def _nearest(times: Sequence[float], time: float) -> int | None:
    """Return the position of the nearest of times in rising order, of two the earlier; None if there are none."""
    after = bisect.bisect_left(times, time)
    around = [position for position in (after - 1, after) if 0 <= position < len(times)]
    return min(around, key=lambda position: abs(times[position] - time), default=None)


def _record(info: Info, images: dict[str, Info], time: float, number: int) -> Info:
    """Make the record of a frame between keyframes: images and poses, no LiDAR, no maps, no boxes.

    The LiDAR is where it is on the car at the image that is nearest in time.
    """
    nearest = min(images.values(), key=lambda image: abs(image['timestamp'] - time))
    ego2global = np.asarray(nearest['cam2global']) @ inverse_pose(np.asarray(nearest['cam2ego'], np.float64))
    lidar2ego = inverse_pose(np.asarray(info['ego2global'], np.float64)) @ np.asarray(info['lidar2global'])
    return {
        BETWEEN: True,
        'token': f'{info["token"]}-{number}',
        'scene': info['scene'],
        'frame': info['frame'],
        'timestamp': time,
        'prev': None,
        'next': None,
        'ego2global': ego2global.tolist(),
        'lidar2global': (ego2global @ lidar2ego).tolist(),
        'images': images,
        'lidar_points': None,
        'lidar_sweeps': [],
    }


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
