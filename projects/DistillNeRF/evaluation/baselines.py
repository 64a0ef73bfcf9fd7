"""What a model must beat, and what it cannot: predictions that need no model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..geometry.views import Views
from ..utils.errors import InputError
from .depth import REFERENCES


@dataclass(frozen=True)
class Guess:
    """What a baseline predicts of some target views of a sample.

    Attributes:
        name: of the baseline.
        positions: of the target views, K of them.
        rgb: ``(K, 3, H, W)`` in [0, 1]; None if it predicts no colors.
        depth: ``(K, h, w)`` z in meters; None if it predicts no depth.
        reference: name of the only reference (:data:`.depth.REFERENCES`) that the depth is compared with; None: all.
    """

    name: str
    positions: Sequence[int]
    rgb: Tensor | None = None
    depth: Tensor | None = None
    reference: str | None = None


@dataclass(frozen=True)
class MeanImages:
    """Means over a training set.

    Attributes:
        color: ``(3,)`` mean color of all images.
        by_camera: camera name -> ``(3, H, W)`` mean image of that camera.
    """

    color: Tensor
    by_camera: dict[str, Tensor]


def mean_images(training: Iterable[Views]) -> MeanImages:
    """Average color, and the images of each camera, over the input views of a training set (one pass, on the CPU).

    Raises:
        InputError: no views at all, or a camera whose images change size.
    """
    sums: dict[str, Tensor] = {}
    counts: dict[str, int] = {}
    for views in training:
        for name, image in zip(views.names, views.images.double().cpu(), strict=True):
            total = sums.setdefault(name, torch.zeros_like(image))
            if total.shape != image.shape:
                raise InputError(
                    f'{name}: images of {tuple(total.shape[1:])} and of {tuple(image.shape[1:])} pixels; '
                    'resize the views of a camera to one size'
                )
            total += image
            counts[name] = counts.get(name, 0) + 1
    if not sums:
        raise InputError('the training set has no views; baselines need at least one')
    colors = torch.stack([sums[name].mean(dim=(1, 2)) for name in sums]).sum(0) / sum(counts.values())
    return MeanImages(colors.float(), {name: (sums[name] / counts[name]).float() for name in sums})


def guess_sample(
    means: MeanImages,
    inputs: Views,
    targets: Views,
    about: Mapping[str, Any],
    depths: Mapping[str, Tensor] | None = None,
) -> list[Guess]:
    """Return what the baselines predict of one test sample.

    ``mean_color``: the mean color of the training set everywhere. ``camera_mean``: the mean image of the camera.
    ``current_frame``: the input image of the camera left as it is, for views of another instant or pose.
    ``median_depth``: the median depth of each pixel of the camera in the training set. ``oracle``: the truth.

    Args:
        means: what :func:`mean_images` says of the training set.
        inputs, targets: views of the sample.
        about: what the sample says of itself.
        depths: camera name -> ``(h, w)`` z in meters (:class:`.depth_statistics.DepthHistograms`).

    Raises:
        InputError: a test camera that the training set has not.
    """
    everywhere = range(len(targets))
    images = targets.images
    cameras = [position for position in everywhere if not _is_virtual(inputs, targets, position)]
    moved = moved_views(inputs, targets, about)
    current = dict(zip(inputs.names, inputs.images, strict=True))
    guesses = [
        Guess('mean_color', everywhere, means.color[:, None, None].expand_as(images)),
        Guess('camera_mean', cameras, _camera_means(means, [targets.names[position] for position in cameras])),
        Guess('current_frame', moved, _stacked([current[targets.names[position]] for position in moved], images)),
        Guess('oracle', everywhere, images),
    ]
    if depths:
        known = [position for position in everywhere if targets.names[position] in depths]
        median = torch.stack([depths[targets.names[position]] for position in known]) if known else None
        guesses.append(Guess('median_depth', known, depth=median))
    for reference, field in REFERENCES.items():
        if (depth := getattr(targets, field)) is not None:
            guesses.append(Guess('oracle', everywhere, depth=depth, reference=reference))
    return [guess for guess in guesses if guess.positions]


def moved_views(inputs: Views, targets: Views, about: Mapping[str, Any]) -> list[int]:
    """Return the positions of the target views of input cameras at another instant or pose.

    Args:
        inputs, targets: views of the sample.
        about: what the sample says of itself; with a protocol, its groups, of which ``''`` has the input views.
    """
    if 'protocol' in about:
        same = {position for unit in about['protocol']['colors'].get('', []) for position in unit}
    else:
        same = {position for position, frame in enumerate(targets.frames) if frame == 0}
    return [position for position, name in enumerate(targets.names) if name in inputs.names and position not in same]


def _is_virtual(inputs: Views, targets: Views, position: int) -> bool:
    """Tell whether a view is of a camera that the rig has not: it has no mean image."""
    return targets.frames[position] == 0 and targets.names[position] not in inputs.names


def _stacked(images: Sequence[Tensor], like: Tensor) -> Tensor:
    return torch.stack(list(images)) if images else like[:0]


def _camera_means(means: MeanImages, names: Sequence[str]) -> Tensor:
    """Return the training means ``(V, 3, H, W)`` of cameras."""
    for name in names:
        if name not in means.by_camera:
            raise InputError(f'{name}: no such camera in the training set, which has {", ".join(means.by_camera)}')
    return torch.stack([means.by_camera[name] for name in names]) if names else torch.empty(0)
