"""Metric depth of every image by a depth network, aligned to LiDAR, in the layout of docs/DATA.md."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from ..foundation_models.depth import METRIC, DepthNetwork
from ..foundation_models.depth_alignment import Alignment, align
from ..foundation_models.map_network import Size
from ..foundation_models.segmentation import map_size
from ..pipelines.maps import at_centers, check_depth, check_sky, read_map
from ..utils.errors import InputError, warn
from ..utils.files import read_json, save_json, save_npy
from .extraction import (
    Extraction,
    ExtractionOptions,
    ImageTask,
    Loaded,
    Stages,
    extract,
    part_of,
    read_task_image,
    target,
)
from .lidar_points import LidarPoints
from .sky_masks import check_sizes

# What changes the files makes them again.
VERSION = 1
NAME = 'depth'
DEPTH = 'depth'
HINT = 'look at the image, and whether --gives says what the network gives'
# So many images whose output falls where LiDAR's depth rises, and none where it rises, are no accident.
WRONG_WAY = 3
# What became of the alignment of an image.
ALIGNED, NO_LIDAR, UNASKED = 'aligned', 'no LiDAR', 'not asked for'
UNCLEAR, FALLS, REFUSED = 'too few points, or all alike', 'falls', 'no meters'


def depth_files(image: Mapping[str, Any], view: str) -> dict[str, str]:
    """Name the depth file of an image, below the output folder."""
    return {DEPTH: image['teacher']['depth']}


@dataclass(frozen=True)
class DepthOptions:
    """How depth is made.

    Attributes:
        size: (height, width) of the files; None: as large as what the network gives, in the shape of the image.
        max_depth: z from which on depth is unknown, meters; LiDAR beyond is not used.
        align: whether scale and shift are fitted to LiDAR.
        sky: root of sky masks; None: depth is not cut by them.
        lidar_root: folder of the LiDAR; None: that of each info file.
    """

    size: Size | None = None
    max_depth: float = 80.0
    align: bool = True
    sky: Path | None = None
    lidar_root: Path | None = None


@dataclass(frozen=True)
class _Seen:
    """What is known of an image beside its pixels.

    Attributes:
        size: (height, width).
        lidar: ``(n, 3)`` pixels u, v and z of LiDAR points that it sees; None without LiDAR.
        sky: ``(h, w)`` its sky mask; None: not asked for.
    """

    size: Size
    lidar: np.ndarray | None
    sky: np.ndarray | None


class _Writer:
    """Align and write the depth of one image after the other."""

    def __init__(self, network: DepthNetwork, depth: DepthOptions, options: ExtractionOptions) -> None:
        self.network, self.depth, self.options = network, depth, options
        self._rises, self._falls = 0, 0

    def __call__(self, task: ImageTask, seen: _Seen, output: np.ndarray) -> dict[str, Any]:
        """Write the depth of an image, if it is known; return what its alignment is like.

        Args:
            task: of the image.
            seen: what is known of it.
            output: ``(h, w)`` of the network; NaN where it says nothing.
        """
        state, fit = self._alignment(task, seen, output)
        about: dict[str, Any] = {'alignment': state, 'written': False}
        if fit is None:
            return about
        if state == ALIGNED:
            about |= {key: value for key, value in dataclasses.asdict(fit).items() if key != 'inverse'}
        depth = fit.depth(output)
        depth = at_centers(depth, *(self.depth.size or map_size(seen.size, (output.shape[0], output.shape[1]))))
        depth[~(depth < self.depth.max_depth)] = np.nan
        if seen.sky is not None:
            depth[at_centers(seen.sky, *depth.shape) > 0] = np.nan
        half = depth.astype(np.float16)
        half[half == 0] = np.nan
        about |= {'known': float(np.isfinite(half).mean())}
        if np.isfinite(half).any():
            try:
                check_depth(task.image, half.astype(np.float32), HINT)
            except InputError:  # students would refuse it
                return about | {'alignment': REFUSED}
            save_npy(target(self.options, task, DEPTH), half)
            about['written'] = True
        return about

    def _alignment(self, task: ImageTask, seen: _Seen, output: np.ndarray) -> tuple[str, Alignment | None]:
        """Return what became of the alignment, and the one to use; None: depth is not known."""
        unaligned = Alignment(1.0, 0.0, False) if self.network.output == METRIC else None
        if seen.lidar is None:
            return NO_LIDAR if self.depth.align else UNASKED, unaligned
        fit = align(sample_map(output, seen.lidar[:, :2], seen.size), seen.lidar[:, 2], self.network.inverse)
        if fit is None:
            return UNCLEAR, unaligned
        self._rises, self._falls = self._rises + (fit.scale > 0), self._falls + (fit.scale <= 0)
        if self._falls >= WRONG_WAY and not self._rises:
            wrong = 'depth' if self.network.inverse else 'inverse depth'
            raise InputError(
                f'{task.image}: what {self.network.network.where} gives falls where it should rise with LiDAR, as in '
                f'{self._falls - 1} images before, as if it were {wrong}; {HINT}'
            )
        return (ALIGNED, fit) if fit.scale > 0 else (FALLS, None)


def sample_map(values: np.ndarray, pixels: np.ndarray, image: Size) -> np.ndarray:
    """Return what a map ``(h, w)`` shows at pixels ``(n, 2)`` u, v of its image, bilinearly; NaN beside unknown ones.

    Args:
        values: spans the image from edge to edge.
        pixels: (0, 0) is the center of the top left one.
        image: (height, width).
    """
    sides = torch.tensor([image[1], image[0]], dtype=torch.float32)
    places = (torch.from_numpy(pixels.astype(np.float32)) + 0.5) / sides * 2 - 1
    maps = torch.from_numpy(values.astype(np.float32))[None, None]
    return F.grid_sample(maps, places[None, None], padding_mode='border', align_corners=False)[0, 0, 0].numpy()


def report_file(options: ExtractionOptions) -> Path:
    """Return the file that says how images were aligned; each part has one of its own."""
    part, count = options.part
    return options.out / f'depth_alignment{f"_{part + 1}_of_{count}" if count > 1 else ""}.json'


def extract_depth(
    network: DepthNetwork, tasks: Sequence[ImageTask], depth: DepthOptions, options: ExtractionOptions
) -> dict[str, dict[str, Any]]:
    """Write the depth of all images that are missing or stale, and :func:`report_file`.

    Args:
        network: the network.
        tasks: the images, with files of :func:`depth_files`.
        depth: how it is made.
        options: where it goes.

    Returns:
        by camera and for ``all``: how many images there are, were aligned and have no file, and medians of their
        residual (relative), scale and shift.

    Raises:
        InputError: no LiDAR to align to, missing sky masks, damaged files, or files of other settings.
    """
    check_sizes(tasks, depth.size, same_shape=False)
    if network.output != METRIC and not (depth.align and any(_has_lidar(task) for task in tasks)):
        raise InputError(
            f'{tasks[0].info_file}: {network.network.where} gives {network.output} up to a scale and a shift, which '
            'LiDAR must tell; use data with LiDAR and no --align none, or a metric network'
        )
    masks = None if depth.sky is None else _sky_masks(tasks, depth.sky)
    points = LidarPoints(depth.lidar_root, depth.max_depth)

    def load(task: ImageTask) -> Loaded:
        image = read_task_image(task)
        sky = None if masks is None else _read_sky(masks[task.files[DEPTH]])
        seen = _Seen(image.shape[:2], points.seen_by(task) if depth.align else None, sky)
        return Loaded(network.network.prepare(image), seen)

    file = report_file(options)
    report = _read_report(file)
    done = extract(tasks, Stages(load, network, _Writer(network, depth, options)), options)
    report |= {task.files[DEPTH]: {'camera': task.camera, **about} for task, about in done.values}
    summary = summarize(
        [report[task.files[DEPTH]] for task in part_of(tasks, options.part) if task.files[DEPTH] in report]
    )
    save_json(file, {'cameras': summary, 'images': report}, indent=1)
    _warn(network, summary['all'], done, file)
    return summary


def _has_lidar(task: ImageTask) -> bool:
    return bool(task.info['lidar_points'] or task.info.get('lidar_sweeps'))


def _sky_masks(tasks: Sequence[ImageTask], root: Path) -> dict[str, Path]:
    """Return the sky masks of images by their depth files.

    Raises:
        InputError: some are missing.
    """
    files = {task.files[DEPTH]: root / task.info['images'][task.camera]['teacher']['sky_mask'] for task in tasks}
    if missing := [file for file in files.values() if not file.is_file()]:
        raise InputError(
            f'{missing[0]}: no such file ({len(missing)} of {len(files)} sky masks are missing), and depth is unknown '
            'in the sky; make them with tools/extract_sky_masks.py (students need both), or give --sky none'
        )
    return files


def _read_sky(path: Path) -> np.ndarray:
    hint = 'make it again with tools/extract_sky_masks.py'
    sky = read_map(path, 2, hint)
    assert sky is not None
    check_sky(path, sky, hint)
    return sky


def _read_report(path: Path) -> dict[str, dict[str, Any]]:
    """Return what the report of an earlier run says of images; nothing if there is none."""
    content = read_json(path, 'remove it') if path.is_file() else {}
    images = content.get('images', {}) if isinstance(content, dict) else {}
    return images if isinstance(images, dict) else {}


def summarize(images: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Sum up reports of images by camera, and of ``all``."""
    cameras = list(dict.fromkeys(str(image['camera']) for image in images))
    parts = {camera: [image for image in images if image['camera'] == camera] for camera in cameras}
    return {name: _summary(part) for name, part in {**parts, 'all': list(images)}.items()}


def _summary(images: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    aligned = [image for image in images if image['alignment'] == ALIGNED]
    medians = {key: [image[key] for image in aligned] for key in ('residual', 'scale', 'shift', 'outliers')}
    known = [image['known'] for image in images if 'known' in image]
    return {
        'images': len(images),
        'aligned': len(aligned),
        'unwritten': sum(not image['written'] for image in images),
        'known': float(np.mean(known)) if known else None,
        **{key: float(np.median(values)) if values else None for key, values in medians.items()},
    }


def _warn(network: DepthNetwork, every: Mapping[str, Any], done: Extraction, report: Path) -> None:
    """Warn of images that have no depth, and of meters that nothing confirms."""
    if every['unwritten']:
        warn(
            f'{report.parent}: {every["unwritten"]} of {every["images"]} images have no depth, as nothing aligns it '
            f'({report.name} says which); students go on without them by skip_missing=True'
        )
    unconfirmed = every['images'] - every['aligned'] - every['unwritten']
    if unconfirmed and network.output == METRIC:
        warn(
            f'{report.parent}: {unconfirmed} of {every["images"]} images have the meters of the network itself, '
            'which no LiDAR confirms: they hold for cameras like those that it was trained on'
        )
    if done.written and not every['images'] - every['unwritten']:
        raise InputError(f'{report.parent}: no image has a depth; {HINT}')
