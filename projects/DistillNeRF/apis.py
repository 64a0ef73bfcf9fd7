"""Use the model from Python: build it, look once, get a scene."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch

from .geometry.poses import check_intrinsics, check_poses
from .geometry.views import Views
from .models.checkpoint import load_weights
from .models.network import DistillNeRF
from .models.scene import Scene
from .utils.errors import InputError, warn

if TYPE_CHECKING:
    from mmengine.config import Config

# How far beyond [0, 1] filters may lead.
TOLERANCE = 0.1
# In shares of the image, in both directions: the principal point of an image half or twice as large is farther off.
OFF_CENTER = 0.2

Movable = TypeVar('Movable', DistillNeRF, Scene)


def init_model(config: str | Path | Config, checkpoint: str | Path | None = None, device: str = 'cpu') -> DistillNeRF:
    """The network of a config in evaluation mode, with the weights of a checkpoint if one is given.

    Args:
        config: a config file (read with mmengine) or a loaded config.
        checkpoint: written by ``tools/train.py``; ``None`` leaves random weights.
        device: where the network shall be.

    Raises:
        InputError: a file is missing or broken, the config makes no network, the checkpoint does not fit it, or there
            is no such device.
    """
    from mmengine.config import Config

    from .configuration.config import building, load_config

    if not isinstance(config, Config):
        config = load_config(config, sections=('model',))
    with building(config):
        network = DistillNeRF(**config.model.network)
    if checkpoint is not None:
        load_weights(network, checkpoint)
    return to_device(network, device).eval()


def to_device(thing: Movable, device: str) -> Movable:
    """A network or a scene on a device.

    Raises:
        InputError: there is no such device.
    """
    try:
        return thing.to(device)
    except (AssertionError, RuntimeError) as error:
        cause = ' '.join(str(error).split())
        raise InputError(
            f'device {device!r}: cannot be used ({cause}); choose cpu, or cuda where there is one'
        ) from error


@torch.no_grad()
def reconstruct(model: DistillNeRF, views: Views) -> Scene:
    """Input views of one instant -> the scene, on the model's device.

    Render it under ``torch.no_grad()``, unless gradients are wanted: rays are then rendered in parts that need
    little memory.

    Raises:
        ValueError: images that are no colors in [0, 1], or cameras that are none of these images; with the hint.
    """
    _check(views)
    parameter = next(model.parameters())
    return model(views.to(device=parameter.device, dtype=parameter.dtype))


def _check(views: Views) -> None:
    """What can be told of views that were made by hand: values of the images, and whether cameras fit them."""
    images = views.images.detach()
    low, high = torch.stack(images.aminmax()).tolist() if images.numel() else (0.0, 0.0)
    if not math.isfinite(high - low):
        wrong = [name for name, image in zip(views.names, images, strict=True) if not image.isfinite().all()]
        raise ValueError(f'the image of {wrong[0]} holds NaN or infinity; leave out the view, or give its image')
    if low < -TOLERANCE or high > 1 + TOLERANCE:
        raise ValueError(
            f'images reach from {low:g} to {high:g}, but colors are in [0, 1]: give images / 255 where they are in 0 '
            'to 255, and images without the mean and spread of another network'
        )
    cameras = views.cameras
    matrices, poses = (part.detach().double().cpu().numpy() for part in (cameras.intrinsics, cameras.cam2world))
    sizes = np.tile([float(cameras.height), cameras.width], (len(views), 1))
    resized = 'give intrinsics in pixels of the images (Cameras.resized) and poses of the cameras'
    try:
        check_intrinsics(matrices, sizes, [f'{name}: cameras.intrinsics' for name in views.names], resized)
        check_poses(poses, [f'{name}: cameras.cam2world' for name in views.names], resized)
    except InputError as error:
        raise ValueError(str(error)) from error
    shares = matrices[:, :2, 2] / sizes[:, ::-1]
    if strange := [
        name for name, share in zip(views.names, shares, strict=True) if (abs(share - 0.5) > OFF_CENTER).all()
    ]:
        cx, cy = matrices[views.names.index(strange[0]), :2, 2]
        warn(
            f'{len(strange)} of {len(views)} cameras have a principal point far from the middle of their images, first '
            f'{strange[0]}: ({cx:g}, {cy:g}) in {cameras.width}x{cameras.height}; if the intrinsics are those of '
            'images of another size, use Cameras.resized'
        )
