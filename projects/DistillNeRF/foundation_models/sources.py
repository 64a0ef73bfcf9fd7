"""Open the models of others: a folder, the name of a model on the hub that is in the local cache, or an ONNX file.

Nothing is downloaded here: ``tools/get_weights.py`` does that.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from ..utils.errors import InputError
from ..utils.files import is_folder, read_json, require_file
from ..utils.provenance import fingerprint

CONFIG, PREPROCESSOR = 'config.json', 'preprocessor_config.json'
WEIGHTS = ('*.safetensors', '*.bin')
ONNX_SUFFIX = '.onnx'
FETCH = 'fetch it with tools/get_weights.py, or give the folder of the model'
RESTORE = 'fetch the model again, for instance with tools/get_weights.py'


def require_package(name: str) -> ModuleType:
    """Import a package that only foundation models need.

    Raises:
        InputError: it is not installed, or cannot be imported.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        cause = ' '.join(str(error).split())[:200]
        raise InputError(
            f'this needs the package {name} ({cause}); install it with: {sys.executable} -m pip install {name}'
        ) from error


@dataclass(frozen=True)
class ModelFolder:
    """A folder in the format of transformers.

    Attributes:
        path: the folder.
        config: content of its ``config.json``.
    """

    path: Path
    config: dict[str, Any]

    @property
    def kind(self) -> str:
        """Return the kind of the model, such as ``clip`` or ``dinov2``."""
        return str(self.config.get('model_type', 'without model_type'))

    def preprocessor(self) -> dict[str, Any]:
        """Return the content of ``preprocessor_config.json``; nothing if there is none."""
        path = self.path / PREPROCESSOR
        content = read_json(path, RESTORE) if path.is_file() else {}
        if not isinstance(content, dict):
            raise InputError(f'{path}: holds no settings; {RESTORE}')
        return content

    def weight_files(self) -> list[Path]:
        """Return the files of the weights, safetensors if there are some.

        Raises:
            InputError: there are none, or one is empty.
        """
        for pattern in WEIGHTS:
            if files := sorted(self.path.glob(pattern)):
                return [require_file(file, RESTORE) for file in files]
        raise InputError(f'{self.path}: has no weights ({" or ".join(WEIGHTS)}); {RESTORE}')

    def digest(self) -> str:
        """Return a digest of the settings and weights."""
        files = [*self.weight_files(), *(self.path / name for name in (CONFIG, PREPROCESSOR))]
        return fingerprint(**{file.name: file for file in files if file.is_file()})


def open_folder(name: str | Path) -> ModelFolder:
    """Open a folder, or a model of the hub (``owner/name``) that is in the local cache.

    Raises:
        InputError: there is neither, or it is no folder of a model.
    """
    folder = Path(name).expanduser()
    if not is_folder(folder):
        folder = _cached(str(name))
    config = read_json(folder / CONFIG, f'{folder} is no folder of a transformers model; {RESTORE}')
    if not isinstance(config, dict):
        raise InputError(f'{folder / CONFIG}: holds no settings; {RESTORE}')
    return ModelFolder(folder, config)


def _cached(name: str) -> Path:
    """Return the folder in the local cache of a model of the hub."""
    if Path(name).expanduser().is_file():
        raise InputError(f'{name}: is a file; give the folder of a transformers model')
    if name.count('/') != 1 or name.startswith(('.', '/', '~')):
        raise InputError(f'{name}: no such folder; {FETCH}')
    hub = require_package('huggingface_hub')
    try:
        return Path(hub.snapshot_download(name, local_files_only=True))
    except Exception as error:  # of the name, or of the cache; each version has its own kinds
        raise InputError(f'{name}: no such folder, and no such model in the local cache of the hub; {FETCH}') from error


def require_kind(folder: ModelFolder, kinds: Sequence[str], wanted: str) -> None:
    """Check the kind of a model.

    Args:
        folder: of the model.
        kinds: what its kind may be.
        wanted: what is asked for, for messages.

    Raises:
        InputError: it is of another kind.
    """
    if folder.kind not in kinds:
        text = ' (words alone, without a vision tower)' if 'text' in folder.kind else ''
        raise InputError(
            f'{folder.path}: is a model of kind {folder.kind}{text}, not {wanted} ({", ".join(kinds)}); '
            'give the folder of such a model, or ask for another kind'
        )


def load_transformers(folder: ModelFolder, class_name: str, config: Any = None) -> nn.Module:
    """Build a model of transformers and load its weights: float32, on the CPU, for inference.

    Args:
        folder: of the model.
        class_name: of transformers, such as ``Dinov2Model``.
        config: other settings than those of the folder.

    Raises:
        InputError: transformers is missing or too old for it; damaged weights, or weights that are not all there.
    """
    transformers = require_package('transformers')
    if not hasattr(transformers, class_name):
        raise InputError(
            f'transformers {transformers.__version__} has no {class_name}; install a newer one with: '
            f'{sys.executable} -m pip install -U transformers'
        )
    files = ', '.join(file.name for file in folder.weight_files()[:3])
    more = {} if config is None else {'config': config}
    with quiet(transformers):
        try:
            model, report = getattr(transformers, class_name).from_pretrained(
                folder.path, local_files_only=True, output_loading_info=True, **more
            )
        except Exception as error:  # damaged files can fail in nearly any way
            cause = ' '.join(f'{type(error).__name__}: {error}'.split())[:300]
            raise InputError(
                f'{folder.path}: cannot be loaded as {class_name} ({files}: {cause}); {RESTORE}'
            ) from error
    # What is missing would be random numbers.
    missing = sorted({*report['missing_keys'], *(entry[0] for entry in report.get('mismatched_keys', ()))})
    if missing:
        raise InputError(
            f'{folder.path}: {files} lacks {len(missing)} weights of {class_name}, such as {missing[0]}; give a model '
            'that has them all'
        )
    return model.to(torch.float32).eval().requires_grad_(False)


def move(model: nn.Module, device: str) -> nn.Module:
    """Move a model to a device.

    Raises:
        InputError: there is no such device.
    """
    try:
        return model.to(device)
    except (AssertionError, RuntimeError) as error:
        cause = ' '.join(str(error).split())[:200]
        raise InputError(f'--device {device}: cannot be used ({cause}); choose another') from error


@contextlib.contextmanager
def quiet(transformers: ModuleType) -> Iterator[None]:
    """Keep transformers from printing reports and progress bars inside: what is wrong, we tell."""
    logging = transformers.utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
