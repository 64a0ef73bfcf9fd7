"""Augmentation: change the packed views of a training sample; images, cameras and maps still agree."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from mmcv.transforms import BaseTransform
from mmdet3d.registry import TRANSFORMS

from ..geometry.boxes import mirror_boxes
from ..geometry.views import Views, enlarge_views, mirror_views
from ..utils.errors import InputError


@TRANSFORMS.register_module()
class FlipViews(BaseTransform):
    """Mirror the world with some probability: images, cameras, maps and boxes together.

    Comes after ``PackViews``. Frozen-depth features of a cache are those of the image as it is, and the features of a
    mirrored image are not the mirrored ones: a mirrored sample has none, so that the network computes them.

    Args:
        probability: how often a sample is mirrored, 0 to 1.
    """

    def __init__(self, probability: float = 0.5) -> None:
        self.probability = probability

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Mirror all views of the sample, or none."""
        if random.random() < self.probability:
            plain = {name: _without_depth_features(views) for name, views in results['inputs'].items()}
            results['inputs'] = {name: mirror_views(views) for name, views in plain.items()}
            if 'boxes' in results['data_samples']:
                results['data_samples'].boxes = mirror_boxes(results['data_samples'].boxes)
        return results


@TRANSFORMS.register_module()
class DropPast(BaseTransform):
    """Leave the views of the past out of some samples, at random.

    Comes after ``PackViews``, in a training pipeline. The first keyframe of a scene, or a folder of images, has no past
    (``model.network.num_past``); a network that is trained with a past nearly always relies on it and does badly there.

    Args:
        probability: how often a sample is left without, 0 to 1.
    """

    def __init__(self, probability: float = 0.3) -> None:
        self.probability = probability

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Drop the past of all views of the sample, or leave the sample as it is."""
        if random.random() < self.probability:
            results['inputs'] = {name: replace(views, past=None) for name, views in results['inputs'].items()}
        return results


@TRANSFORMS.register_module()
class ZoomViews(BaseTransform):
    """Enlarge a part of the images of each camera, at random: as a camera of greater focal length sees the scene.

    Comes after ``PackViews``. All views of a camera, inputs and targets, other frames and shifted ones, show the same
    part, so that inputs see most of what targets show. Maps and intrinsics follow. With bins that follow the focal
    length (``model.network.depth_bins.focal``), what is enlarged counts as nearer by as much: one scene is then seen
    from many distances. Frozen-depth features are left out, as by :class:`FlipViews`.

    Args:
        largest: images are enlarged up to so many times, every ratio being as likely; above 1 and below 2, so that
            the principal point stays inside of the image.
        probability: how often a camera is zoomed, 0 to 1.

    Raises:
        InputError: ``largest`` is out of its range.
    """

    def __init__(self, largest: float = 1.5, probability: float = 1.0) -> None:
        if not 1 < largest < 2:
            raise InputError(f'ZoomViews has largest={largest:g}; give more than 1 and less than 2')
        self.largest = largest
        self.probability = probability

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Zoom into all views of the sample."""
        inputs = results['inputs']
        cameras = dict.fromkeys(inputs['input_views'].names)
        parts = {camera: self._part(*inputs['input_views'].images.shape[-2:]) for camera in cameras}
        results['inputs'] = {name: _zoomed(views, parts) for name, views in inputs.items()}
        return results

    def _part(self, height: int, width: int) -> tuple[float, float, float]:
        """Choose how many times a camera is enlarged, and the corner (u, v) of the part."""
        if random.random() >= self.probability:
            return 1.0, 0.0, 0.0
        zoom = math.exp(random.uniform(0, math.log(self.largest)))
        room = 1 - 1 / zoom
        return zoom, random.uniform(0, room * (width - 1)), random.uniform(0, room * (height - 1))


def _zoomed(views: Views, parts: Mapping[str, tuple[float, float, float]]) -> Views:
    """Enlarge of each view the part of its camera; those of cameras that are no inputs stay as they are."""
    chosen = torch.tensor([parts.get(_camera_of(name, parts), (1.0, 0.0, 0.0)) for name in views.names]).view(-1, 3)
    past = None if views.past is None else _zoomed(views.past, parts)
    return replace(enlarge_views(_without_depth_features(views), chosen[:, 0], chosen[:, 1:]), past=past)


def _camera_of(name: str, cameras: Mapping[str, Any]) -> str:
    """Return the camera of a view, which the name of a shifted view has before its own."""
    matching = [camera for camera in cameras if name == camera or name.startswith(f'{camera} ')]
    return max(matching, key=len, default=name)


def _without_depth_features(views: Views) -> Views:
    past = None if views.past is None else replace(views.past, depth_features=None)
    return replace(views, depth_features=None, past=past)
