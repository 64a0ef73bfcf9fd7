"""Load configs, with errors that a user can act on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ..errors import InputError
from ..files import require_file


def load_config(path: str | Path, options: Mapping[str, Any] | None = None) -> Config:
    """A config with overrides such as ``{'model.visualize_imgs': True}``.

    Raises:
        InputError: no such file, or it is not a config.
    """
    path = require_file(path, 'give a config, such as one of projects/DistillNeRF/configs/model_wrapper/')
    try:
        config = Config.fromfile(str(path))
        if options:
            config.merge_from_dict(dict(options))
    except Exception as error:
        raise InputError(f'{path}: not a usable config ({type(error).__name__}: {error})') from error
    for key in ('model', 'train_dataloader', 'test_dataloader'):
        if key not in config:
            raise InputError(f'{path}: the config has no {key}; use an entry point from configs/model_wrapper/')
    return config


def default_work_dir(path: str | Path) -> Path:
    """Where a config's runs go unless the user says otherwise."""
    return Path('work_dirs') / Path(path).stem


def checkpoint_or_none(name: str) -> str | None:
    """The command line's ``None`` means: no checkpoint, random weights."""
    return None if name == 'None' else name
