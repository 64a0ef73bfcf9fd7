"""Load configs, with errors that a user can act on."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.runner import Runner

from ..errors import InputError
from ..files import require_file
from .options import load_boxes_for_detection, spread_num_camera
from .suggestions import did_you_mean, meant_argument

# What may be set from outside though a config does not name it.
RUNNER_KEYS = {*inspect.signature(Runner.__init__).parameters, 'find_unused_parameters'}
# What the commands need of a config.
SECTIONS = ('model', 'train_dataloader', 'test_dataloader')


def load_config(
    path: str | Path, options: Mapping[str, Any] | None = None, sections: Sequence[str] = SECTIONS
) -> Config:
    """A config with overrides such as ``{'model.visualize_imgs': True}``.

    Args:
        path: a config file.
        options: overrides.
        sections: what the config must have.

    Raises:
        InputError: no such file, it is not a config, or a section is missing.
    """
    path = require_file(path, 'give a config, such as one of projects/DistillNeRF/configs/model_wrapper/')
    try:
        config = Config.fromfile(str(path))
        known = set(config)
        if options:
            config.merge_from_dict(dict(options))
    except Exception as error:
        cause = ' '.join(f'{type(error).__name__}: {error}'.split())
        raise InputError(f'{path}: not a usable config ({cause}); correct it, or the options that change it') from error
    for option in options or ():
        if (first := option.partition('.')[0]) not in known | RUNNER_KEYS:
            hint = did_you_mean(first, known)
            raise InputError(f'{path}: the config has no {first} that {option} could change{hint}')
    for key in sections:
        if key not in config:
            raise InputError(f'{path}: the config has no {key}; use an entry point from configs/model_wrapper/')
    if 'model' in sections:
        spread_num_camera(config)
        load_boxes_for_detection(config)
    for key in sections:
        if key.endswith('_dataloader'):
            _check_sizes(config, key)
    return config


def _check_sizes(config: Config, loader: str) -> None:
    """Images are rendered at their size divided by ``model.network.downscale``."""
    downscale = (config.model.get('network') or {}).get('downscale')
    sizes = [config[loader].get('dataset', {}).get(name) for name in ('image_size', 'render_size')]
    if downscale is None or None in sizes:
        return
    image, render = map(tuple, sizes)
    if image != tuple(side * downscale for side in render):
        raise InputError(
            f'{config.filename}: {loader}.dataset has image_size {image} and render_size {render}, but images are '
            f'rendered at 1/{downscale} of their size (model.network.downscale); correct one of the three'
        )


@contextlib.contextmanager
def building(config: Config) -> Iterator[None]:
    """Inside, things are built as a config says: unknown names and impossible settings are errors of the config.

    Raises:
        InputError: names the config.
    """
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        cause = ' '.join(f'{type(error).__name__}: {error}'.split())
        hint = meant_argument(cause)
        raise InputError(f'{config.filename}: the settings cannot be built ({cause}){hint}; correct them') from error


def default_work_dir(path: str | Path) -> Path:
    """Where a config's runs go unless the user says otherwise."""
    return Path('work_dirs') / Path(path).stem
