"""Use the model from Python: build it, look once, get a scene."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import torch

from .errors import InputError
from .models.checkpoint import load_weights
from .models.network import DistillNeRF
from .models.scene import Scene
from .modules.views import Views

if TYPE_CHECKING:
    from mmengine.config import Config

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

    from .engine.config import building, load_config

    if not isinstance(config, Config):
        config = load_config(config, sections=('model',))
    with building(config):
        network = DistillNeRF(**config.model.network)
    if checkpoint is not None:
        load_weights(network, checkpoint)
    return moved(network, device).eval()


def moved(thing: Movable, device: str) -> Movable:
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
    """
    parameter = next(model.parameters())
    return model(views.to(device=parameter.device, dtype=parameter.dtype))
