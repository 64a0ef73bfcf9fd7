"""Checkpoints are read safely, and their weights are loaded only if every name and shape fits."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError
from ..files import require_file
from ..torch_compat import allow_mmengine_checkpoints
from .network import DistillNeRF

CURE = 'give a checkpoint that tools/train.py wrote'
# The network is this attribute of the mm model that is trained.
PREFIX = 'network.'
# What a checkpoint holds beside the weights if training can go on from it.
TRAINING_STATE = ('meta', 'message_hub', 'optimizer')


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """The contents of a checkpoint, on the CPU.

    Raises:
        InputError: missing, truncated, or no checkpoint of ours.
    """
    path = require_file(path, CURE)
    if importlib.util.find_spec('mmengine'):
        allow_mmengine_checkpoints()
    try:
        state = torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:  # a damaged file can raise nearly anything
        raise InputError(f'{path}: not a readable checkpoint ({type(error).__name__}); {CURE}') from error
    if not isinstance(state, dict) or not isinstance(state.get('state_dict'), dict):
        raise InputError(f'{path}: holds no state_dict; {CURE}')
    return state


def load_weights(network: DistillNeRF, path: str | Path) -> dict[str, Any]:
    """Load the network's weights from a checkpoint.

    Returns:
        everything that the checkpoint holds.

    Raises:
        InputError: an unreadable checkpoint, a name or shape that does not fit, weights that are NaN or infinite.
    """
    state = read_checkpoint(path)
    weights = {
        name.removeprefix(PREFIX): value for name, value in state['state_dict'].items() if name.startswith(PREFIX)
    }
    if problem := _misfit(network.state_dict(), weights):
        raise InputError(f'{path}: the weights do not fit the config: {problem}; give the config they were trained by')
    for name, value in weights.items():
        if not value.isfinite().all():
            raise InputError(f'{path}: {name} holds NaN or infinity; training diverged, give an earlier checkpoint')
    network.load_state_dict(weights)
    return state


def require_training_state(state: Mapping[str, Any], path: str | Path) -> None:
    """Training can only go on from a checkpoint that holds more than weights.

    Raises:
        InputError: names what is not there.
    """
    if missing := [name for name in TRAINING_STATE if name not in state]:
        raise InputError(
            f'{path}: holds no {", ".join(missing)}, so training cannot go on from it; '
            f'{CURE}, or start from its weights with --cfg-options load_from={path}'
        )


def _misfit(expected: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> str | None:
    """The first difference in names or shapes in words, and how many there are; ``None`` if there is none."""
    problems = [f'{name} is missing' for name in expected if name not in weights]
    problems += [f'{name} is unknown' for name in weights if name not in expected]
    problems += [
        f'{name} is {tuple(weights[name].shape)}, not {tuple(value.shape)}'
        for name, value in expected.items()
        if name in weights and weights[name].shape != value.shape
    ]
    if not problems:
        return None
    return problems[0] if len(problems) == 1 else f'{problems[0]}, and {len(problems) - 1} more'
