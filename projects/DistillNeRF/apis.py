"""Use the model from Python: build it, look once, get a scene."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from .errors import InputError
from .files import require_file
from .models.network import DistillNeRF
from .models.scene import Scene
from .modules.views import Views

if TYPE_CHECKING:
    from mmengine.config import Config


def init_model(config: str | Path | Config, checkpoint: str | Path | None = None, device: str = 'cpu') -> DistillNeRF:
    """The network of a config in evaluation mode, with the weights of a checkpoint if one is given.

    Args:
        config: a config file (read with mmengine) or a loaded config.
        checkpoint: written by ``tools/train.py``; ``None`` leaves random weights.
        device: where the network shall be.

    Raises:
        InputError: a file is missing or broken, or the checkpoint does not fit the config.
    """
    from mmengine.config import Config

    if not isinstance(config, Config):
        config = Config.fromfile(str(require_file(config, 'give the path of a config file')))
    network = DistillNeRF(**config.model.network)
    if checkpoint is not None:
        load_weights(network, checkpoint)
    return network.to(device).eval()


def load_weights(network: DistillNeRF, checkpoint: str | Path) -> None:
    """Load the network's weights from a checkpoint of ``tools/train.py``; every name and shape must fit."""
    path = require_file(checkpoint, 'give a checkpoint that tools/train.py wrote')
    try:
        state = torch.load(path, map_location='cpu', weights_only=True)['state_dict']
    except Exception as error:
        raise InputError(f'{path}: not a readable checkpoint ({type(error).__name__}: {error})') from error
    prefix = 'network.'
    weights = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise InputError(f'{path}: the weights do not fit the config: {error}') from error


@torch.no_grad()
def reconstruct(model: DistillNeRF, views: Views) -> Scene:
    """Input views of one instant -> the scene, on the model's device."""
    parameter = next(model.parameters())
    return model(views.to(device=parameter.device, dtype=parameter.dtype))
