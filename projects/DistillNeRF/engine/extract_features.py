"""Write the features of a foundation model for all images of info files, in the published layout, for students."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from ..datasets.teacher_files import ORIGINAL_VIEW, virtual_feature_path
from ..foundation_models.features import FeatureModel, open_features
from ..foundation_models.preprocess import Framing, Normalization, place
from ..foundation_models.reduction import CHANNELS, Reduction, ReductionFit, load_reduction
from ..utils.errors import InputError, note
from ..utils.files import save_npy
from ..utils.precision import computing, require_precision
from .extraction import (
    Extraction,
    ExtractionOptions,
    ImageTask,
    Loaded,
    Stages,
    claim,
    extract,
    read_task_image,
    refuse_foreign,
    run_stages,
    target,
)

NAME, REDUCTION = 'features', 'reduction_pca.npz'
# What the same settings wrote in another version is not mixed with this one.
VERSION = 1
# Cells of an image that the reduction is fitted on.
SAMPLED_CELLS = 1000


@dataclass(frozen=True)
class FeatureChoice:
    """Which features are made.

    Attributes:
        kind: one of :data:`..foundation_models.features.KINDS`.
        model: a folder, the name of a model in the local cache of the hub, or an ONNX file.
        size: height and width that images are brought to; None: as the model was trained, or what an ONNX file fixes.
        channels: after the reduction.
        stride: pixels from patch to patch, for transformers; None: those of a patch.
        output: name of the map, for ONNX; None: the first.
        normalization: of the inputs, for ONNX.
        device, precision: of the model.
        sample: images that the reduction is fitted on.
        reduction: file of one that was made before; None: fit it.
    """

    kind: str
    model: str
    device: str
    size: tuple[int, int] | None = None
    channels: int = CHANNELS
    stride: int | None = None
    output: str | None = None
    normalization: Normalization | None = None
    precision: str = 'fp32'
    sample: int = 200
    reduction: Path | None = None


def feature_files(image: Mapping[str, Any], view: str) -> dict[str, str]:
    """Name the file of the features of an image, below their root."""
    recorded = image['features']
    return {NAME: recorded if view == ORIGINAL_VIEW else virtual_feature_path(recorded, view)}


class Maps:
    """Compute feature maps of images.

    Args:
        choice: which features.
        image: (height, width) of most images.
    """

    def __init__(self, choice: FeatureChoice, image: tuple[int, int]) -> None:
        self.model: FeatureModel = open_features(
            choice.kind,
            choice.model,
            device=choice.device,
            stride=choice.stride,
            output=choice.output,
            normalization=choice.normalization,
        )
        self.size = tuple(choice.size or self.model.size_for(image))
        self.framing: Framing = self.model.framing(self.size)
        self.device, self.precision = torch.device(choice.device).type, choice.precision
        # onnxruntime has its own devices, and computes as the file says.
        if choice.kind != 'onnx':
            require_precision(choice.precision, torch.empty(0, device=choice.device).is_cpu, '--precision')

    def load(self, task: ImageTask) -> Loaded:
        """Read an image and place it in the model's input."""
        return Loaded(place(read_task_image(task), self.framing, self.model.resample))

    def compute(self, pixels: np.ndarray) -> np.ndarray:
        """Compute the features ``(N, D, rows, columns)`` of placed images ``(N, h, w, 3)``."""
        with computing(self.precision, self.device):
            return self.model(torch.from_numpy(pixels)).float().cpu().numpy()


def extract_features(
    tasks: Sequence[ImageTask], choice: FeatureChoice, options: ExtractionOptions, only_reduction: bool = False
) -> Extraction:
    """Write the features of all images: ``(rows, columns, C)`` float16, and the reduction that made them.

    Args:
        tasks: the images, with the files of :func:`feature_files`.
        choice: which features.
        options: where they go; their settings are filled in here.
        only_reduction: fit the reduction, and write no features.

    Raises:
        InputError: of the model, the images, or files of other settings.
    """
    refuse_foreign(tasks, options)
    maps = Maps(choice, usual_size(tasks))
    reduction = _find_reduction(tasks, maps, choice, options)
    options = replace(options, settings=_settings(choice, maps, reduction))
    claim(tasks, options)
    if choice.reduction is not None:
        reduction.save(options.out / REDUCTION)
    if only_reduction:
        return Extraction()

    return extract(tasks, feature_stages(maps, reduction, options), options)


def feature_stages(maps: Maps, reduction: Reduction, options: ExtractionOptions) -> Stages:
    """Return what is done with every image; writing returns the shape of the map."""

    def write(task: ImageTask, more: object, found: np.ndarray) -> tuple[int, ...]:
        features = reduction(found.transpose(1, 2, 0)).astype(np.float16)
        if not np.isfinite(features).all():
            raise InputError(f'{task.image}: its features are not finite in half precision; choose another --precision')
        save_npy(target(options, task, NAME), features)
        return features.shape

    return Stages(maps.load, maps.compute, write)


def usual_size(tasks: Sequence[ImageTask]) -> tuple[int, int]:
    """Return the (height, width) of most images: all maps have one size, as the views of a sample are stacked."""
    records = (task.info['images'][task.camera] for task in tasks)
    return Counter((record['height'], record['width']) for record in records).most_common(1)[0][0]


def _settings(choice: FeatureChoice, maps: Maps, reduction: Reduction) -> dict[str, Any]:
    """Return everything that the files depend on."""
    return {
        'version': VERSION,
        'kind': choice.kind,
        **maps.model.settings,
        'size': list(maps.size),
        'precision': choice.precision,
        'channels': reduction.channels[1],
        'sample': None if choice.reduction else choice.sample,
        'reduction': reduction.digest(),
    }


def _find_reduction(
    tasks: Sequence[ImageTask], maps: Maps, choice: FeatureChoice, options: ExtractionOptions
) -> Reduction:
    """Return the reduction that was given, or that the files which are there were made with, or fit one."""
    if choice.reduction is not None:
        return load_reduction(choice.reduction)
    if options.settings_file.is_file():
        return load_reduction(options.out / REDUCTION)
    if options.part[1] > 1:
        raise InputError(
            f'{options.settings_file}: no such file, and parts of one extraction need one reduction; run the command '
            'with --only-pca first'
        )
    reduction = fit_reduction(tasks, maps, choice, options)
    # Before the settings, which say that it is there.
    reduction.save(options.out / REDUCTION)
    return reduction


def fit_reduction(
    tasks: Sequence[ImageTask], maps: Maps, choice: FeatureChoice, options: ExtractionOptions
) -> Reduction:
    """Fit the reduction on cells of images that are evenly spread over all of them."""
    positions = np.unique(np.linspace(0, len(tasks) - 1, min(choice.sample, len(tasks))).round().astype(int))
    chosen = [tasks[position] for position in positions]
    seeds = {task.image: position for task, position in zip(chosen, positions, strict=True)}
    fit = ReductionFit(choice.channels)
    stages = Stages(maps.load, maps.compute, partial(_sampled_rows, seeds))
    steps = run_stages(chosen, stages, options.batch, options.workers)
    for _, rows in tqdm(steps, 'PCA', len(chosen), unit='image', disable=not options.progress):
        fit.add(rows)
    reduction = fit.reduction()
    before, after = reduction.channels
    note(
        f'{options.out / REDUCTION}: {after} of {before} channels keep {fit.kept_share(reduction):.1%} of the squares '
        f'of {fit.rows} cells'
    )
    if after < choice.channels:
        note(f'the model has {after} channels, not {choice.channels}: set model.network.head.out_channels={after}')
    return reduction


def _sampled_rows(seeds: Mapping[Path, int], task: ImageTask, more: object, found: np.ndarray) -> np.ndarray:
    """Return the features ``(n, D)`` of some cells of a map ``(D, rows, columns)``, the same in every run."""
    rows = found.reshape(len(found), -1).T
    if len(rows) <= SAMPLED_CELLS:
        return rows
    random = np.random.default_rng(seeds[task.image])
    return rows[random.choice(len(rows), SAMPLED_CELLS, replace=False)]
