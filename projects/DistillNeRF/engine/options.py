"""Options that are one key of a config and change several places of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import torch
from mmengine.config import Config

from ..errors import InputError
from ..files import require_writable
from ..visualization.options import PictureOptions

LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


def spread_num_camera(config: Config) -> None:
    """``model.num_camera=N`` keeps N cameras in all datasets."""
    count = config.model.get('num_camera')
    if count is None:
        return
    for loader in LOADERS:
        if loader in config:
            config[loader].dataset.num_camera = count


def use_mixed_precision(config: Config) -> None:
    """float16 with dynamic loss scaling on CUDA, bfloat16 elsewhere."""
    if torch.cuda.is_available():
        config.optim_wrapper.type = 'AmpOptimWrapper'
        config.optim_wrapper.loss_scale = 'dynamic'
    else:
        config.optim_wrapper.type = 'BFloat16OptimWrapper'


def _use_ema(config: Config, momentum: float) -> None:
    config.custom_hooks.append({'type': 'EMAHook', 'momentum': 2e-4 if momentum is True else float(momentum)})


def _validate_first(config: Config, wanted: bool) -> None:
    config.custom_hooks.append({'type': 'ValidateFirstHook'})


def _use_wandb(config: Config, mode: str) -> None:
    """Scalars, configuration and panels to Weights & Biases as well.

    Raises:
        InputError: an unknown mode, or no key for the online service.
    """
    if mode not in ('online', 'offline'):
        raise InputError(f'wandb is {mode!r}; choose online, offline or None')
    if mode == 'online' and not os.environ.get('WANDB_API_KEY'):
        raise InputError('wandb=online needs the key of your account in the environment variable WANDB_API_KEY')
    settings = {'project': 'distillnerf', 'mode': mode, 'dir': config.work_dir}
    config.visualizer.vis_backends.append({'type': 'WandbVisBackend', 'init_kwargs': settings})


def _draw_first(config: Config) -> None:
    """Pictures before the first iteration, if ``model`` asks for any."""
    options = PictureOptions.of(config.model)
    if options.anything:
        directory = options.vis_save_directory or str(Path(config.work_dir) / 'visualization')
        require_writable(directory)
        config.custom_hooks.append({'type': 'FirstPicturesHook', 'options': options, 'directory': directory})


# Key of a config -> what it does if it is set to something.
SWITCHES: dict[str, Callable[[Config, object], None]] = {
    'ema': _use_ema,
    'val_before_train': _validate_first,
    'wandb': _use_wandb,
}


def apply_switches(config: Config) -> None:
    """Do what the switches ask for; the config has its work folder by now."""
    for key, apply in SWITCHES.items():
        if config.get(key):
            apply(config, config[key])
    _draw_first(config)
