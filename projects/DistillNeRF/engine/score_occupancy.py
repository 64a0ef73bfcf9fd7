"""Score a folder of predicted grids against the labels of Occ3D-nuScenes, whoever predicted them."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from tqdm import tqdm

from ..datasets.infos import load_infos
from ..datasets.occupancy import lidar_poses
from ..evaluation.occupancy.confusion import ConfusionMatrix
from ..evaluation.occupancy.labels import Frame, Matches, match_frames, read_labels, read_prediction
from ..evaluation.occupancy.ray_iou import THRESHOLDS, RayCounts, drive_origins, lidar_directions
from ..evaluation.report import text_table
from ..semantics.classes import OCC3D_CLASSES
from ..semantics.occ3d import FREE, LOWER, SHAPE, VOXEL
from ..utils.errors import InputError, warn

# Where the LiDAR of a nuScenes car is in its ego frame, meters: that of Singapore; the one of Boston is 4 cm behind.
LIDAR_PLACE = (0.985793, 0.0, 1.84019)
COLUMNS = ('IoU', *(f'RayIoU {threshold:g} m' for threshold in THRESHOLDS))
ROWS = {
    'miou': 'all classes (mIoU, RayIoU)',
    'miou_star': 'without others, other_flat (mIoU*)',
    'foreground_miou': 'barrier to truck (foreground mIoU)',
    'iou': 'occupied or free (IoU)',
}


@dataclass(frozen=True)
class Origins:
    """From where the rays of RayIoU start, where a label file does not say so.

    Attributes:
        place: ``(3,)`` of the LiDAR in the ego frame, meters.
        by_token: places along the drive of each frame; None: ``place`` alone.
        source: where the latter are from, for messages.
    """

    place: Sequence[float] = LIDAR_PLACE
    by_token: Mapping[str, np.ndarray] | None = None
    source: str = ''

    def __post_init__(self) -> None:
        if not np.isfinite(self.place).all():
            raise InputError(f'--origin is {" ".join(map(str, self.place))}; give three finite numbers, meters')

    @classmethod
    def of_infos(cls, paths: Sequence[str | os.PathLike]) -> Origins:
        """Read the drives of info files.

        Raises:
            InputError: a missing, damaged or foreign file.
        """
        infos = [info for path in paths for info in load_infos(path)[1]]
        drives = lidar_poses(infos)
        by_token = {
            info['token']: drive_origins(drives[info['scene']], np.asarray(info['ego2global'], np.float64))
            for info in infos
        }
        return cls(by_token=by_token, source=', '.join(map(str, paths)))

    def of(self, token: str) -> np.ndarray:
        """Return the origins ``(n, 3)`` of a frame.

        Raises:
            InputError: the info files have no such frame.
        """
        if self.by_token is None:
            return np.array([self.place], np.float64)
        if token not in self.by_token:
            raise InputError(
                f'{self.source}: no sample {token} in it; give the info files of the drives of all these labels'
            )
        return self.by_token[token]

    def __str__(self) -> str:
        if self.by_token is None:
            return 'one LiDAR place at ({:g}, {:g}, {:g}) m'.format(*self.place)
        return f'the drives of {self.source}'


@dataclass(frozen=True)
class FrameCounts:
    """What is counted in one frame.

    Attributes:
        voxels, rays: the counts; there are no rays if RayIoU was not asked for.
        origins: number of origins; 0 without RayIoU.
        own_origins: the label file says where the rays start.
    """

    voxels: ConfusionMatrix
    rays: RayCounts
    origins: int
    own_origins: bool


def score(
    labels: str | os.PathLike,
    predictions: str | os.PathLike,
    mask: str | None = 'camera',
    origins: Origins | None = None,
    workers: int = 1,
) -> dict[str, Any]:
    """Score predictions.

    Args:
        labels: folder of ``SCENE/TOKEN/labels.npz``.
        predictions: folder of ``SCENE/TOKEN.npz`` or ``SCENE/TOKEN/labels.npz``.
        mask: which voxels count: ``camera``, ``lidar``; None: all. RayIoU has no mask.
        origins: where rays start; None: no RayIoU.
        workers: threads.

    Returns:
        figures from 0 to 1, None where there is nothing to measure, as JSON can hold them; :func:`as_text` prints them.

    Raises:
        InputError: bad folders or files, or nothing that counts.
    """
    if workers < 1:
        raise InputError(f'--workers is {workers}; give 1 or more')
    matches = match_frames(labels, predictions)
    _tell_of_gaps(matches)
    voxels, rays, own, starts, empty = ConfusionMatrix(), RayCounts(), 0, 0, 0
    one_frame = partial(_count, mask=mask, origins=origins)
    for counted in tqdm(_each(one_frame, matches.frames, workers), 'occupancy', len(matches.frames), unit='frame'):
        voxels, rays = voxels + counted.voxels, rays + counted.rays
        own, starts = own + counted.own_origins, starts + counted.origins
        empty += not counted.voxels.counts.any()
    if empty:
        warn(f'{labels}: mask_{mask} of {empty} of {len(matches.frames)} frames has no voxel: nothing of them counts')
    if not voxels.counts.any():
        raise InputError(f'{labels}: mask_{mask} of all {len(matches.frames)} frames has no voxel; try --mask none')
    result = _describe(matches, mask, voxels)
    if origins is not None:
        if not rays.truth.any():
            raise InputError(f'{labels}: no ray from {origins} meets anything; say with --origin where the LiDAR is')
        known = len(matches.frames)
        said = [f'label files ({own} of {known} frames)'] * (own > 0) + [str(origins)] * (own < known)
        result['protocol'] |= {'rays_per_origin': len(lidar_directions()), 'origins': starts, 'origin': ', '.join(said)}
        result |= rays.scores() | {'absent_from_rays': rays.absent()}
        result['ray_classes'] = {name: _by_class(row) for name, row in zip(COLUMNS[1:], rays.ious(), strict=True)}
    return {key: _json(value) for key, value in result.items()}


def as_text(result: Mapping[str, Any]) -> str:
    """Format the figures of :func:`score` in percent, as papers have them, below what was measured and how."""
    protocol = result['protocol']
    lines = [f'{key.replace("_", " ")}: {value}' for key, value in protocol.items()]
    columns = {COLUMNS[0]: result['classes'], **result.get('ray_classes', {})}
    means = {key: result.get(f'ray_iou_{threshold:g}m') for key, threshold in zip(COLUMNS[1:], THRESHOLDS, strict=True)}
    rows = [[name, *(_percent(values[name]) for values in columns.values())] for name in OCC3D_CLASSES[:FREE]]
    for key, label in ROWS.items():
        others = means if key == 'miou' else {}
        rows.append([label, _percent(result[key]), *(_percent(others.get(name)) for name in [*columns][1:])])
    lines += ['', text_table(['class', *(f'{name} [%]' for name in columns)], rows), '']
    if 'ray_iou' in result:
        lines.append(f'RayIoU (mean of {", ".join(f"{t:g}" for t in THRESHOLDS)} m): {_percent(result["ray_iou"])} %')
    for key, where in {'absent': 'voxels', 'absent_from_rays': 'rays'}.items():
        if result.get(key):
            lines.append(f'in no mean, as neither prediction nor truth has them ({where}): {", ".join(result[key])}')
    return '\n'.join(lines)


def _tell_of_gaps(matches: Matches) -> None:
    """Warn of labels without prediction, and of predictions without labels."""
    if matches.missing:
        total = len(matches.frames) + len(matches.missing)
        warn(
            f'{matches.missing[0]} and {len(matches.missing) - 1} more of {total} frames have no prediction and do not '
            'count: figures of fewer frames compare with no others; predict them, or give labels of these scenes alone'
        )
    if matches.others:
        warn(f'{matches.others[0]}: {len(matches.others)} predictions are of no frame of the labels, and left out')


def _each(one_frame: partial, frames: Sequence[Frame], workers: int) -> Iterator[FrameCounts]:
    """Count frame by frame, in order; of many threads the kernels of numpy and numba run at once."""
    if workers == 1:
        yield from map(one_frame, frames)
        return
    with ThreadPoolExecutor(workers) as pool:
        yield from pool.map(one_frame, frames)


def _count(frame: Frame, mask: str | None, origins: Origins | None) -> FrameCounts:
    truth, prediction = read_labels(frame.labels, mask), read_prediction(frame.prediction)
    voxels, rays = ConfusionMatrix(), RayCounts()
    voxels.add(prediction, truth.semantics, truth.mask)
    if origins is None:
        return FrameCounts(voxels, rays, 0, False)
    places = origins.of(frame.token) if truth.origins is None else truth.origins
    rays.add(prediction, truth.semantics, places)
    return FrameCounts(voxels, rays, len(places), truth.origins is not None)


def _describe(matches: Matches, mask: str | None, voxels: ConfusionMatrix) -> dict[str, Any]:
    """Return the protocol, the figures of voxels and the confusion matrix."""
    shape, lower = ' x '.join(map(str, SHAPE)), ', '.join(f'{value:g}' for value in LOWER)
    return {
        'protocol': {
            'grid': f'Occ3D-nuScenes, {shape} voxels of {VOXEL} m from ({lower}) m in the ego frame',
            'frames': len(matches.frames),
            'frames_without_prediction': len(matches.missing),
            'mask': mask or 'none',
            'voxels': int(voxels.counts.sum()),
        },
        **voxels.scores(),
        'classes': _by_class(voxels.ious()),
        'absent': voxels.absent(),
        'confusion': voxels.counts.tolist(),
    }


def _by_class(values: np.ndarray) -> dict[str, float]:
    return dict(zip(OCC3D_CLASSES, values.tolist(), strict=False))


def _json(value: Any) -> Any:
    """Return a value with None for NaN, which JSON has not."""
    if isinstance(value, dict):
        return {key: _json(one) for key, one in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value


def _percent(value: float | None) -> str:
    return '' if value is None else f'{100 * value:.2f}'
