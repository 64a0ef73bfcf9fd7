"""Settings that act when a training begins: its seed, what it resumes, and switches such as ``ema=True``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from mmengine.config import Config

from ..utils.errors import InputError
from ..utils.files import require_writable
from ..utils.precision import AUTOCAST, DEFAULT, require_precision
from ..visualization.options import PictureOptions
from .layers import value_of
from .wandb_backend import use_wandb

# Precision -> the optimizer wrapper that trains in it.
MIXED_WRAPPERS = {'fp16': 'AmpOptimWrapper', 'bf16': 'BFloat16OptimWrapper'}


def seed_of(config: Config) -> int:
    """Return the seed of a config's ``randomness``, 0 if there is none."""
    return value_of(config, 'randomness.seed') or 0


def resume_of(config: Config) -> str | None:
    """Return the checkpoint that ``resume=True`` asks for: ``load_from``, or ``auto`` if that is empty; else ``None``.

    Raises:
        InputError: it is neither True nor False.
    """
    if not isinstance(resume := config.get('resume') or False, bool):
        raise InputError(f'{config.filename}: resume is {resume!r}; give True or False, and a checkpoint as load_from')
    return (config.get('load_from') or 'auto') if resume else None


def keep_unused_parameters(config: Config) -> None:
    """Hand ``find_unused_parameters`` to ``model_wrapper_cfg``, which mmengine would take instead of it."""
    if config.get('find_unused_parameters') and config.get('model_wrapper_cfg') is not None:
        config.model_wrapper_cfg.setdefault('find_unused_parameters', True)


def use_precision(config: Config, precision: str | None, amp: bool) -> str:
    """Let a config train in a precision (:mod:`..utils.precision`); return it.

    Args:
        config: of the run; it is changed.
        precision: ``None`` for that of ``amp``.
        amp: mixed precision, that which fits the device.

    Raises:
        InputError: the two contradict each other or the config's ``optim_wrapper.type``, or there is no GPU for it.
    """
    if amp and precision not in (None, *AUTOCAST):
        raise InputError(
            f'--amp and --precision {precision}: mixed precision is bf16 or fp16; leave one of the two away'
        )
    require_precision(precision or DEFAULT, not torch.cuda.is_available(), '--precision')
    if amp or precision in AUTOCAST:
        return use_mixed_precision(config, precision)
    kind = config.optim_wrapper.get('type', 'OptimWrapper')
    if precision is not None and kind in MIXED_WRAPPERS.values():
        raise InputError(
            f'{config.filename}: --precision {precision} and optim_wrapper.type={kind}, which is mixed precision; '
            'leave one of the two away'
        )
    return precision or DEFAULT


def use_mixed_precision(config: Config, precision: str | None = None) -> str:
    """Train with float16 and dynamic loss scaling, or with bfloat16, whose range needs no scaling; return which.

    Args:
        config: of the run; it is changed.
        precision: ``bf16`` or ``fp16``; ``None`` for float16 on CUDA and bfloat16 elsewhere.

    Raises:
        InputError: the config has an optimizer wrapper of its own.
    """
    kind = config.optim_wrapper.get('type', 'OptimWrapper')
    option = f'--precision {precision}' if precision else '--amp'
    if kind != 'OptimWrapper':
        raise InputError(
            f'{config.filename}: {option} would take the place of optim_wrapper.type={kind}; leave one of the two away'
        )
    precision = precision or ('fp16' if torch.cuda.is_available() else 'bf16')
    config.optim_wrapper.type = MIXED_WRAPPERS[precision]
    if precision == 'fp16':
        config.optim_wrapper.loss_scale = 'dynamic'
    return precision


def _use_ema(config: Config, momentum: Any) -> None:
    """Average the weights with a momentum; True for the usual one."""
    momentum = 2e-4 if momentum is True else momentum
    if not isinstance(momentum, float) or not 0 < momentum < 1:
        raise InputError(f'ema is {momentum!r}; give True, or the momentum of the average, between 0 and 1')
    _add_hook(config, type='EMAHook', momentum=momentum)


def _validate_first(config: Config, value: Any) -> None:
    """Validate before the first iteration."""
    if value is not True:
        raise InputError(f'val_before_train is {value!r}; give True or False')
    if config.get('val_cfg') is None:
        raise InputError(f'{config.filename}: val_before_train=True, but there is no val_cfg; leave one of them')
    _add_hook(config, type='ValidateFirstHook')


def _add_hook(config: Config, **hook: Any) -> None:
    config.custom_hooks = [*(config.get('custom_hooks') or []), hook]


def _draw_first(config: Config) -> None:
    """Let the hook that draws before training act on the config, wherever its base comes from.

    Raises:
        InputError: options of pictures that are not asked for, or a folder that cannot be written.
    """
    options = PictureOptions.of(config.model)
    options.check_use()
    if options.anything:
        require_writable(options.directory(config.work_dir))
        hooks = config.get('custom_hooks') or []
        config.custom_hooks = [hook for hook in hooks if hook.get('type') != 'FirstPicturesHook']
        config.default_hooks = {'first_pictures': {'type': 'FirstPicturesHook'}, **(config.get('default_hooks') or {})}


# Key of a config -> the function that acts on its value, unless that is empty.
SWITCHES: dict[str, Callable[[Config, object], None]] = {
    'ema': _use_ema,
    'val_before_train': _validate_first,
    'wandb': use_wandb,
}


def apply_switches(config: Config) -> None:
    """Change the config as its switches ask; ``work_dir`` must be set.

    The switches are removed, so that the configuration that a run leaves behind can be given to the commands again.

    Raises:
        InputError: a value that a switch cannot have, or what it needs is missing.
    """
    for key, apply in SWITCHES.items():
        if value := config.pop(key, None):
            apply(config, value)
    _draw_first(config)
