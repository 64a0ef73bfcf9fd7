"""Load configs, with errors that a user can act on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ..utils.errors import InputError
from ..utils.files import require_file
from .contradictions import check_sizes, check_what_wins
from .keys import check_keys
from .layers import read_layers
from .options import (
    LOADERS,
    leave_out_worker_options,
    load_boxes_for_detection,
    move_data,
    spread_num_camera,
    spread_num_past,
    use_cache,
    use_depth_cache,
)
from .schedule import stretch
from .suggestions import meant_argument

# Keys that most commands need.
SECTIONS = ('model', 'train_dataloader', 'test_dataloader')
# Type of the model that is the field of one drive (:mod:`..scene_nerf`); it has no data to test on.
FIELD = 'SceneNeRF'
FIELD_SECTIONS = ('model', 'train_dataloader', 'scene_nerf')


def load_config(
    path: str | Path,
    options: Mapping[str, Any] | None = None,
    sections: Sequence[str] = SECTIONS,
    field_sections: Sequence[str] | None = None,
) -> Config:
    """Load a config with overrides such as ``{'model.visualize_imgs': True}``, and check it.

    Settings that concern several places change all of them (:mod:`.options`, :mod:`.schedule`).

    Args:
        path: a config file.
        options: dotted keys -> their new values.
        sections: keys that the config must have.
        field_sections: those that one of a field must have instead; None where fields are like all others.

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
    if field_sections is not None and is_field(config):
        sections = field_sections
    for key in sections:
        if key not in config:
            raise InputError(f'{path}: the config has no {key}; use an entry point from configs/model_wrapper/')
    check_keys(config, layer)
    move_data(config, layer)
    use_cache(config, layer)
    use_depth_cache(config)
    if 'model' in sections:
        spread_num_camera(config, layer)
        spread_num_past(config, layer)
        load_boxes_for_detection(config)
    leave_out_worker_options(config, layer)
    stretch(config, layer)
    check_what_wins(config)
    for loader in set(sections) & set(LOADERS):
        check_sizes(config, loader)
    return config


def is_field(config: Config) -> bool:
    """Tell whether a config is that of the field of one drive."""
    return config.get('model', {}).get('type') == FIELD


@contextlib.contextmanager
def building(config: Config) -> Iterator[None]:
    """Turn errors of what is built inside into errors of the config: unknown names and impossible settings.

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
    """Return the work folder of a config's runs if neither the user nor the config names one."""
    return Path('work_dirs') / Path(path).stem


def work_dir_of(config: Config, given: Path | None = None, options: Mapping[str, Any] | None = None) -> Path:
    """Return the work folder: ``--work-dir``, else the config's ``work_dir``, else :func:`default_work_dir`.

    Raises:
        InputError: the command line has both.
    """
    if given is not None and 'work_dir' in (options or {}):
        raise InputError(f'--work-dir {given} and work_dir={options["work_dir"]}; leave one of them away')
    return given or Path(config.get('work_dir') or default_work_dir(config.filename))
