"""Checks of what sensors measured between keyframes: LiDAR sweeps and images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..geometry.poses import check_intrinsics, check_poses, first_true, inverse_pose
from ..utils.errors import InputError
from .drive_checks import FASTEST, FASTEST_TURN, SLACK, TURN_SLACK, Drive, motion
from .info_arrays import SWEEP_FIELDS, Info, check_fields, check_points, stack_matrices

# Seconds between a sweep and its keyframe; beyond, one of them is not in seconds.
LONGEST_SWEEP_LAG = 100.0


def check_sweeps(infos: Sequence[Info], drive: Drive, hint: str, calibration_hint: str) -> None:
    """Check that LiDAR sweeps and images between keyframes belong to their keyframe, in time and in place.

    Args:
        infos: the records.
        drive: their keyframes.
        hint: what to do about a wrong record, for messages.
        calibration_hint: what to do about a wrong calibration.

    Raises:
        InputError: names the keyframe, the first sweep that cannot be true, its camera if it has one, and the hint.
    """
    _check_lidar_sweeps(infos, drive, hint, calibration_hint)
    _check_image_sweeps(infos, drive, hint, calibration_hint)


def _check_lidar_sweeps(infos: Sequence[Info], drive: Drive, hint: str, calibration_hint: str) -> None:
    """Check that sweeps are LiDAR measurements near their keyframe."""
    sample, sweeps, labels = [], [], []
    for index, info in enumerate(infos):
        for number, sweep in enumerate(info.get('lidar_sweeps', ())):
            label = f'{drive.labels[index]}, sweep {number}'
            check_fields(sweep, SWEEP_FIELDS, label, hint)
            check_points(sweep['lidar_points'], label, hint)
            sample.append(index)
            sweeps.append(sweep)
            labels.append(f'{label}: lidar2global')
    if not sweeps:
        return
    lidar2global = stack_matrices([sweep['lidar2global'] for sweep in sweeps], (4, 4), labels, hint)
    check_poses(lidar2global, labels, calibration_hint)
    times = drive.times[sample]
    lags = np.array([sweep.get('timestamp', time) - time for sweep, time in zip(sweeps, times, strict=True)])
    # Sweeps without a time are of the last second.
    seconds = np.where(['timestamp' in sweep for sweep in sweeps], np.abs(lags), 1.0)
    _check_motion(drive.lidar2global[sample], lidar2global, lags, seconds, labels, hint)


def _check_image_sweeps(infos: Sequence[Info], drive: Drive, hint: str, calibration_hint: str) -> None:
    """Check that images between keyframes lie between these in time, and near them in place."""
    found = list(_image_sweeps(infos, drive, hint))
    if not found:
        return
    labels = [sweep.label for sweep in found]
    sizes = np.array([[sweep.image['height'], sweep.image['width']] for sweep in found], dtype=np.float64)
    fields = {}
    for field, shape in (('cam2img', (3, 3)), ('cam2global', (4, 4)), ('cam2ego', (4, 4))):
        names = [f'{label}: {field}' for label in labels]
        fields[field] = stack_matrices([sweep.image[field] for sweep in found], shape, names, hint)
        if shape == (4, 4):
            check_poses(fields[field], names, calibration_hint)
        else:
            check_intrinsics(fields[field], sizes, names, calibration_hint)
    lags = np.array([sweep.image['timestamp'] - sweep.own['timestamp'] for sweep in found])
    own = np.array([sweep.own['cam2global'] for sweep in found], dtype=np.float64)
    names = [f'{label}: cam2global' for label in labels]
    _check_motion(own, fields['cam2global'], lags, np.abs(lags), names, hint)


@dataclass(frozen=True)
class _ImageSweep:
    """An image between keyframes, that of its camera in the keyframe after it, and a label for messages."""

    image: Info
    own: Info
    label: str


def _image_sweeps(infos: Sequence[Info], drive: Drive, hint: str) -> Iterator[_ImageSweep]:
    """Yield the images between keyframes; raise :class:`InputError` for one of the wrong time or size."""
    by_token = {info['token']: info for info in infos}
    for info, label in zip(infos, drive.labels, strict=True):
        before = by_token.get(info['prev'])
        for camera, images in info.get('image_sweeps', {}).items():
            own = info['images'][camera]
            time = before['images'][camera]['timestamp'] if before and camera in before['images'] else -np.inf
            for number, image in enumerate(images):
                name = f'{label}, {camera}, image sweep {number}'
                if not time < image['timestamp'] < own['timestamp']:
                    raise InputError(
                        f'{name}: its timestamp {image["timestamp"]:.6f} is not between {time:.6f}, of the image '
                        f'before it, and {own["timestamp"]:.6f}, of the keyframe; {hint}'
                    )
                time = image['timestamp']
                same = np.array_equal(image['cam2img'], own['cam2img'])
                if same and (image['height'], image['width']) != (own['height'], own['width']):
                    raise InputError(
                        f'{name}: its image is {image["width"]}x{image["height"]}, that of the keyframe '
                        f'{own["width"]}x{own["height"]}, and both have the same intrinsics; {hint}'
                    )
                yield _ImageSweep(image, own, name)


def _check_motion(
    own: np.ndarray, poses: np.ndarray, lags: np.ndarray, seconds: np.ndarray, labels: Sequence[str], hint: str
) -> None:
    """Check that sensors have not moved farther from their keyframe than a car can have.

    Args:
        own: ``(n, 4, 4)`` poses of the sensors at the keyframe.
        poses: ``(n, 4, 4)`` poses at another time.
        lags: ``(n,)`` seconds from the keyframe to that time, for messages.
        seconds: ``(n,)`` how long they may have moved.
        labels: what to call each.
        hint: what to do.
    """
    moved, turned = motion(inverse_pose(own) @ poses)
    far = (moved > FASTEST * seconds + SLACK) | (turned > FASTEST_TURN * seconds + TURN_SLACK)
    bad = ~(seconds <= LONGEST_SWEEP_LAG) | far
    if (number := first_true(bad)) is not None:
        raise InputError(
            f'{labels[number]} is {moved[number]:.6g} m and {turned[number]:.0f} degrees off that of the keyframe, '
            f'{lags[number]:+.6g} s from it; {hint}'
        )
