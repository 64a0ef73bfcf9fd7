"""Measure what a model must beat: predictions that need no model."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..geometry.views import Views
from ..utils.errors import InputError
from .depth import average
from .image import psnr
from .report import key, view_groups


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


def evaluate_baselines(means: MeanImages, samples: Iterable[tuple[Views, Views]]) -> dict[str, float]:
    """Measure the PSNR of the baselines on test samples, as ``ImageMetric`` measures the model.

    Args:
        means: what :func:`mean_images` says of the training set.
        samples: (input views, target views) of each test sample.

    Returns:
        ``mean_color/psnr``, ``camera_mean/psnr`` and the same with the groups of :func:`.report.view_groups`
        between, such as ``mean_color/next/psnr``; for other instants also ``current_frame/next/psnr``, the
        input image of the same camera left as it is.

    Raises:
        InputError: a test camera that the training set has not.
    """
    return average([_evaluate_sample(means, inputs, targets) for inputs, targets in samples])


def _evaluate_sample(means: MeanImages, inputs: Views, targets: Views) -> dict[str, float]:
    """Measure every baseline on every group of one sample; virtual cameras have no mean image of their own."""
    current = dict(zip(inputs.names, inputs.images, strict=True))
    result = {}
    for group, positions in view_groups(inputs, targets).items():
        views = targets[positions]
        truth = views.images.cpu()
        result[key('mean_color', group, 'psnr')] = psnr(means.color[:, None, None].expand_as(truth), truth)
        if group != 'virtual':
            result[key('camera_mean', group, 'psnr')] = psnr(_camera_means(means, views), truth)
        if group not in ('', 'virtual') and set(views.names) <= set(current):
            unchanged = torch.stack([current[name].cpu() for name in views.names])
            result[key('current_frame', group, 'psnr')] = psnr(unchanged, truth)
    return result


def _camera_means(means: MeanImages, views: Views) -> Tensor:
    """Return the training mean ``(V, 3, H, W)`` of each view's camera."""
    for name in views.names:
        if name not in means.by_camera:
            raise InputError(f'{name}: no such camera in the training set, which has {", ".join(means.by_camera)}')
    return torch.stack([means.by_camera[name] for name in views.names])
