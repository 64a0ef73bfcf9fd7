"""From a command line to something to look at."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ..engine.config import load_config
from ..engine.processor import prepare_processor
from ..errors import InputError
from .glances import Samples, SavedScene, Source


def open_source(
    config: str | None,
    checkpoint: str | None,
    options: Mapping[str, Any] | None = None,
    scene: Path | None = None,
    device: str = 'cpu',
) -> tuple[Source, str | None]:
    """What there is to look at, and the text encoder that the config names.

    Args:
        config: not needed for a saved scene, where only its text encoder counts.
        checkpoint: ``None`` for random weights.
        options: overrides of the config.
        scene: file of a scene, instead of the config's test data.
        device: where the network or the scene shall be.

    Raises:
        InputError: nothing to look at, bad files, or no such device.
    """
    if config is None and scene is None:
        raise InputError('nothing to look at; give a config and a checkpoint, or --scene with a saved scene')
    require_device(device)
    prepare_processor()
    loaded = None if config is None else load_config(config, options)
    text_encoder = None if loaded is None else loaded.model.get('text_encoder')
    if scene is not None:
        return SavedScene(scene, device), text_encoder
    return Samples(loaded, checkpoint, device), text_encoder


def require_device(device: str) -> None:
    """Whether tensors can be put there.

    Raises:
        InputError: they cannot.
    """
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).partition('\n')[0]
        raise InputError(f'device {device}: cannot be used ({reason}); choose another --device') from error
