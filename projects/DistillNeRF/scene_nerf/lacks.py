"""What a drive lacks, one line each: a teacher can be made of it all the same, but knows less."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from .drive import Drive, DriveImage, DriveSweep

# So many sweeps show whether something was there all the time.
SWEEPS_FOR_MOTION = 3
# Cameras that move less, meters, see everything from one place.
STANDS = 1.0
# Images of a camera are missing where there are none for this many times as long as usual, and for so many seconds.
GAP, SHORTEST_GAP = 2.5, 0.3


def find_lacks(drive: Drive, holdout_frames: Collection[int] = (), holdout_lidar: Collection[int] = ()) -> list[str]:
    """Say what a drive lacks without what is kept out.

    Args:
        drive: the drive.
        holdout_frames: keyframes whose images are kept out.
        holdout_lidar: keyframes whose LiDAR is kept out.
    """
    images, sweeps = drive.images_without(holdout_frames), drive.sweeps_without(holdout_lidar)
    missing = _missing_keyframes(images)
    return [
        *_of_lidar(drive, sweeps, holdout_lidar),
        *_of_cameras(drive, images, missing),
        *_of_times([image for image in images if image.camera not in missing]),
        *_of_way(images),
    ]


def _missing_keyframes(images: Sequence[DriveImage]) -> dict[str, str]:
    """Tell for cameras without an image in some keyframes in how many."""
    frames: dict[str, set[int]] = {image.camera: set() for image in images}
    for image in images:
        if image.frame is not None:
            frames[image.camera].add(image.frame)
    every = set().union(*frames.values())
    return {camera: f'{len(every - own)} of {len(every)}' for camera, own in frames.items() if every - own}


def _of_lidar(drive: Drive, sweeps: Sequence[DriveSweep], holdout: Collection[int]) -> list[str]:
    if not sweeps:
        what = 'all LiDAR is kept out' if drive.sweeps else 'no LiDAR'
        return [f'{what}: cells begin as fog everywhere that a camera looks; depth is less sure']
    found = []
    if len(sweeps) < SWEEPS_FOR_MOTION:
        count = f'{len(sweeps)} LiDAR sweep{"s" if len(sweeps) > 1 else ""}'
        found.append(f'{count}: what moves cannot be told ({SWEEPS_FOR_MOTION} can), all counts as standing')
    if none := sorted(set(holdout) - {sweep.frame for sweep in drive.sweeps}):
        found.append(f'keyframes without LiDAR that could be kept out: {_listed(none)}')
    return found


def _of_cameras(drive: Drive, images: Sequence[DriveImage], missing: Mapping[str, str]) -> list[str]:
    seen = {image.camera for image in images}
    found = []
    if absent := [camera for camera in drive.cameras if camera not in seen]:
        found.append(f'no image of {_listed(absent)}: what only these look at is unknown')
    if len(seen) == 1:
        found.append(f'one camera, {seen.pop()}: what lies beside its view is unknown')
    return found + [f'{camera} has no image in {count} keyframes' for camera, count in missing.items()]


def _of_times(images: Sequence[DriveImage]) -> list[str]:
    """Name the cameras with gaps in time, and the longest one."""
    longest: tuple[float, float, float] = (0.0, 0.0, 0.0)
    where = []
    for camera in dict.fromkeys(image.camera for image in images):
        times = np.array([image.timestamp for image in images if image.camera == camera]) - images[0].timestamp
        steps = np.diff(times)
        usual = float(np.quantile(steps, 0.25, method='lower')) if len(steps) else 0.0
        if len(steps) and steps.max() > max(GAP * usual, SHORTEST_GAP):
            where.append(camera)
            longest = max(longest, (float(steps.max()), usual, float(times[steps.argmax()])))
    if not where:
        return []
    gap, usual, begin = longest
    return [
        f'no images of {_listed(where)} for up to {gap:.1f} s, from {begin:.1f} s on, where others are {usual:.2f} s '
        'apart: what they would have shown is unknown'
    ]


def _of_way(images: Sequence[DriveImage]) -> list[str]:
    if len(images) == 1:
        return ['one image: nothing is seen from two places, depth where no beam ended is a guess']
    moved = 0.0
    for camera in {image.camera for image in images}:
        places = np.stack([image.cam2scene[:3, 3] for image in images if image.camera == camera])
        moved = max(moved, float(np.linalg.norm(np.ptp(places, axis=0))))
    if moved >= STANDS:
        return []
    return [f'the cameras move by {moved:.1f} m in all: depth where no beam ended is hardly told by images']


def _listed(names: Collection[object], most: int = 6) -> str:
    listed = ', '.join(str(name) for name in list(names)[:most])
    return f'{listed}, ...' if len(names) > most else listed
