"""Load configs, with errors that a user can act on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ..utils.errors import InputError, warn
from ..utils.files import require_file
from .contradictions import check_what_wins
from .keys import TOP_LEVEL, check_keys, meant_key
from .layers import Layer, read_layers
from .options import (
    leave_out_worker_options,
    load_boxes_for_detection,
    move_data,
    spread_num_camera,
)
from .schedule import stretch
from .suggestions import meant_argument

# What the commands need of a config.
SECTIONS = ('model', 'train_dataloader', 'test_dataloader')


def load_config(
    path: str | Path, options: Mapping[str, Any] | None = None, sections: Sequence[str] = SECTIONS
) -> Config:
    """A config with overrides such as ``{'model.visualize_imgs': True}``.

    What one setting says for several places is spread to them (:mod:`.options`, :mod:`.schedule`).

    Args:
        path: a config file.
        options: overrides.
        sections: what the config must have.

    Raises:
        InputError: no such file, it is not a config, a section is missing, or a setting is there that does nothing.
    """
    path = require_file(path, 'give a config, such as one of projects/DistillNeRF/configs/model_wrapper/')
    options = dict(options or {})
    try:
        config = Config.fromfile(str(path))
        if options:
            config.merge_from_dict(options)
        layer = read_layers(path, config, options)
    except Exception as error:
        cause = ' '.join(f'{type(error).__name__}: {error}'.split())
        raise InputError(f'{path}: not a usable config ({cause}); correct it, or the options that change it') from error
    for key in sections:
        if key not in config:
            raise InputError(f'{path}: the config has no {key}; use an entry point from configs/model_wrapper/')
    _check_top_level(config, layer)
    check_keys(config)
    move_data(config, layer)
    if 'model' in sections:
        spread_num_camera(config, layer)
        load_boxes_for_detection(config)
    leave_out_worker_options(config, layer)
    stretch(config, layer)
    check_what_wins(config)
    for key in sections:
        if key.endswith('_dataloader'):
            _check_sizes(config, key)
    return config


def _check_top_level(config: Config, layer: Layer) -> None:
    """Names at the top of a config are sections, or variables that the file that gives them a value reads.

    A variable of a base has done its work when a config that inherits from it, or the command line, changes it. A file
    without bases may keep private variables (``_NAME``): the configuration that a run leaves behind does.
    """
    for option in layer.said:
        if (first := option.partition('.')[0]) not in TOP_LEVEL:
            hint = meant_key(first, config)
            raise InputError(f'{config.filename}: nothing reads {first}, which the option {option} sets{hint}')
    for file in layer.files():
        private = set() if file.bases else {name for name in file.variables if name.startswith('_')}
        for name in sorted(set(file.variables) - TOP_LEVEL - set(file.reads) - private):
            raise InputError(
                f'{file.path}: nothing reads {name}{meant_key(name, config)}; a variable changes nothing in the files '
                'that this one inherits from: set the key itself, or leave the variable away'
            )


def warn_of_unread(options: Mapping[str, Any] | None, reads: Sequence[str], but: Sequence[str] = ()) -> None:
    """Say which options of the command line the command has no use for.

    Args:
        options: as given.
        reads: dotted keys that it reads.
        but: those within them that it does not read.
    """

    def within(option: str, keys: Sequence[str]) -> bool:
        return any(f'{option}.'.startswith(f'{key}.') for key in keys)

    def reach(option: str) -> bool:
        return within(option, reads) or any(f'{key}.'.startswith(f'{option}.') for key in reads)

    idle = [option for option in options or () if not reach(option) or within(option, but)]
    if idle:
        warn(f'{", ".join(idle)}: this command does not read that; leave it away')


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
    except (AssertionError, AttributeError, KeyError, TypeError, ValueError) as error:
        cause = ' '.join(f'{type(error).__name__}: {error}'.split())
        hint = meant_argument(cause)
        raise InputError(f'{config.filename}: the settings cannot be built ({cause}){hint}; correct them') from error


def default_work_dir(path: str | Path) -> Path:
    """Where a config's runs go unless the user says otherwise."""
    return Path('work_dirs') / Path(path).stem


def work_dir_of(config: Config, given: Path | None = None, options: Mapping[str, Any] | None = None) -> Path:
    """Where a run goes: ``--work-dir``, else the ``work_dir`` of its config, else :func:`default_work_dir`.

    Raises:
        InputError: the command line has both.
    """
    if given is not None and 'work_dir' in (options or {}):
        raise InputError(f'--work-dir {given} and work_dir={options["work_dir"]}; leave one of them away')
    return given or Path(config.get('work_dir') or default_work_dir(config.filename))
