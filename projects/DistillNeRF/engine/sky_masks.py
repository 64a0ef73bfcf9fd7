"""Sky masks, label maps and masks of what can move, by a segmentation network, in the layout of docs/DATA.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..datasets.teacher_files import label_map_paths, movable_mask_path
from ..foundation_models.map_network import Size
from ..foundation_models.segmentation import Segmenter, map_size, resize_scores, sky_of_probability
from ..pipelines.maps import check_sky
from ..semantics.label_sets import LABEL_SETS, movable
from ..utils.errors import InputError, note, warn
from ..utils.files import atomic_path, save_npy
from .extraction import ExtractionOptions, ImageTask, Loaded, NameFiles, Stages, extract, read_task_image, target

# What changes the files makes them again.
VERSION = 1
NAME = 'sky_masks'
SKY, LABELS, MOVABLE = MAPS = ('sky', 'labels', 'movable')
HINT = 'look at the image, and whether the network gets its colors as it wants them'


def mask_files(maps: Sequence[str]) -> NameFiles:
    """Return what names the files of some of :data:`MAPS`, below the output folder."""

    def name_files(image: Mapping[str, Any], view: str) -> dict[str, str]:
        teacher = image['teacher']
        places = {SKY: teacher['sky_mask'], LABELS: label_map_paths(teacher)[0], MOVABLE: movable_mask_path(teacher)}
        return {kind: places[kind] for kind in maps}

    return name_files


@dataclass(frozen=True)
class MaskOptions:
    """How masks are made.

    Attributes:
        size: (height, width) of the files; None: as large as what the network gives, in the shape of the image.
        sky_class: channel of the sky; None: the one of this name, or the only one.
        threshold: of the only channel, from which on it is sky; None: a half.
    """

    size: Size | None = None
    sky_class: int | None = None
    threshold: float | None = None


@dataclass(frozen=True)
class MaskSummary:
    """What was made.

    Attributes:
        written, kept: images.
        sky: mean share of the sky in the written masks; NaN without.
        movable: mean share of what can move.
        refused: images whose sky is below and not above: their masks were not written.
    """

    written: int
    kept: int
    sky: float
    movable: float
    refused: int


def check_sizes(tasks: Sequence[ImageTask], size: Size | None, same_shape: bool) -> None:
    """Check that the maps of a sample get one size, and, if they must have it, the shape of their images.

    Raises:
        InputError: they do not.
    """
    sizes = {(image['height'], image['width']) for image in (task.info['images'][task.camera] for task in tasks)}
    if size is None and len(sizes) > 1:
        found = ', '.join(f'{height}x{width}' for height, width in sorted(sizes)[:3])
        raise InputError(
            f'images have several sizes ({found}), and maps must have one; give it with --size HEIGHT WIDTH'
        )
    for height, width in sizes if size is not None and same_shape else ():
        if abs(size[1] * height - size[0] * width) > min(height, width) / 2:
            rows, columns = map_size((height, width), size)
            raise InputError(
                f'--size {size[0]} {size[1]} has not the shape of the images, {height}x{width} (height x width), as '
                f'label maps must; give for instance {rows} {columns}'
            )


def extract_masks(
    segmenter: Segmenter, tasks: Sequence[ImageTask], masks: MaskOptions, options: ExtractionOptions
) -> MaskSummary:
    """Write the masks of all images that are missing or stale.

    Args:
        segmenter: the network.
        tasks: the images, with files of :func:`mask_files`.
        masks: how they are made.
        options: where they go.

    Raises:
        InputError: a network that does not know what is asked for, damaged images, or files of other settings.
    """
    maps = _MapsOf(segmenter, masks, tuple(tasks[0].files))
    check_sizes(tasks, masks.size, LABELS in maps.kinds)

    def load(task: ImageTask) -> Loaded:
        image = read_task_image(task)
        return Loaded(segmenter.network.prepare(image), image.shape[:2])

    def write(task: ImageTask, image: Size, scores: Tensor) -> dict[str, float]:
        made = maps(scores, image)
        if SKY in made:
            try:
                check_sky(task.image, made[SKY].astype(np.float32), HINT)
            except InputError:
                return {'refused': 1.0}
        for kind, array in made.items():
            save_map(target(options, task, kind), array)
        return {kind: float(made[kind].mean()) for kind in (SKY, MOVABLE) if kind in made}

    done = extract(tasks, Stages(load, maps.scores, write), options)
    return _summary(done.written, done.kept, done.values, options.out)


def _summary(
    written: int, kept: int, values: Sequence[tuple[ImageTask, Mapping[str, float]]], out: Path
) -> MaskSummary:
    """Sum up what was written, and warn of what students will miss."""
    refused = [task for task, value in values if 'refused' in value]
    shares = {kind: [value[kind] for _, value in values if kind in value] for kind in (SKY, MOVABLE)}
    sky, moves = (float(np.mean(part)) if part else float('nan') for part in shares.values())
    if refused:
        warn(
            f'{refused[0].image}: its sky is below and not above, and so in {len(refused)} of {written} images: they '
            f'have no files, which students need or skip with skip_missing=True; {HINT}'
        )
    if shares[SKY] and max(shares[SKY]) == 0:
        warn(f'{out}: no pixel of {len(shares[SKY])} images is sky; {HINT}')
    return MaskSummary(written - len(refused), kept, sky, moves, len(refused))


class _MapsOf:
    """Make the maps of images from the scores of a network.

    Raises:
        InputError: a network without the classes that are asked for.
    """

    def __init__(self, segmenter: Segmenter, masks: MaskOptions, kinds: tuple[str, ...]) -> None:
        self.segmenter, self.masks, self.kinds = segmenter, masks, kinds
        self._sky, self._table = masks.sky_class, None
        classes, where = segmenter.classes, segmenter.network.where
        if classes is None or len(classes.names) == 1:
            if wanted := [kind for kind in kinds if kind != SKY]:
                raise InputError(
                    f'{where}: nothing names its classes, as {wanted[0]} needs; list them as "classes" in the JSON '
                    'beside it (docs/TEACHERS.md), or leave --maps away'
                )
            return
        if masks.threshold is not None:
            raise InputError(f'{where}: --threshold would do nothing: the class with the highest score counts')
        if SKY in kinds and self._sky is None:
            self._sky = classes.sky
        if kinds != (SKY,):
            names = [name for name, _ in LABEL_SETS['cityscapes']]
            table, others = classes.numbers_among(names, 'Cityscapes')
            self._table = table.numpy()
            if others:
                names = ', '.join(others[:5])
                note(f'{where}: {len(others)} classes that Cityscapes has not are 255 in label maps: {names}')

    def scores(self, prepared: np.ndarray) -> Tensor:
        """Compute the scores ``(n, C, h, w)`` of prepared images."""
        scores, where = self.segmenter.network(prepared), self.segmenter.network.where
        self.segmenter.check_channels(scores)
        channels = scores.shape[1]
        if self._sky is None and channels > 1 and SKY in self.kinds:
            raise InputError(f'{where}: gives {channels} channels; say which is the sky with --sky-class NUMBER')
        if self._sky is not None and not 0 <= self._sky < channels:
            raise InputError(f'{where}: --sky-class {self._sky}: its {channels} channels are 0 to {channels - 1}')
        if channels == 1 and self._sky is not None:
            raise InputError(f'{where}: gives one channel, of which --sky-class cannot be the greatest; leave it away')
        return scores

    def __call__(self, scores: Tensor, image: Size) -> dict[str, np.ndarray]:
        """Return the maps ``(h, w)`` uint8 of an image of a (height, width) by kind."""
        size = self.masks.size or map_size(image, (scores.shape[1], scores.shape[2]))
        scores = resize_scores(scores, size)
        made = {}
        if len(scores) == 1:
            sky = sky_of_probability(scores[0], self.masks.threshold, self.segmenter.network.where)
            return {SKY: sky.to(torch.uint8).numpy()}
        channels = scores.argmax(0).numpy()
        if SKY in self.kinds:
            made[SKY] = (channels == self._sky).astype(np.uint8)
        if self._table is not None:
            labels = self._table[channels]
            named = {LABELS: labels, MOVABLE: movable(labels).astype(np.uint8)}
            made |= {kind: array for kind, array in named.items() if kind in self.kinds}
        return made


def save_map(path: Path, array: np.ndarray) -> None:
    """Write a map ``(h, w)`` uint8 as PNG or array, atomically."""
    if path.suffix != '.png':
        save_npy(path, array)
        return
    with atomic_path(path) as temporary:
        Image.fromarray(array).save(temporary, format='PNG')
