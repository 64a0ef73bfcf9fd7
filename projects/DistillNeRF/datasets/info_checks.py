"""Checks of the records of the info format: links, poses that agree, cameras of a car, a car that drives.

Converters check before they write, and the dataset class when it reads: what is refused once is refused always.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..geometry.boxes import check_boxes
from ..geometry.poses import CORRECT_CALIBRATION, check_intrinsics, check_poses, first_true, inverse_pose
from ..utils.errors import InputError, warn
from .drive_checks import FASTEST, FASTEST_TURN, QUATERNION_HINT, SLACK, TURN_SLACK, Drive, check_drive, motion
from .info_arrays import (
    Images,
    Info,
    check_box,
    gather_drive,
    gather_images,
    stack_matrices,
)
from .named_files import check_files_are_named_once, check_named_files
from .rig_checks import (
    MOST_MISNAMED,
    ONE_SIDED,
    ORIGIN_HEIGHT,
    Wording,
    check_distinct,
    check_rig,
    direction_of_name,
    lonely_in_rig,
)
from .sweep_checks import check_sweeps

CONVERT_AGAIN = 'convert the data again with tools/create_data.py'
# While converting there is no info file yet that could be made again.
CORRECT = 'correct it in the raw data'
WORDING = Wording(
    'its pose',
    f'the origin of the world, the LiDAR, is {ORIGIN_HEIGHT} m above the road: correct the pose of camera or LiDAR',
)
# Meters between the cameras of a car.
NARROWEST = 0.02
# Seconds between an image and its keyframe.
LONGEST_LAG = 0.3
# Two ways to one pose may differ by rounding (calibrations to a few digits, poses in float32): meters, the same per
# meter of the position on the map, and entries of the rotation.
AGREEMENT = 0.05
AGREEMENT_PER_METER = 1e-6
ROTATION_AGREEMENT = 5e-3


@dataclass(frozen=True)
class _Hints:
    """What to do about a wrong record, and about a wrong calibration."""

    record: str
    calibration: str


_LOADING = _Hints(CONVERT_AGAIN, CORRECT_CALIBRATION)
_CONVERTING = _Hints(CORRECT, CORRECT)


def check_infos(infos: Sequence[Info], where: str, converting: bool = False) -> None:
    """Check every record: fields, links, files of its own, poses that agree, plausible cameras and drive.

    Args:
        infos: the records.
        where: file that they come from, for messages.
        converting: hint at the raw data, rather than at another conversion.

    Raises:
        InputError: names ``where``, the token and the camera of the first bad record, and the hint.
    """
    hints = _CONVERTING if converting else _LOADING
    if not infos:
        raise InputError(f'{where}: holds no samples; {hints.record}')
    drive = gather_drive(infos, where, hints.record)
    images = gather_images(infos, drive.labels, hints.record)
    _check_numbers(drive, images, hints.calibration)
    _check_links(infos, where, hints.record)
    check_files_are_named_once(infos, where, hints.record)
    _check_agreement(infos, drive, images, hints.record)
    # Which way is up and how far is the LiDAR: a wrong LiDAR would be blamed on the cameras.
    check_drive(drive, where, hints.record)
    check_rig(
        images.cam2img,
        inverse_pose(images.lidar2cam),
        images.sizes,
        ORIGIN_HEIGHT,
        images.labels,
        f'{QUATERNION_HINT}; {hints.calibration}',
        WORDING,
    )
    _check_sizes(drive, images, hints.record)
    _check_image_times(drive, images, hints.record)
    check_sweeps(infos, drive, hints.record, hints.calibration)
    _check_instances(infos, drive, hints.record)
    _check_names(drive, images, where, hints.record)
    _check_rigs(drive, images, hints.calibration)
    check_named_files(infos, drive.labels, hints.record)


def _check_numbers(drive: Drive, images: Images, hint: str) -> None:
    """Check that poses are rigid and intrinsics plausible."""
    for field in ('ego2global', 'lidar2global'):
        check_poses(getattr(drive, field), [f'{label}: {field}' for label in drive.labels], hint)
    for field in ('cam2global', 'lidar2cam', 'cam2ego'):
        if (matrices := getattr(images, field)) is not None:
            check_poses(matrices, [f'{label}: {field}' for label in images.labels], hint)
    check_intrinsics(images.cam2img, images.sizes, [f'{label}: cam2img' for label in images.labels], hint)


def _check_links(infos: Sequence[Info], where: str, hint: str) -> None:
    """Check that neighbors are in the same scene, in order of time, and linked in both directions."""
    by_token = {info['token']: info for info in infos}
    if len(by_token) != len(infos):
        raise InputError(f'{where}: two samples share a token; {hint}')
    for info in infos:
        for link, sign in (('prev', -1), ('next', 1)):
            if info[link] is None:
                continue
            if not isinstance(info[link], str):
                raise InputError(f'{where}: sample {info["token"]}: {link} is {info[link]!r}, no token; {hint}')
            other, label = by_token.get(info[link]), f'{where}: sample {info["token"]}: {link} leads to {info[link]}'
            if other is None or other['scene'] != info['scene']:
                raise InputError(f'{label}, which is not in its scene; {hint}')
            if not sign * (other['timestamp'] - info['timestamp']) > 0:
                raise InputError(f'{label}, which is not {"later" if sign > 0 else "earlier"} in time; {hint}')
            back = 'prev' if link == 'next' else 'next'
            if other[back] != info['token']:
                raise InputError(f'{label}, whose {back} is {other[back]!r}; {hint}')


def _check_agreement(infos: Sequence[Info], drive: Drive, images: Images, hint: str) -> None:
    """Check that poses agree where there are two ways to compute them."""
    lidar2global = drive.lidar2global[images.sample]
    _agree(
        inverse_pose(images.cam2global) @ lidar2global,
        images.lidar2cam,
        np.abs(images.cam2global[:, :3, 3]).max(1),
        [f'{label}: cam2global and lidar2global contradict lidar2cam' for label in images.labels],
        hint,
    )
    known = [index for index, info in enumerate(infos) if 'lidar2ego' in (info['lidar_points'] or {})]
    if known:
        labels = [drive.labels[index] for index in known]
        lidar2ego = stack_matrices(
            [infos[index]['lidar_points']['lidar2ego'] for index in known],
            (4, 4),
            [f'{label}: lidar2ego' for label in labels],
            hint,
        )
        ego2global = drive.ego2global[known]
        _agree(
            inverse_pose(ego2global) @ drive.lidar2global[known],
            lidar2ego,
            np.abs(ego2global[:, :3, 3]).max(1),
            [f'{label}: ego2global and lidar2ego contradict lidar2global' for label in labels],
            hint,
        )


def _agree(found: np.ndarray, expected: np.ndarray, reach: np.ndarray, messages: Sequence[str], hint: str) -> None:
    """Check that two stacks of poses ``(n, 4, 4)`` are the same but for rounding.

    Args:
        found, expected: the poses.
        reach: ``(n,)`` distance of each from the origin of its map, meters, with which rounding grows.
        messages: what to say of each that differs.
        hint: what to do.
    """
    difference = np.abs(found - expected)
    meters, turned = difference[:, :3, 3].max(1), difference[:, :3, :3].max(axis=(1, 2))
    bad = ~((meters <= AGREEMENT + AGREEMENT_PER_METER * reach) & (turned <= ROTATION_AGREEMENT))
    if (number := first_true(bad)) is not None:
        raise InputError(f'{messages[number]} (by {meters[number]:.3g} m); {hint}')


def _check_sizes(drive: Drive, images: Images, hint: str) -> None:
    """Check that images of one camera and scene with the same intrinsics have one size."""
    first: dict[tuple[str, str], int] = {}
    for number, (sample, name) in enumerate(zip(images.sample, images.names, strict=True)):
        other = first.setdefault((drive.scenes[sample], name), number)
        same = np.array_equal(images.cam2img[number], images.cam2img[other])
        if same and not np.array_equal(images.sizes[number], images.sizes[other]):
            (height, width), (rows, columns) = images.sizes[number].astype(int), images.sizes[other].astype(int)
            raise InputError(
                f'{images.labels[number]}: its image is {width}x{height}, another of this camera in its scene is '
                f'{columns}x{rows}, and both have the same intrinsics; {hint}'
            )


def _check_image_times(drive: Drive, images: Images, hint: str) -> None:
    """Check that images are near their keyframe in time, and the vehicle as far away as it can have driven."""
    lags = images.times - drive.times[images.sample]
    if (number := first_true(~(np.abs(lags) <= LONGEST_LAG))) is not None:
        raise InputError(
            f'{images.labels[number]}: its timestamp is {lags[number]:+.6g} s off that of its keyframe (at most '
            f'{LONGEST_LAG}); {hint}'
        )
    if images.cam2ego is None:
        return
    ego_at_image = images.cam2global @ inverse_pose(images.cam2ego)
    distances, angles = motion(inverse_pose(drive.ego2global[images.sample]) @ ego_at_image)
    bad = ~(distances <= FASTEST * np.abs(lags) + SLACK) | ~(angles <= FASTEST_TURN * np.abs(lags) + TURN_SLACK)
    if (number := first_true(bad)) is not None:
        raise InputError(
            f'{images.labels[number]}: the vehicle is {distances[number]:.6g} m away and turned by '
            f'{angles[number]:.0f} degrees when the image is taken, {lags[number]:+.3f} s from the keyframe; '
            f'correct the ego pose of the image; {hint}'
        )


def _check_instances(infos: Sequence[Info], drive: Drive, hint: str) -> None:
    """Check the boxes of objects, and warn of a box that is there twice."""
    rows, labels = [], []
    for index, info in enumerate(infos):
        for box in info.get('instances', ()):
            check_box(box, drive.labels[index], hint)
            rows.append([box['bbox_3d']])
            labels.append(drive.labels[index])
    if not rows:
        return
    boxes = stack_matrices(rows, (1, 7), labels, hint)[:, 0]
    check_boxes(boxes, labels, hint)
    _, keyframe = np.unique(labels, return_inverse=True)
    _, first = np.unique(np.column_stack([keyframe, boxes.round(3)]), axis=0, return_index=True)
    if len(first) < len(boxes):
        double = min(set(range(len(boxes))) - set(first.tolist()))
        warn(
            f'{labels[double]}: a box (instances) is there twice, at {boxes[double, :3].round(2).tolist()}; so are '
            f'{len(boxes) - len(first)} of {len(boxes)} boxes of the file'
        )


def _check_names(drive: Drive, images: Images, where: str, hint: str) -> None:
    """Check that the cameras of a keyframe look to the sides that their names say, and warn of one that does not."""
    directions = {name: direction_of_name(name) for name in set(images.names)}
    named = np.array([directions[name] is not None for name in images.names])
    if not named.any():
        return
    expected = np.array([directions[name] for name in images.names if directions[name] is not None])
    sample, labels = images.sample[named], np.asarray(images.labels)[named]
    axes = images.lidar2cam[named, 2, :2]
    axes = axes / np.maximum(np.linalg.norm(axes, axis=1, keepdims=True), 1e-9)
    for axis, what in ((0, 'left and right are swapped'), (1, 'front and back are swapped')):
        clear = (np.abs(expected[:, axis]) > ONE_SIDED) & (np.abs(axes[:, axis]) > ONE_SIDED)
        wrong = clear & (expected[:, axis] * axes[:, axis] < 0)
        counts = np.bincount(sample[clear], minlength=len(drive.times))
        all_wrong = (counts > 1) & (np.bincount(sample[wrong], minlength=len(drive.times)) == counts)
        if (number := first_true(all_wrong)) is not None:
            raise InputError(
                f'{drive.labels[number]}: all its cameras look to the other side than their names say: {what} '
                f'(the LiDAR frame is x right, y forward); correct the poses or the names; {hint}'
            )
    off = np.degrees(np.arccos(np.clip((expected * axes).sum(1), -1, 1)))
    names = np.asarray(images.names)[named]
    for name in dict.fromkeys(names[off > MOST_MISNAMED].tolist()):
        chosen = (names == name) & (off > MOST_MISNAMED)
        first = int(chosen.argmax())
        warn(
            f'{labels[first]}: looks {off[first]:.0f} degrees off the direction of its name (in {chosen.sum()} of the '
            f'{(names == name).sum()} images of this camera in {where}); compare its pictures with its calibration'
        )


def _check_rigs(drive: Drive, images: Images, hint: str) -> None:
    """Check that no two cameras of a keyframe have one pose, and warn of cameras that see nothing others see."""
    starts = np.flatnonzero(np.r_[True, np.diff(images.sample) > 0])
    ends = np.r_[starts[1:], len(images.sample)]
    groups = defaultdict(list)
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        groups[tuple(images.names[start:end])].append(start)
    lonely: dict[str, str] = {}
    for names, begins in groups.items():
        index = np.asarray(begins)[:, None] + np.arange(len(names))
        cam2lidar = inverse_pose(images.lidar2cam[index])
        labels = [images.labels[begin : begin + len(names)] for begin in begins]
        check_distinct(cam2lidar, labels, names, hint, 'its pose')
        # Between images that are taken one after the other the vehicle moves.
        mounted = cam2lidar if images.cam2ego is None else images.cam2ego[index]
        _warn_of_narrow(mounted[..., :3, 3], drive, index, images)
        for row in _distinct_rigs(images, drive, index):
            numbers = index[row]
            for camera in lonely_in_rig(images.cam2img[numbers], cam2lidar[row], images.sizes[numbers]):
                lonely.setdefault(names[camera], images.labels[numbers[camera]])
    for label in lonely.values():
        warn(f'{label}: sees nothing that another camera sees; if it should, correct its calibration')


def _warn_of_narrow(positions: np.ndarray, drive: Drive, index: np.ndarray, images: Images) -> None:
    """Warn of keyframes whose cameras all stand in one place, as if their positions were in kilometers.

    Args:
        positions: ``(n, cameras, 3)`` of n keyframes with the same cameras, meters.
        drive: all keyframes.
        index: ``(n, cameras)`` which of ``images`` they are.
        images: all images.
    """
    spread = np.ptp(positions, axis=1).max(1)
    narrow = spread < NARROWEST if positions.shape[1] > 1 else np.zeros(len(positions), bool)
    if (first := first_true(narrow)) is not None:
        warn(
            f'{drive.labels[images.sample[index[first, 0]]]}: all its cameras are within {spread[first]:.2g} m of each '
            f'other (in {narrow.sum()} of {len(narrow)} samples); give their positions in meters'
        )


def _distinct_rigs(images: Images, drive: Drive, index: np.ndarray) -> list[int]:
    """Return the rows of ``index`` (keyframes x cameras) that begin a scene and have a calibration of their own."""
    scenes = np.asarray(drive.scenes, dtype=str)[images.sample[index[:, 0]]]
    _, rows = np.unique(scenes, return_index=True)
    mounted = images.lidar2cam if images.cam2ego is None else images.cam2ego
    content = np.concatenate(
        [mounted[index[rows]].reshape(len(rows), -1), images.cam2img[index[rows]].reshape(len(rows), -1)], 1
    )
    _, first = np.unique(content.round(2), axis=0, return_index=True)
    return sorted(rows[first].tolist())
