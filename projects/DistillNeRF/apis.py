"""Use the network from Python: build it, and reconstruct a scene from images."""

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
from .utils.precision import DEFAULT, require_precision

if TYPE_CHECKING:
    from mmengine.config import Config

# How far colors may be outside [0, 1]: resampling overshoots a little.
COLOR_TOLERANCE = 0.1
# How far from the center a principal point may be, in image sizes, in x and y; that of an image half or twice as large
# is farther away.
MAX_OFF_CENTER = 0.2

T = TypeVar('T', DistillNeRF, Scene, torch.Tensor, torch.nn.Module)


def init_model(
    config: str | Path | Config,
    checkpoint: str | Path | None = None,
    device: str = 'cpu',
    precision: str = DEFAULT,
) -> DistillNeRF:
    """Build the network of a config in evaluation mode, with the weights of a checkpoint if one is given.

    Args:
        config: a config file (read with mmengine) or a loaded config.
        checkpoint: written by ``tools/train.py``; ``None`` leaves random weights.
        device: name of the device, as torch takes it.
        precision: ``fp32`` (without TF32, whatever torch is set to), ``tf32``, ``bf16`` or ``fp16``
            (:mod:`.utils.precision`): of the reconstruction, and of rendering its scenes. The network's attribute
            ``precision``. Weights stay in float32.

    Raises:
        InputError: a file is missing or broken, the config makes no network, the checkpoint does not fit it, there
            is no such device, or it does not compute in that precision.
    """
    from mmengine.config import Config

    from .configuration.config import building, load_config

    if not isinstance(config, Config):
        config = load_config(config, sections=('model',))
    with building(config):
        network = DistillNeRF(**config.model.network)
    if checkpoint is not None:
        load_weights(network, checkpoint)
    network = to_device(network, device).eval()
    require_precision(precision, next(network.parameters()).is_cpu)
    network.precision = precision
    return network


def to_device(value: T, device: str) -> T:
    """Move a network, a scene or a tensor to a device.

    Raises:
        InputError: there is no such device.
    """
    try:
        return value.to(device)
    except (AssertionError, RuntimeError) as error:
        cause = ' '.join(str(error).split())
        raise InputError(
            f'device {device!r}: cannot be used ({cause}); choose cpu, or cuda where there is one'
        ) from error


@torch.no_grad()
def reconstruct(model: DistillNeRF, views: Views) -> Scene:
    """Reconstruct a scene from the input views of one instant, on the model's device and in its precision.

    A network with ``num_past`` looks at the views of the keyframe before, too, where ``views.past`` has them.

    Render it under ``torch.no_grad()``, unless you need gradients: rays are then rendered in chunks that need little
    memory.

    Raises:
        ValueError: the images are not in [0, 1], or the cameras do not fit them; with a hint.
    """
    for part in (views, views.past):
        if part is not None:
            _check(part)
    parameter = next(model.parameters())
    return model(views.to(device=parameter.device, dtype=parameter.dtype))


def _check(views: Views) -> None:
    """Check views that were made by hand: the range of the images, and whether the cameras fit them."""
    images = views.images.detach()
    low, high = torch.stack(images.aminmax()).tolist() if images.numel() else (0.0, 0.0)
    if not math.isfinite(high - low):
        wrong = [name for name, image in zip(views.names, images, strict=True) if not image.isfinite().all()]
        raise ValueError(f'the image of {wrong[0]} holds NaN or infinity; leave out the view, or give its image')
    if low < -COLOR_TOLERANCE or high > 1 + COLOR_TOLERANCE:
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
        name for name, share in zip(views.names, shares, strict=True) if (abs(share - 0.5) > MAX_OFF_CENTER).all()
    ]:
        cx, cy = matrices[views.names.index(strange[0]), :2, 2]
        warn(
            f'{len(strange)} of {len(views)} cameras have a principal point far from the middle of their images, first '
            f'{strange[0]}: ({cx:g}, {cy:g}) in {cameras.width}x{cameras.height}; if the intrinsics are those of '
            'images of another size, use Cameras.resized'
        )
