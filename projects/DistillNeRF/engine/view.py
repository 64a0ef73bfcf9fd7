"""From a command line to something to look at."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ..configuration.config import load_config
from ..utils.errors import InputError
from ..visualization.viewer.scenes import OwnImages, Samples, SavedScene, Source
from .environment import prepare_processor


def leave_a_core() -> None:
    """Compute with all cores but one, unless ``OMP_NUM_THREADS`` says how many.

    The browser and the connection to it need one. Threads that wait for each other stand still when one of them is
    interrupted: on two cores with other work, two threads took ten times as long as one.
    """
    if 'OMP_NUM_THREADS' not in os.environ:
        torch.set_num_threads(max(1, torch.get_num_threads() - 1))


def open_source(
    config: str | None,
    checkpoint: str | None,
    options: Mapping[str, Any] | None = None,
    *,
    data: Path | None = None,
    undistort: bool = False,
    scene: Path | None = None,
    device: str = 'cpu',
) -> tuple[Source, str | None]:
    """What there is to look at, and the text encoder that the config names.

    Args:
        config: not needed for a saved scene, where only its text encoder counts.
        checkpoint: ``None`` for random weights.
        options: overrides of the config.
        data: a folder of own images (``docs/OWN_DATA.md``) instead of the config's test data.
        undistort: undo the distortion of their lenses.
        scene: file of a scene, instead of any data.
        device: where the network or the scene shall be.

    Raises:
        InputError: nothing to look at, options that exclude each other, bad files, or no such device.
    """
    if config is None and scene is None:
        raise InputError('nothing to look at; give a config and a checkpoint, or --scene with a saved scene')
    if scene is not None and data is not None:
        raise InputError(f'{scene}: a saved scene needs no images; give --scene or --data')
    if undistort and data is None:
        raise InputError('--undistort is for own images; give --data with their folder, or leave it away')
    prepare_processor()
    leave_a_core()
    loaded = None if config is None else load_config(config, options)
    text_encoder = None if loaded is None else loaded.model.get('text_encoder')
    if scene is not None:
        return SavedScene(scene, device), text_encoder
    if data is not None:
        return OwnImages(data, loaded, checkpoint, undistort, device), text_encoder
    return Samples(loaded, checkpoint, device), text_encoder
