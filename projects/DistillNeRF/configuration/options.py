"""Options that are one key of a config and change several places of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from mmengine.config import Config

from ..utils.errors import InputError
from ..utils.files import require_writable
from ..visualization.options import PictureOptions
from .layers import Layer, value_of
from .wandb_backend import use_wandb

LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
DATASET = 'DistillNeRFDataset'


def datasets(path: str, loader: Any) -> Iterator[tuple[str, dict]]:
    """The datasets of a loader with their dotted keys; those within mmengine's wrappers, where there are any."""
    waiting = [(f'{path}.dataset', loader.get('dataset'))] if isinstance(loader, Mapping) else []
    for place, dataset in waiting:
        if not isinstance(dataset, Mapping):
            continue
        if 'dataset' in dataset:
            waiting.append((f'{place}.dataset', dataset['dataset']))
        elif 'datasets' in dataset:
            waiting += [(f'{place}.datasets.{number}', part) for number, part in enumerate(dataset['datasets'])]
        else:
            yield place, dataset


def all_datasets(config: Config) -> Iterator[tuple[str, dict]]:
    """Those of all loaders that a config has."""
    for loader in LOADERS:
        yield from datasets(loader, config.get(loader))


def move_data(config: Config, layer: Layer) -> None:
    """``data_root=DIR`` is the folder of all data, but where a dataset is given one in the same place or over it.

    Raises:
        InputError: all are, so that it does nothing.
    """
    root = config.get('data_root')
    if root is None:
        return
    place = layer.origin('data_root')
    moved = 0
    for path, dataset in all_datasets(config):
        if place.inherits(layer.origin(f'{path}.data_root')) and (
            'data_root' in dataset or dataset.get('type') == DATASET
        ):
            dataset['data_root'] = root
            moved += 1
    if not moved and 'data_root' not in place.reads:
        raise InputError(
            f'{config.filename}: data_root={root} moves no data: every dataset is given a data_root; '
            'leave one of the two'
        )


def spread_num_camera(config: Config, layer: Layer) -> None:
    """``model.num_camera=N`` keeps N cameras in all datasets.

    Raises:
        InputError: a dataset is given another number in the same place or over it.
    """
    count = config.model.get('num_camera')
    if count is None:
        return
    place = layer.origin('model.num_camera')
    for path, dataset in all_datasets(config):
        own = dataset.get('num_camera')
        if own not in (None, count) and not place.inherits(layer.origin(f'{path}.num_camera')):
            raise InputError(
                f'{config.filename}: model.num_camera={count} is for all datasets, but {path}.num_camera is {own}; '
                'leave one of them away'
            )
        dataset['num_camera'] = count


def leave_out_worker_options(config: Config, layer: Layer) -> None:
    """``num_workers=0`` loads in the main process: nothing is kept or fetched ahead there.

    Raises:
        InputError: the command line asks for both.
    """
    for path in LOADERS:
        loader = config.get(path)
        if not isinstance(loader, Mapping) or loader.get('num_workers', 0) != 0:
            continue
        for name, off in (('persistent_workers', False), ('prefetch_factor', None)):
            if loader.get(name) and f'{path}.{name}' in layer.said:
                raise InputError(
                    f'{config.filename}: {path}.{name} needs worker processes, but {path}.num_workers is 0; '
                    'leave it away, or set num_workers to 1 or more'
                )
            if name in loader:
                loader[name] = off


def load_boxes_for_detection(config: Config) -> None:
    """``model.det_head_3d`` is trained on boxes."""
    if config.model.get('det_head_3d') is not None and 'train_dataloader' in config:
        for _, dataset in datasets('train_dataloader', config.train_dataloader):
            dataset['load_boxes'] = True


def seed_of(config: Config) -> int:
    """The seed of a config's ``randomness``, 0 if there is none."""
    seed = value_of(config, 'randomness.seed')
    return 0 if seed is None else seed


def resume_of(config: Config) -> str | None:
    """What ``resume=True`` in a config asks for: ``load_from``, or the newest checkpoint if that is empty.

    Raises:
        InputError: it is neither True nor False.
    """
    if not isinstance(wanted := config.get('resume') or False, bool):
        raise InputError(f'{config.filename}: resume is {wanted!r}; give True or False, and a checkpoint as load_from')
    return (config.get('load_from') or 'auto') if wanted else None


def keep_unused_parameters(config: Config) -> None:
    """``find_unused_parameters`` counts where a model is wrapped as ``model_wrapper_cfg`` says, too."""
    if config.get('find_unused_parameters') and config.get('model_wrapper_cfg') is not None:
        config.model_wrapper_cfg.setdefault('find_unused_parameters', True)


def use_mixed_precision(config: Config) -> None:
    """float16 with dynamic loss scaling on CUDA, bfloat16 elsewhere.

    Raises:
        InputError: the config has an optimizer wrapper of its own.
    """
    kind = config.optim_wrapper.get('type', 'OptimWrapper')
    if kind != 'OptimWrapper':
        raise InputError(
            f'{config.filename}: --amp would take the place of optim_wrapper.type={kind}; leave one of the two away'
        )
    if torch.cuda.is_available():
        config.optim_wrapper.type = 'AmpOptimWrapper'
        config.optim_wrapper.loss_scale = 'dynamic'
    else:
        config.optim_wrapper.type = 'BFloat16OptimWrapper'


def _use_ema(config: Config, momentum: Any) -> None:
    momentum = 2e-4 if momentum is True else momentum
    if not isinstance(momentum, float) or not 0 < momentum < 1:
        raise InputError(f'ema is {momentum!r}; give True, or the momentum of the average, between 0 and 1')
    _add_hook(config, type='EMAHook', momentum=momentum)


def _validate_first(config: Config, wanted: Any) -> None:
    if wanted is not True:
        raise InputError(f'val_before_train is {wanted!r}; give True or False')
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


# Key of a config -> what it does if it is set to something.
SWITCHES: dict[str, Callable[[Config, object], None]] = {
    'ema': _use_ema,
    'val_before_train': _validate_first,
    'wandb': use_wandb,
}


def apply_switches(config: Config) -> None:
    """Do what the switches ask for; the config has its work folder by now.

    A switch is gone afterward: the configuration that a run leaves behind can be given to the commands again.
    """
    for key, apply in SWITCHES.items():
        if value := config.pop(key, None):
            apply(config, value)
    _draw_first(config)
