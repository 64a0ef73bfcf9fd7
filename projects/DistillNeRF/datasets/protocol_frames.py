"""The frames that a protocol chooses from: keyframes, and the images between them."""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Sequence

import numpy as np

from ..evaluation.protocols.base import spacing
from ..geometry.poses import inverse_pose
from ..utils.errors import warn
from .infos import Info

# Marks the records of frames between keyframes.
BETWEEN = 'between_keyframes'


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
        # The keyframe before, of which the other direction knows nothing.
        'prev': info['prev'],
        'next': None,
        'ego2global': ego2global.tolist(),
        'lidar2global': (ego2global @ lidar2ego).tolist(),
        'images': images,
        'lidar_points': None,
        'lidar_sweeps': [],
    }
